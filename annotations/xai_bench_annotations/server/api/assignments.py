"""Readings: a reader's own worklist, their states, and the drawings in them."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from xai_bench_annotations.server.api.needs import Caller, Db
from xai_bench_annotations.server.auth import Who
from xai_bench_annotations.server.protocol import (
    own_annotation,
    own_assignment,
    seen_assignment,
    seen_project,
    worklist,
)
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.saving import assignment_answers, change_reading, delete, put
from xai_bench_annotations.server.shapes import (
    AnnotationAnswer,
    AssignmentAnswer,
    AssignmentChange,
    Batch,
    BatchAnswer,
    BatchDelete,
    BatchPut,
    Changed,
    Drawing,
)
from xai_bench_annotations.server.tables import Annotation, Assignment

router = APIRouter(prefix="/assignments", tags=["assignments"])
_CHANGE: TypeAdapter[BatchPut | BatchDelete] = TypeAdapter(BatchPut | BatchDelete)


@router.get("")
def own_worklist(project: str, caller: Caller, db: Db) -> list[AssignmentAnswer]:
    """The caller's own readings in a project, in the caller's own order."""
    with db.reading() as session:
        found = worklist(session, caller, seen_project(session, caller, project))
        return assignment_answers(session, list(found))


@router.patch("/{assignment_id}")
def change(assignment_id: str, wanted: AssignmentChange, caller: Caller, db: Db) -> AssignmentAnswer:
    """Change the state, the labels with nothing to mark, the reason of a flag, the time spent."""
    with db.writing() as session:
        assignment = own_assignment(session, caller, assignment_id)
        change_reading(session, caller, assignment, wanted)
        return assignment_answers(session, [assignment])[0]


@router.get("/{assignment_id}/annotations")
def drawings(assignment_id: str, caller: Caller, db: Db) -> list[AnnotationAnswer]:
    """The drawings of a reading, deleted ones too; an admin sees others' when everybody has read the film."""
    with db.reading() as session:
        assignment = seen_assignment(session, caller, assignment_id)
        query = select(Annotation).where(Annotation.assignment_id == assignment.id)
        return [AnnotationAnswer.model_validate(a) for a in session.scalars(query.order_by(Annotation.created))]


@router.post("/{assignment_id}/batch")
def batch(assignment_id: str, wanted: Batch, caller: Caller, db: Db) -> BatchAnswer:
    """Many changes at once, from a browser that was offline; one that is refused does not hold up the others."""
    with db.writing() as session:
        assignment = own_assignment(session, caller, assignment_id)
        return BatchAnswer(changes=[_change(session, caller, assignment, c) for c in wanted.changes])


def _change(session: Session, caller: Who, assignment: Assignment, raw: dict[str, object]) -> Changed:
    named = raw.get("id")
    name = named if isinstance(named, str) and named.isprintable() else None  # a lone surrogate cannot be answered
    try:
        wanted = _CHANGE.validate_python(raw)
        done = (
            _put(session, caller, assignment, wanted)
            if isinstance(wanted, BatchPut)
            else _delete(session, caller, wanted)
        )
    except ValidationError as error:
        return Changed(id=name, status=422, error=f"this change cannot be used: {error.errors()[0]['msg']}")
    except Refusal as refusal:
        return Changed(id=name, status=refusal.status, error=str(refusal), annotation=refusal.more.get("current"))
    return Changed(id=name, status=200, annotation=AnnotationAnswer.model_validate(done))


def _put(session: Session, caller: Who, assignment: Assignment, wanted: BatchPut) -> Annotation:
    drawing = Drawing.model_validate(wanted.model_dump(exclude={"op", "id", "rev"}))
    return put(session, caller, assignment, wanted.id, wanted.rev, drawing)


def _delete(session: Session, caller: Who, wanted: BatchDelete) -> Annotation:
    return delete(session, caller, own_annotation(session, caller, wanted.id), wanted.rev)
