"""What readers said of a film, as plain values; and the lock: nothing of it before all first readings are done.

Only first readings are votes. A repeat reading is compared with the same reader's first one and with nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from xai_bench.consensus import Mask
from xai_bench_annotations.drawings import AREAS, Cobb, LabelSchema, Landmark
from xai_bench_annotations.films.raster import Drawn, geometry_of, mask_of
from xai_bench_annotations.server.protocol import check_read, read_images, still_reading
from xai_bench_annotations.server.refusals import Refusal, missing
from xai_bench_annotations.server.tables import Assignment, Image, Project

DONE, FLAGGED = "done", "flagged"
OWN = "it is still on your own worklist"


@dataclass(frozen=True)
class Drawing:
    """One drawn geometry at one revision."""

    id: str
    rev: int
    label: str
    geometry: Drawn


@dataclass(frozen=True, eq=False)
class Reading:
    """One finished reading of a film of `shape` (rows, columns): what was drawn, and labels with nothing to mark."""

    reader: str
    read: int
    shape: tuple[int, int]
    drawings: tuple[Drawing, ...]
    nothing_in: frozenset[str] = frozenset()

    def area(self, label: str) -> Mask | None:
        """The areas of a label, united; zeros where there is nothing to mark, None where the label was not answered."""
        areas = [d.geometry for d in self._of(label) if d.geometry.kind in AREAS]
        if not areas and label not in self.nothing_in:
            return None
        mask: Mask = np.zeros(self.shape, np.bool_)
        for geometry in areas:
            mask |= mask_of(geometry, self.shape)
        return mask

    def points(self, label: str) -> tuple[tuple[float, float], ...] | None:
        """The (x, y) of a label's landmarks in pixels; none where there is nothing to mark, None if not answered."""
        found = [d.geometry.at for d in self._of(label) if isinstance(d.geometry, Landmark)]
        return tuple(found) if found or label in self.nothing_in else None

    def angles(self, label: str) -> tuple[float, ...] | None:
        """A label's Cobb angles in degrees from top to bottom; none where there is nothing to mark, None likewise."""
        found = [d.geometry for d in self._of(label) if isinstance(d.geometry, Cobb)]
        if not found and label not in self.nothing_in:
            return None
        return tuple(cobb_degrees(cobb) for cobb in sorted(found, key=_height))

    def inputs(self, label: str) -> dict[str, int]:
        """The drawings of a label and their revisions."""
        return {d.id: d.rev for d in self._of(label)}

    def _of(self, label: str) -> list[Drawing]:
        return [d for d in self.drawings if d.label == label]


def cobb_degrees(cobb: Cobb) -> float:
    """The acute angle between the two endplate lines, 0 to 90 degrees.

    >>> round(cobb_degrees(Cobb(kind="cobb", upper=((0, 0), (10, 0)), lower=((0, 20), (10, 30)))), 6)
    45.0
    """
    (ax, ay), (bx, by) = (np.subtract(line[1], line[0]) for line in (cobb.upper, cobb.lower))
    return float(np.degrees(np.arctan2(abs(ax * by - ay * bx), abs(ax * bx + ay * by))))


def _height(cobb: Cobb) -> float:
    return sum(y for line in (cobb.upper, cobb.lower) for _, y in line)


@dataclass(frozen=True, eq=False)
class Film:
    """A film of which all first readings are done. `spacing_mm` is (row, column), where the film states it."""

    id: str
    number: int
    sha256: str
    shape: tuple[int, int]
    readings: tuple[Reading, ...]
    spacing_mm: tuple[float, float] | None = None
    spacing_source: str = ""

    @cached_property
    def first(self) -> Mapping[str, Reading]:
        """Reader -> first reading, readers sorted by name."""
        return {r.reader: r for r in sorted(self.readings, key=lambda r: r.reader) if r.read == 1}

    @cached_property
    def again(self) -> Mapping[str, Reading]:
        """Reader -> repeat reading, of those who have one."""
        return {r.reader: r for r in sorted(self.readings, key=lambda r: r.reader) if r.read == 2}

    def votes(self, label: str) -> dict[str, Mask]:
        """Reader -> area, first readings only; who did not answer the label has no vote."""
        found = {reader: reading.area(label) for reader, reading in self.first.items()}
        return {reader: mask for reader, mask in found.items() if mask is not None}

    @cached_property
    def digest(self) -> str:
        """A hash of all that measures of this film depend on."""
        return digest_of(self.readings, self.shape, self.spacing_mm)


