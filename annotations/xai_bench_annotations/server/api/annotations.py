"""Drawings, one by one: the autosave of the page."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path
from sqlalchemy import select

from xai_bench_annotations.server.api.needs import Caller, Db
from xai_bench_annotations.server.protocol import own_annotation, own_assignment, seen_assignment
from xai_bench_annotations.server.refusals import Refusal, missing
from xai_bench_annotations.server.saving import delete, put
from xai_bench_annotations.server.shapes import AnnotationAnswer, Conflict, PutDrawing, Revision
from xai_bench_annotations.server.tables import Annotation, Event

router = APIRouter(prefix="/annotations", tags=["annotations"])
NewId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="Made by the browser: 16 random bytes in hex.")]
CONFLICTS = {409: {"model": Conflict}}


def _revision(given: Annotated[str | None, Header(alias="If-Match")] = None) -> int:
    if given is None:
        raise Refusal(
            428, "the header If-Match is missing; it names the revision the change was made on, 0 for a new one"
        )
    found = re.fullmatch(r'"?([0-9]{1,15})"?', given)
    if not found:
        raise Refusal(422, f"If-Match is {given[:40]!r}; expected a revision such as 3")
    return int(found[1])


Rev = Annotated[int, Depends(_revision)]


@router.put("/{annotation_id}", responses=CONFLICTS)  # type: ignore[arg-type]  # a literal of exactly what it takes
def save(annotation_id: NewId, wanted: PutDrawing, rev: Rev, caller: Caller, db: Db) -> AnnotationAnswer:
    """Draw something new, change it, or bring back what was deleted."""
    with db.writing() as session:
        assignment = own_assignment(session, caller, wanted.assignment)
        return AnnotationAnswer.model_validate(put(session, caller, assignment, annotation_id, rev, wanted))


@router.delete("/{annotation_id}", responses=CONFLICTS)  # type: ignore[arg-type]  # as above
def remove(annotation_id: str, rev: Rev, caller: Caller, db: Db) -> AnnotationAnswer:
    """Delete a drawing; a tombstone stays, which can be brought back."""
    with db.writing() as session:
        return AnnotationAnswer.model_validate(
            delete(session, caller, own_annotation(session, caller, annotation_id), rev)
        )


@router.get("/{annotation_id}/history")
def history(annotation_id: str, caller: Caller, db: Db) -> list[Revision]:
    """Every revision; an admin sees others' when everybody has read the film."""
    with db.reading() as session:
        found = session.get(Annotation, annotation_id)
        if found is None or (found.assignment.reader_id != caller.id and not caller.is_admin):
            raise missing("drawing")
        seen_assignment(session, caller, found.assignment_id)
        events = select(Event).where(Event.subject == found.id).order_by(Event.seq)
        return [Revision.model_validate(event) for event in session.scalars(events)]
