"""Export a project as a zip, and import one: the two functions that the server and the command line call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from xai_bench.errors import BadInput, did_you_mean
from xai_bench_annotations.formats import Format, coco, native, png
from xai_bench_annotations.formats.archive import pack, unpacked
from xai_bench_annotations.formats.content import FilmRecord, Found, collect, films_of
from xai_bench_annotations.formats.importing import Report, apply
from xai_bench_annotations.formats.png import Names
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.protocol import read_images, still_reading
from xai_bench_annotations.server.tables import Assignment, Image, Project

__all__ = ["Exported", "Format", "export_project", "find_project", "import_project"]


@dataclass(frozen=True)
class Exported:
    """A zip, and what its format could not hold, one sentence each; the zip holds them too, as `report.txt`."""

    data: bytes
    notes: tuple[str, ...]


def export_project(
    database: Database, project: str, form: Format, *, names: Names | None = None, seen_by: str | None = None
) -> Exported:
    """All drawings of a project, by its id or name; `names` are what films are called in PNG masks.

    `seen_by`: the id of who looks. Films that one of their readers, or this one, has yet to read are then left out.
    """
    with database.reading() as session:
        found = find_project(session, project)
        hidden = _hidden(session, found, seen_by) if seen_by else set[str]()
        content = collect(session, found, hidden)
    notes = [f"{len(hidden)} films are left out: not all of their readers have finished them."] if hidden else []
    match form:
        case "coco":
            files = list(coco.write(content, notes))
        case "png":
            files = list(png.write(content, notes, names))
        case "native":
            files = list(native.write(content, notes))
    report = "\n".join(notes or ["Nothing was left out."]) + "\n"
    return Exported(pack([*files, ("report.txt", report.encode())]), tuple(notes))


def _hidden(session: Session, project: Project, seen_by: str) -> set[str]:
    """The ids of the films that somebody was asked to read and whose drawings may not be seen yet."""
    asked = select(Assignment.image_id).join(Image).where(Image.project_id == project.id)
    shown = {image.id for image in read_images(session, project)} - still_reading(session, seen_by)
    return set(session.scalars(asked)) - shown


def import_project(
    database: Database,
    project: str,
    source: bytes | Path,
    form: Format,
    *,
    reader: str | None = None,
    dry_run: bool = True,
    by: str | None = None,
    names: Names | None = None,
) -> Report:
    """Drawings from a zip, a JSON file or a folder into a project, by its id or name.

    `reader` is whose drawings they are in a COCO file that does not say. Raises BadInput for what cannot be read.
    """
    if reader is not None and form != "coco":
        raise BadInput(f"reader {reader!r}: {form} says itself who drew; name a reader for coco only.")
    with database.reading() as session:
        films = films_of(session, find_project(session, project))
    with unpacked(source) as folder:
        found = _found(folder, films, form, reader, names)
    with database.writing() as session:
        return apply(session, find_project(session, project), found, by=by, dry_run=dry_run)


def _found(folder: Path, films: list[FilmRecord], form: Format, reader: str | None, names: Names | None) -> Found:
    match form:
        case "coco":
            return coco.read(folder, films, reader)
        case "png":
            return png.read(folder, films, names)
        case "native":
            return native.read(folder)


def find_project(session: Session, project: str) -> Project:
    """A project by its id or name. Raises BadInput for an unknown one."""
    found = session.get(Project, project) or session.scalars(select(Project).where(Project.name == project)).first()
    if found is None:
        known = list(session.scalars(select(Project.name).order_by(Project.name)))
        there = f"there are {', '.join(map(repr, known))}" if known else "there is none yet"
        raise BadInput(f"project {project!r} does not exist; {there}.{did_you_mean(project, known)}")
    return found
