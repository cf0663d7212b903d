"""Projects and their films, as they are made and told of."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xai_bench_annotations.drawings import LabelSchema
from xai_bench_annotations.films.pixels import Film
from xai_bench_annotations.films.store import store_film
from xai_bench_annotations.server.audit import record
from xai_bench_annotations.server.auth import Who
from xai_bench_annotations.server.protocol import states
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.shapes import NewProject, Progress, ProjectAnswer, States
from xai_bench_annotations.server.tables import Assignment, Image, Project


def add_project(session: Session, wanted: NewProject, *, by: str | None = None) -> Project:
    """A new project without films. Raises Refusal (409) for a name that is taken."""
    if project_named(session, wanted.name):
        raise Refusal(409, f"there is a project {wanted.name!r} already; choose another name")
    project = Project(**wanted.model_dump(mode="json"))
    session.add(project)
    session.flush()
    record(session, by, "project.added", project.id, after=wanted.model_dump(mode="json"))
    return project


def project_named(session: Session, name: str) -> Project | None:
    """A project by name."""
    return session.scalars(select(Project).where(Project.name == name)).first()


def add_image(session: Session, folder: Path, project: Project, film: Film, *, by: str | None = None) -> Image:
    """Add a decoded film to a project. Raises `films.AlreadyThere`."""
    image = store_film(session, folder, project, film)
    after = {"project": project.id, "number": image.number, "sha256": image.sha256, "pixels": image.pixels}
    record(session, by, "film.added", image.id, after=after)
    return image


def project_answer(session: Session, caller: Who, project: Project) -> ProjectAnswer:
    """A project as the caller may see it: a reader only their own counts."""
    counts = states(session, project)
    films = select(func.count(Image.id.distinct())).where(Image.project_id == project.id)
    if not caller.is_admin:
        films = films.join(Assignment).where(Assignment.reader_id == caller.id)
    told = [Progress(name=name, states=States(**found)) for name, found in counts.items()]
    return ProjectAnswer(
        id=project.id,
        name=project.name,
        films=session.scalar(films) or 0,
        labels=LabelSchema.model_validate(project.labels),
        instructions=project.instructions,
        states=States(**counts.get(caller.name, {})),
        readers=told if caller.is_admin else None,
    )
