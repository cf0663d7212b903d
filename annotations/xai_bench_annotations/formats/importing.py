"""What was read from a file goes into a project, through the same audit chain as drawings.

An import adds and changes; it never deletes, and where a drawing was changed after the export, the project's stays.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xai_bench_annotations.drawings import AREAS, Brush, LabelSchema
from xai_bench_annotations.films.raster import mask_of, region_of
from xai_bench_annotations.formats.content import DrawingRecord, Found, ReadingRecord
from xai_bench_annotations.server.audit import READING, kept, record
from xai_bench_annotations.server.readers import reader_named
from xai_bench_annotations.server.tables import Annotation, Assignment, Image, Project, Reader, new_id, now

_CONTENT = ("label", "geometry", "confidence", "note", "view_state")
_STATES = ("not_started", "in_progress", "flagged", "done")
_SHOWN = 50


@dataclass(frozen=True)
class Report:
    """What an import did, or would do. Nothing is written after a dry run, or while there is a problem.

    `added`, `changed`, `unchanged` count drawings of the file; `kept` drawings of these readings that are not in it.
    """

    imported: bool
    readings: int
    added: int
    changed: int
    unchanged: int
    kept: int
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def apply(session: Session, project: Project, found: Found, *, by: str | None, dry_run: bool) -> Report:
    """Import readings, in a writing session; `by` is who asks. All of them or, with a problem, none."""
    savepoint = session.begin_nested()
    work = _Import(session, project, found, by)
    for reading in found.readings:
        work.take(reading)
    counts = work.counts
    imported = not (dry_run or work.problems)
    if imported and (counts["added"] or counts["changed"] or counts["answers"]):
        record(session, by, "project.imported", project.id, after={**counts})
    if imported:
        savepoint.commit()
    else:
        savepoint.rollback()
    notes = [*found.notes, *(f"{note} ({count})" for note, count in sorted(work.notes.items()))]
    return Report(
        imported=imported,
        readings=counts["readings"],
        added=counts["added"],
        changed=counts["changed"],
        unchanged=counts["unchanged"],
        kept=counts["kept"],
        notes=tuple(notes),
        problems=_shown(work.problems),
    )


def _shown(problems: Sequence[str]) -> tuple[str, ...]:
    more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return (*problems[:_SHOWN], *more)


@dataclass
class _Import:
    """One import under way."""

    session: Session
    project: Project
    found: Found
    by: str | None
    counts: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        images = self.session.scalars(select(Image).where(Image.project_id == self.project.id)).all()
        digests, numbers = {i.sha256: i for i in images}, {i.number: i for i in images}
        self.labels = LabelSchema.model_validate(self.project.labels)
        self.images = {f.number: digests.get(f.sha256) if f.sha256 else numbers.get(f.number) for f in self.found.films}

    def take(self, reading: ReadingRecord) -> None:
        """One reading with its drawings."""
        image = self.images.get(reading.film)
        if image is None:
            self.notes["readings of films that are not in the project, left out"] += 1
            return
        where = f"film {image.number}, {reading.who}"
        reader = reader_named(self.session, reading.reader)
        if reader is None:
            self._problem(f"there is no reader {reading.reader!r}; add that reader first")
            return
        odd = [problem for drawing in reading.drawings if (problem := self._unfit(drawing, image))]
        if odd:
            self.problems += [f"{where}: {problem}" for problem in odd]
            return
        self.counts["readings"] += 1
        assignment, made = self._assignment(image, reader, reading)
        self._drawings(assignment, reading, where)
        self._answers(assignment, reading, made, where)

    def _problem(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _unfit(self, drawing: DrawingRecord, image: Image) -> str | None:
        """Why a drawing cannot stand in this project; an area may be of any kind of area."""
        codes = [label.code for label in self.labels.labels]
        if drawing.label not in codes:
            return f"there is no label {drawing.label!r}; this project has {', '.join(codes)}"
        kinds, kind = self.labels[drawing.label].kinds, drawing.drawn.kind
        if kind not in kinds and not (kind in AREAS and set(kinds) & set(AREAS)):
            return f"{drawing.label} cannot be a {kind}; expected {' or '.join(kinds)}"
        if isinstance(drawing.drawn, Brush) and drawing.drawn.size != (image.height, image.width):
            return f"painted pixels of size {drawing.drawn.size}; the film has {(image.height, image.width)}"
        return None

    def _assignment(self, image: Image, reader: Reader, reading: ReadingRecord) -> tuple[Assignment, bool]:
        """The reading in the project, and whether it was made now."""
        query = select(Assignment).where(Assignment.image_id == image.id, Assignment.reader_id == reader.id)
        found = self.session.scalars(query.where(Assignment.read == reading.read)).first()
        if found is not None:
            return found, False
        mine = select(func.max(Assignment.position)).join(Image)
        last = self.session.scalar(mine.where(Image.project_id == self.project.id, Assignment.reader_id == reader.id))
        made = Assignment(
            id=new_id(),
            image_id=image.id,
            reader_id=reader.id,
            read=reading.read,
            position=reading.position or (last or 0) + 1,
            state="not_started",
            nothing_in=[],
            flag_reason="",
            active_seconds=0.0,
        )
        self.session.add(made)
        self.session.flush()
        return made, True

    # --- drawings ---------------------------------------------------------------------------------------------------

    def _drawings(self, assignment: Assignment, reading: ReadingRecord, where: str) -> None:
        there = {a.id: a for a in self._live(assignment)}
        touched = set[str]()
        for drawing in reading.drawings:
            if self.found.whole and (same := self._same_region(drawing, list(there.values()), where)):
                touched |= same
                self.counts["unchanged"] += 1
            else:
                touched.add(self._drawing(assignment, drawing))
        self.counts["kept"] += len(there.keys() - touched)

    def _live(self, assignment: Assignment) -> Sequence[Annotation]:
        query = select(Annotation).where(Annotation.assignment_id == assignment.id, Annotation.deleted.is_(False))
        return self.session.scalars(query).all()

    def _same_region(self, drawing: DrawingRecord, there: Sequence[Annotation], where: str) -> set[str]:
        """The drawings that already make the region that a mask is; a problem where they make another one."""
        own = [a for a in there if a.label == drawing.label]
        assert isinstance(drawing.drawn, Brush), "formats of whole regions hold pixels"
        region = region_of(own, drawing.drawn.size).get(drawing.label)
        if region is None:
            return set()
        if not np.array_equal(region, mask_of(drawing.drawn, drawing.drawn.size)):
            self._problem(f"{where}: {drawing.label} is drawn already and differs; delete it there or in the import")
        return {a.id for a in own}

    def _drawing(self, assignment: Assignment, drawing: DrawingRecord) -> str:
        """Add a drawing, or change it where its id is known and the project has no newer revision; returns its id."""
        wanted = drawing.model_dump(mode="json", include=set(_CONTENT))
        wanted["view_state"] = drawing.view_state.model_dump(exclude_none=True)
        current_id, current = self._current(assignment, drawing, wanted)
        if current is not None and not current.deleted and all(getattr(current, k) == wanted[k] for k in _CONTENT):
            self.counts["unchanged"] += 1
        elif current is not None and current.rev > drawing.rev:
            self.notes["drawings that were changed or deleted after the export, kept as they are"] += 1
        else:
            self._write(assignment, current_id, current, drawing, wanted)
        return current_id

    def _current(
        self, assignment: Assignment, drawing: DrawingRecord, wanted: dict[str, Any]
    ) -> tuple[str, Annotation | None]:
        """The id under which a drawing stands here, always the same for the same drawing, and what stands there."""
        if drawing.id is not None:
            found = self.session.get(Annotation, drawing.id)
            if found is None or found.assignment_id == assignment.id:
                return drawing.id, found
        said = drawing.id or json.dumps([wanted["label"], wanted["geometry"]], sort_keys=True)
        own = uuid.uuid5(uuid.UUID(assignment.id), said).hex
        return own, self.session.get(Annotation, own)

    def _write(
        self,
        assignment: Assignment,
        current_id: str,
        current: Annotation | None,
        drawing: DrawingRecord,
        wanted: dict[str, Any],
    ) -> None:
        before = kept(current) if current else None
        self.counts["changed" if current else "added"] += 1
        if current is None:
            current = Annotation(id=current_id, assignment_id=assignment.id, created=drawing.created or now(), rev=0)
            self.session.add(current)
        current.rev = max(current.rev + 1, drawing.rev)
        for name, value in (wanted | {"deleted": False, "updated": drawing.updated or now()}).items():
            setattr(current, name, value)
        record(
            self.session, self.by, "drawing.imported", current.id, rev=current.rev, before=before, after=kept(current)
        )

    # --- answers ----------------------------------------------------------------------------------------------------

    def _answers(self, assignment: Assignment, reading: ReadingRecord, made: bool, where: str) -> None:
        """State, labels with nothing to mark and times."""
        drawn = {a.label for a in self._live(assignment)}
        nothing = (set(assignment.nothing_in) - drawn) | set(reading.nothing_in)
        if both := sorted(drawn & nothing):
            self._problem(f"{where}: {', '.join(both)}: drawn, and marked as nothing to mark; take one back")
        if unknown := sorted(nothing - {label.code for label in self.labels.labels}):
            self._problem(f"{where}: there is no label {unknown[0]!r} in this project")
        before = {name: getattr(assignment, name) for name in READING}
        after = {
            "state": self._state(assignment, reading, drawn | nothing),
            "nothing_in": sorted(nothing),
            "flag_reason": assignment.flag_reason or reading.flag_reason,
        }
        after["nothing_in"] = before["nothing_in"] if set(before["nothing_in"]) == nothing else after["nothing_in"]
        assignment.opened = assignment.opened or reading.opened
        assignment.active_seconds = max(assignment.active_seconds, reading.active_seconds)
        if after == before and not made:
            return
        for name, value in after.items():
            setattr(assignment, name, value)
        assignment.done = (assignment.done or reading.done or now()) if after["state"] == "done" else None
        self.counts["answers"] += 1
        record(self.session, self.by, "reading.imported", assignment.id, before=None if made else before, after=after)

    def _state(self, assignment: Assignment, reading: ReadingRecord, answered: set[str]) -> str:
        """The farther of both states; done only where all required labels are answered."""
        state = max(assignment.state, reading.state, key=_STATES.index)
        if state == "done" and any(label.required and label.code not in answered for label in self.labels.labels):
            self.notes["readings that do not answer every required label, in progress instead of done"] += 1
            state = "in_progress"
        return "in_progress" if state == "not_started" and answered else state
