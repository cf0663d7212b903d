"""How drawings and readings change: revisions, tombstones, conflicts; every change is an event of the audit chain.

A change names the revision that it was made on. One made on an older revision is a conflict (409), except the repeat
of the change that was accepted last: its answer was lost on the way. All functions need a writing session.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xai_bench_annotations.drawings import Brush, LabelSchema
from xai_bench_annotations.server.audit import READING, kept, record
from xai_bench_annotations.server.auth import Who
from xai_bench_annotations.server.refusals import Refusal, missing
from xai_bench_annotations.server.shapes import (
    AnnotationAnswer,
    AssignmentAnswer,
    AssignmentChange,
    Drawing,
    ImageAnswer,
)
from xai_bench_annotations.server.tables import Annotation, Assignment, now


def put(session: Session, by: Who, assignment: Assignment, annotation_id: str, rev: int, wanted: Drawing) -> Annotation:
    """Draw something new (`rev` 0), change it, or bring back what was deleted."""
    _check_fits(assignment, wanted)
    current = session.get(Annotation, annotation_id)
    if current is not None and current.assignment_id != assignment.id:
        raise missing("drawing")
    content = wanted.model_dump(mode="json", include={"label", "geometry", "confidence", "note"})
    content["view_state"] = wanted.view_state.model_dump(exclude_none=True)
    if current is not None and not current.deleted and rev == current.rev - 1 and _says(current, content):
        return current
    _check_newest(current, rev)
    before = kept(current) if current else None
    action = "drawing.added" if current is None else "drawing.revived" if current.deleted else "drawing.changed"
    if current is None:
        current = Annotation(id=annotation_id, assignment_id=assignment.id)
        session.add(current)
    for name, value in (content | {"rev": rev + 1, "deleted": False, "updated": now()}).items():
        setattr(current, name, value)
    record(session, by.id, action, current.id, rev=current.rev, before=before, after=kept(current))
    _worked_on(session, by, assignment, [c for c in assignment.nothing_in if c != wanted.label])
    return current


def delete(session: Session, by: Who, current: Annotation, rev: int) -> Annotation:
    """Leave a tombstone, with a revision of its own."""
    if current.deleted and rev in (current.rev - 1, current.rev):
        return current
    _check_newest(current, rev)
    before = kept(current)
    current.deleted, current.rev, current.updated = True, rev + 1, now()
    record(session, by.id, "drawing.deleted", current.id, rev=current.rev, before=before, after=kept(current))
    _worked_on(session, by, current.assignment, current.assignment.nothing_in)
    return current


def _says(current: Annotation, content: dict[str, Any]) -> bool:
    return all(getattr(current, name) == value for name, value in content.items())


def _check_newest(current: Annotation | None, rev: int) -> None:
    if rev != (current.rev if current else 0):
        found = AnnotationAnswer.model_validate(current).model_dump(mode="json") if current else None
        there = f"it is at revision {current.rev}" if current else "it does not exist"
        raise Refusal(409, f"this drawing was changed elsewhere: {there}, your change was made on {rev}", current=found)


def _check_fits(assignment: Assignment, wanted: Drawing) -> None:
    image, schema = assignment.image, LabelSchema.model_validate(assignment.image.project.labels)
    codes = [label.code for label in schema.labels]
    if wanted.label not in codes:
        raise Refusal(422, f"there is no label {wanted.label!r}; this project has {', '.join(codes)}")
    kinds = schema[wanted.label].kinds
    if wanted.geometry.kind not in kinds:
        raise Refusal(422, f"{wanted.label} cannot be a {wanted.geometry.kind}; draw a {' or '.join(kinds)}")
    if isinstance(wanted.geometry, Brush) and wanted.geometry.size != (image.height, image.width):
        raise Refusal(422, f"the mask has size {wanted.geometry.size}; the film has {(image.height, image.width)}")


def _worked_on(session: Session, by: Who, assignment: Assignment, nothing_in: list[str]) -> None:
    """Something was drawn: the reading is in progress again, and a label that was drawn is not one with nothing."""
    state = assignment.state if assignment.state == "flagged" else "in_progress"
    _change(session, by, assignment, state=state, nothing_in=nothing_in)


def change_reading(session: Session, by: Who, assignment: Assignment, wanted: AssignmentChange) -> None:
    """Change the state of a reading and what it says; nothing changes where a part is refused (422)."""
    asked = wanted.model_dump(include=set(READING), exclude_none=True)
    if "nothing_in" in asked:
        asked["nothing_in"] = list(dict.fromkeys(asked["nothing_in"]))
    _change(session, by, assignment, **asked)
    _check_reading(session, assignment)
    assignment.active_seconds = max(assignment.active_seconds, wanted.active_seconds or 0.0)


def _change(session: Session, by: Who, assignment: Assignment, **wanted: Any) -> None:
    before = {name: getattr(assignment, name) for name in READING}
    after = before | wanted
    assignment.opened = assignment.opened or now()
    if after == before:
        return
    for name, value in after.items():
        setattr(assignment, name, value)
    if after["state"] != "done" or before["state"] != "done":
        assignment.done = now() if after["state"] == "done" else None
    record(session, by.id, "reading.changed", assignment.id, before=before, after=after)


def _check_reading(session: Session, assignment: Assignment) -> None:
    """What must hold of every reading, and of one that is done."""
    schema = LabelSchema.model_validate(assignment.image.project.labels)
    drawn = select(Annotation.label).where(Annotation.assignment_id == assignment.id, Annotation.deleted.is_(False))
    have, nothing = set(session.scalars(drawn)), set(assignment.nothing_in)
    if unknown := sorted(nothing - {label.code for label in schema.labels}):
        raise Refusal(422, f"there is no label {unknown[0]!r} in this project")
    if both := sorted(have & nothing):
        raise Refusal(422, f"{', '.join(both)}: drawn, and marked as nothing to mark; take one back", labels=both)
    open_ = [label.code for label in schema.labels if label.required and label.code not in have | nothing]
    if assignment.state == "done" and open_:
        raise Refusal(422, f"not done yet: draw {', '.join(open_)}, or say that there is nothing to mark", labels=open_)


def assignment_answers(session: Session, assignments: list[Assignment]) -> list[AssignmentAnswer]:
    """Readings with how many drawings each has."""
    ids = [a.id for a in assignments]
    query = select(Annotation.assignment_id, func.count()).where(Annotation.deleted.is_(False))
    counts = dict[str, int]()
    for start in range(0, len(ids), 500):  # databases limit how many values a query may name
        part = query.where(Annotation.assignment_id.in_(ids[start : start + 500])).group_by(Annotation.assignment_id)
        counts |= {name: count for name, count in session.execute(part)}  # noqa: C416 - dict() of rows has no types
    return [_answer(a, counts.get(a.id, 0)) for a in assignments]


def _answer(a: Assignment, drawings: int) -> AssignmentAnswer:
    return AssignmentAnswer.model_validate(
        {c.key: getattr(a, c.key) for c in Assignment.__table__.columns}
        | {"image": ImageAnswer.model_validate(a.image), "annotations": drawings}
    )