def digest_of(readings: Iterable[Reading], *more: Any) -> str:
    """A hash of what readers drew, at which revision, and where they found nothing; in whatever order."""
    said = sorted(
        [r.reader, r.read, sorted(r.nothing_in), sorted(_text([d.label, d.rev, _plain(d)]) for d in r.drawings)]
        for r in readings
    )
    return hashlib.sha256(_text([said, *more]).encode()).hexdigest()[:24]


def _plain(drawing: Drawing) -> Any:
    return drawing.geometry.model_dump(mode="json")


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


# --- from the tables ------------------------------------------------------------------------------------------------


def find_project(session: Session, project: str) -> Project:
    """A project by id, with all that was read of it. Raises Refusal (404) where there is none."""
    whole = selectinload(Project.images).selectinload(Image.assignments)
    options = (whole.selectinload(Assignment.annotations), whole.selectinload(Assignment.reader))
    found = session.scalars(select(Project).where(Project.id == project).options(*options)).one_or_none()
    if found is None:
        raise missing("project")
    return found


def find_image(session: Session, image: str) -> Image:
    """A film by id. Raises Refusal (404) where there is none."""
    found = session.get(Image, image)
    if found is None:
        raise missing("film")
    return found


def schema_of(project: Project) -> LabelSchema:
    """The labels of a project."""
    return LabelSchema.model_validate(project.labels)


def areas_of(schema: LabelSchema) -> list[str]:
    """The labels that are areas, outer to inner."""
    return [label.code for label in schema.labels if set(label.kinds) & set(AREAS)]


def readings_of(image: Image) -> tuple[Reading, ...]:
    """The finished readings of a film, whether or not others are still open: for the benchmark, never for a page."""
    shape = (image.height, image.width)
    return tuple(
        Reading(a.reader.name, a.read, shape, _drawings(a), frozenset(a.nothing_in))
        for a in image.assignments
        if a.state == DONE
    )


def _drawings(assignment: Assignment) -> tuple[Drawing, ...]:
    kept = sorted((a for a in assignment.annotations if not a.deleted), key=lambda a: a.id)
    return tuple(Drawing(a.id, a.rev, a.label, geometry_of(a.geometry)) for a in kept)


def held_back(image: Image) -> str:
    """In words, why a film does not count yet, or "" where all first readings are done (see `protocol.check_read`)."""
    asked = [a for a in image.assignments if a.read == 1 and (a.reader.active or a.state == DONE)]
    if not asked:
        return "nobody was asked to read it"
    done, flagged = sum(a.state == DONE for a in asked), sum(a.state == FLAGGED for a in asked)
    if done == len(asked):
        return ""
    open_ = len(asked) - done - flagged
    states = [f"{n} {word}" for n, word in ((open_, "not finished"), (flagged, "flagged")) if n]
    return f"{done} of {len(asked)} first readings are done, {' and '.join(states)}"


def film_of(session: Session, image: Image) -> Film:
    """A film with all its readings. Raises Refusal (423) before all first readings are done."""
    check_read(session, image)
    rows, columns = image.spacing_row, image.spacing_column
    spacing = (rows, columns) if rows and columns else None
    shape = (image.height, image.width)
    return Film(image.id, image.number, image.sha256, shape, readings_of(image), spacing, image.spacing_source or "")


@dataclass(frozen=True, eq=False)
class Films:
    """A project's films: those that all their readers have read, and of the others why they do not count."""

    project: str
    schema: LabelSchema
    counted: tuple[Film, ...]
    left_out: Mapping[int, str]


def films_of(session: Session, project: str, *, seen_by: str | None = None) -> Films:
    """The films of a project of which all first readings are done.

    `seen_by`: the id of who looks; a film that this one has yet to read, or to read again, is left out.

    Raises Refusal: 404 for an unknown project, 423 where no film has been read by all of its readers.
    """
    found = find_project(session, project)
    own = still_reading(session, seen_by) if seen_by else set[str]()
    counted = tuple(film_of(session, image) for image in read_images(session, found) if image.id not in own)
    if not counted:
        raise Refusal(
            423,
            f"project {found.name!r} can be compared when a film has been read by all of its readers; none of its "
            f"{len(found.images)} films has{'; what is on your own worklist waits, too' if own else ''}",
        )
    numbers = {film.number for film in counted}
    left_out = {image.number: held_back(image) or OWN for image in found.images if image.number not in numbers}
    return Films(found.name, schema_of(found), counted, left_out)
