"""An annotation folder filled through its tables: films, readers, and finished readings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session
from xai_bench_annotations.drawings import SPINE, LabelSchema
from xai_bench_annotations.films.raster import brush_of
from xai_bench_annotations.films.store import add_pixels
from xai_bench_annotations.server.database import Database, open_database
from xai_bench_annotations.server.projects import add_project
from xai_bench_annotations.server.protocol import assign
from xai_bench_annotations.server.readers import add_reader
from xai_bench_annotations.server.shapes import NewProject
from xai_bench_annotations.server.tables import Annotation, Assignment, Image, Project, Reader, new_id

Said = Mapping[str, Sequence[Any]]
"""Label -> geometries (masks, or geometries as JSON); none: there is nothing to mark."""


def project_of(
    folder: Path, films: Sequence[np.ndarray], readers: Sequence[str], labels: LabelSchema = SPINE,
    spacing: tuple[float, float] | None = None, repeats: float = 0.0, name: str = "spine",
) -> Database:  # fmt: skip
    """A folder with one more project, its films, and readers who have them all on their worklists."""
    database = open_database(folder, create=True)
    with database.writing() as session:
        project = add_project(session, NewProject(name=name, labels=labels, repeats=repeats))
        for film in films:
            add_pixels(session, folder, project, film, spacing)
        for reader in readers:
            add_reader(session, reader)
        assign(session, project, readers)
    return database


def assignment_of(session: Session, film: int, reader: str, read: int = 1) -> Assignment:
    """One reading, of the only project that has such a film and reader."""
    query = session.query(Assignment).join(Image).join(Assignment.reader).filter(Assignment.read == read)
    return query.filter(Image.number == film, Reader.name == reader).one()


def finish(database: Database, film: int, reader: str, said: Said, read: int = 1, state: str = "done") -> None:
    """Draw all and finish, as the server would have stored it; what was drawn before is deleted."""
    with database.writing() as session:
        assignment = assignment_of(session, film, reader, read)
        for old in assignment.annotations:
            old.deleted, old.rev = True, old.rev + 1
        for label, shapes in said.items():
            for shape in shapes:
                geometry = brush_of(shape).model_dump(mode="json") if isinstance(shape, np.ndarray) else shape
                made = Annotation(id=new_id(), assignment_id=assignment.id, label=label, geometry=geometry, rev=1)
                session.add(made)
        assignment.nothing_in = [label for label, shapes in said.items() if len(shapes) == 0]
        assignment.state = state


def image_of(database: Database, film: int = 1) -> str:
    """A film's id by its number."""
    with database.reading() as session:
        return next(i.id for i in session.query(Image) if i.number == film)


def project_id(database: Database) -> str:
    """The id of the first project."""
    with database.reading() as session:
        return session.query(Project).order_by(Project.created).all()[0].id


def film_number(number: int, shape: tuple[int, int] = (60, 50)) -> np.ndarray:
    """Noise, another one for each number."""
    return np.random.default_rng(number).integers(0, 4096, shape, dtype=np.uint16)
