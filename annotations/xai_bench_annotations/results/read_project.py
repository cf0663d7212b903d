"""What was read in a project, for the benchmark: finished first readings of each film, found by its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from xai_bench.errors import BadInput, did_you_mean
from xai_bench.samples import Region, RegionKey
from xai_bench.spec import digest
from xai_bench_annotations.drawings import AREAS
from xai_bench_annotations.results.readings import (
    Reading,
    areas_of,
    digest_of,
    find_project,
    held_back,
    readings_of,
    schema_of,
)
from xai_bench_annotations.server.database import open_database
from xai_bench_annotations.server.tables import Project

NOT_READ = Region("not_read")


@dataclass(frozen=True, eq=False)
class Read:
    """The area labels of a project, outer to inner; film's digest -> its finished first readings; and what is open."""

    name: str
    labels: tuple[str, ...]
    readings: Mapping[str, tuple[Reading, ...]]
    open: Mapping[str, str]  # film's digest -> why not all of its readers count

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """Who has finished a film."""
        return tuple(sorted({r.reader for film in self.readings.values() for r in film}))

    @cached_property
    def answered(self) -> tuple[str, ...]:
        """The labels that anybody answered, inner to outer."""
        every = [r for film in self.readings.values() for r in film]
        found = {d.label for r in every for d in r.drawings if d.geometry.kind in AREAS}
        found |= {label for r in every for label in r.nothing_in}
        return tuple(label for label in reversed(self.labels) if label in found)

    @cached_property
    def revision(self) -> str:
        """A hash of every finished first reading, revisions included."""
        return digest([self.name, self.labels, sorted([sha, digest_of(r)] for sha, r in self.readings.items())])

    def said(self, film: str) -> str:
        """A hash of what was said of a film; "" where nobody has finished it."""
        readings = self.readings.get(film, ())
        return digest_of(readings) if readings else ""

    def regions(self, film: str) -> dict[RegionKey, Region]:
        """Every label by every reader; `not_read` where a reader has not finished the film or left the label open."""
        by_reader = {r.reader: r for r in self.readings.get(film, ())}
        return {
            RegionKey(label, reader): _region(by_reader.get(reader), label)
            for reader in self.readers
            for label in self.labels
        }


def _region(reading: Reading | None, label: str) -> Region:
    mask = reading.area(label) if reading else None
    if mask is None:
        return NOT_READ
    return Region("drawn", mask) if mask.any() else Region("marked_nothing")


def read_project(project: str) -> Read:
    """What was read in `FOLDER` or `FOLDER#PROJECT`.

    Raises BadInput for a folder that is none, a project that does not exist or is not named where there are several,
    and a project in which no reading is finished.
    """
    folder, found, name = project.rpartition("#")
    folder, name = (folder, name) if found else (project, "")
    database = open_database(Path(folder))
    try:
        with database.reading() as session:
            row = find_project(session, _chosen(session, folder, name))
            labels = tuple(areas_of(schema_of(row)))
            first = {i.sha256: tuple(r for r in readings_of(i) if r.read == 1) for i in row.images}
            still = {i.sha256: why for i in row.images if (why := held_back(i))}
    finally:
        database.close()
    read = Read(row.name, labels, first, still)
    if not read.readers:
        raise BadInput(f"project {row.name!r} in {folder!r} has no finished reading yet; let its readers finish films.")
    return read


def _chosen(session: Session, folder: str, name: str) -> str:
    """The id of a project by its name; without a name, of the only one."""
    projects = {p.name: p.id for p in session.scalars(select(Project).order_by(Project.name))}
    if not projects:
        raise BadInput(f"{folder!r} holds no project; add one by `xai-bench annotate add-project`.")
    if not name and len(projects) > 1:
        raise BadInput(f"{folder!r} holds {len(projects)} projects; name one: {folder}#{next(iter(projects))}.")
    name = name or next(iter(projects))
    if name not in projects:
        known = list(projects)
        raise BadInput(f"{folder!r} has no project {name!r}; it has {', '.join(known)}.{did_you_mean(name, known)}")
    return projects[name]
