"""The blind protocol: who reads what in which order, whose work is whose, and when readings may be compared.

Functions that change something need a writing session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from xai_bench_annotations.server.audit import record
from xai_bench_annotations.server.auth import Who
from xai_bench_annotations.server.order import Turn, further_turns
from xai_bench_annotations.server.readers import reader_named
from xai_bench_annotations.server.refusals import Refusal, missing
from xai_bench_annotations.server.tables import Annotation, Assignment, Image, Project, Reader, new_id

STATES = ("not_started", "in_progress", "done", "flagged")


def assign(session: Session, project: Project, names: Iterable[str], *, by: str | None = None) -> int:
    """Give readers the films that they do not have yet, and the repeats that are due; returns how many readings."""
    readers = [_active(session, name) for name in dict.fromkeys(names)]
    return sum(_assign(session, project, reader, by) for reader in readers)


def _active(session: Session, name: str) -> Reader:
    reader = reader_named(session, name)
    if reader is None or not reader.active:
        raise Refusal(422, f"there is no active reader {name!r}; add or invite that reader first")
    return reader


def _assign(session: Session, project: Project, reader: Reader, by: str | None) -> int:
    mine = select(Assignment.image_id, Assignment.read).join(Image).where(Image.project_id == project.id)
    mine = mine.where(Assignment.reader_id == reader.id).order_by(Assignment.position)
    earlier = [Turn(film, read) for film, read in session.execute(mine)]
    mine_once = {turn.film for turn in earlier if turn.read == 1}
    films = session.scalars(select(Image.id).where(Image.project_id == project.id).order_by(Image.number)).all()
    new = [film for film in films if film not in mine_once]
    random = Random(f"{project.order_seed} {reader.name} {len(earlier)}")  # of text: the same on every machine
    turns = further_turns(earlier, new, project.repeats, random)
    for position, turn in enumerate(turns, start=len(earlier) + 1):
        session.add(Assignment(id=new_id(), image_id=turn.film, reader_id=reader.id, read=turn.read, position=position))
    if turns:
        order = {"reader": reader.name, "from": len(earlier) + 1, "order": [list(turn) for turn in turns]}
        record(session, by, "project.assigned", project.id, after=order)
    return len(turns)


def own_assignment(session: Session, caller: Who, assignment_id: str) -> Assignment:
    """A reading of the caller's own. Raises Refusal (404) for anybody else's, whatever the role."""
    found = session.get(Assignment, assignment_id)
    if found is None or found.reader_id != caller.id:
        raise missing("reading")
    return found


def own_annotation(session: Session, caller: Who, annotation_id: str) -> Annotation:
    """A drawing of the caller's own. Raises Refusal (404) for anybody else's, whatever the role."""
    found = session.get(Annotation, annotation_id)
    if found is None or found.assignment.reader_id != caller.id:
        raise missing("drawing")
    return found


def seen_assignment(session: Session, caller: Who, assignment_id: str) -> Assignment:
    """A reading that the caller may look at: their own; for an admin any of a film that everybody has read."""
    found = session.get(Assignment, assignment_id)
    if found is None or (found.reader_id != caller.id and not caller.is_admin):
        raise missing("reading")
    if found.reader_id != caller.id:
        check_seen(session, caller, found.image)
    return found


def seen_image(session: Session, caller: Who, image_id: str) -> Image:
    """A film that the caller may look at: one they read; for an admin any."""
    image = session.get(Image, image_id)
    own = select(Assignment.id).where(Assignment.image_id == image_id, Assignment.reader_id == caller.id).limit(1)
    if image is None or (not caller.is_admin and session.scalars(own).first() is None):
        raise missing("film")
    return image


def seen_projects(session: Session, caller: Who) -> Sequence[Project]:
    """The projects in which the caller reads; for an admin all."""
    query = select(Project).order_by(Project.name)
    if not caller.is_admin:
        own = select(Image.project_id).join(Assignment).where(Assignment.reader_id == caller.id)
        query = query.where(Project.id.in_(own))
    return session.scalars(query).all()


def seen_project(session: Session, caller: Who, project_id: str) -> Project:
    """One of `seen_projects`."""
    project = session.get(Project, project_id)
    if project is None or (not caller.is_admin and project not in seen_projects(session, caller)):
        raise missing("project")
    return project


def worklist(session: Session, caller: Who, project: Project) -> Sequence[Assignment]:
    """The caller's own readings in their own order."""
    query = select(Assignment).join(Image).where(Image.project_id == project.id, Assignment.reader_id == caller.id)
    return session.scalars(query.options(joinedload(Assignment.image)).order_by(Assignment.position)).all()


def states(session: Session, project: Project) -> dict[str, dict[str, int]]:
    """Reader -> how many of its readings are in each state; readers sorted by name."""
    query = select(Reader.name, Assignment.state).join(Assignment, Assignment.reader_id == Reader.id)
    query = query.join(Image).where(Image.project_id == project.id)
    counts: dict[str, Counter[str]] = {}
    for name, state in session.execute(query.order_by(Reader.name)):
        counts.setdefault(name, Counter())[state] += 1
    return {name: {state: found[state] for state in STATES} for name, found in counts.items()}


def waited_for(session: Session, image: Image) -> list[str]:
    """The active readers whose first reading of a film is not done."""
    query = select(Reader.name).join(Assignment, Assignment.reader_id == Reader.id).where(Reader.active.is_(True))
    query = query.where(Assignment.image_id == image.id, Assignment.read == 1, Assignment.state != "done")
    return list(session.scalars(query.order_by(Reader.name)))


def still_reading(session: Session, reader_id: str) -> set[str]:
    """The ids of the films of which a reader has a reading to finish, the repeat included."""
    own = select(Assignment.image_id).where(Assignment.reader_id == reader_id, Assignment.state != "done")
    return set(session.scalars(own))


def check_seen(session: Session, caller: Who, image: Image) -> None:
    """Raises Refusal (423) while an admin may not see others' work on a film: one who reads it too is blind as well."""
    check_read(session, image)
    if image.id in still_reading(session, caller.id):
        raise Refusal(423, "this film is still on your own worklist; finish it first")


def check_read(session: Session, image: Image) -> None:
    """Raises Refusal (423) while the readings of a film may not be seen beside each other."""
    if names := waited_for(session, image):
        raise Refusal(423, f"film {image.number} can be compared when all have read it; missing: {', '.join(names)}")


def read_images(session: Session, project: Project) -> list[Image]:
    """The films that have a first reading and wait for nobody's, by number."""
    query = select(Image).join(Assignment).where(Image.project_id == project.id, Assignment.read == 1)
    open_ = select(Assignment.image_id).join(Reader, Reader.id == Assignment.reader_id)
    open_ = open_.where(Reader.active.is_(True), Assignment.read == 1, Assignment.state != "done")
    query = query.where(Assignment.state == "done", Image.id.not_in(open_))
    return list(session.scalars(query.distinct().order_by(Image.number)))
