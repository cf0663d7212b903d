"""What a project holds, as plain values between the database and the formats."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from xai_bench_annotations.drawings import Code, Geometry, LabelSchema
from xai_bench_annotations.films.raster import Drawn, geometry_of
from xai_bench_annotations.server.shapes import Id, Note, State, ViewState
from xai_bench_annotations.server.tables import Annotation, Assignment, Image, Project

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
When = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DrawingRecord(_Record):
    """A drawing; without an id where another tool made it."""

    id: Id | None = None
    label: Code
    geometry: Geometry
    confidence: Annotated[int, Field(ge=1, le=5)] | None = None
    note: Note = ""
    rev: Annotated[int, Field(ge=1, lt=2**53)] = 1
    view_state: ViewState = ViewState()
    created: When | None = None
    updated: When | None = None

    @property
    def drawn(self) -> Drawn:
        """The geometry, by its own name in types."""
        return self.geometry


class ReadingRecord(_Record):
    """One reading of one film by one reader."""

    film: int
    reader: Annotated[str, Field(min_length=1, max_length=40)]
    read: Annotated[int, Field(ge=1, le=2)] = 1
    position: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    state: State = "in_progress"
    nothing_in: list[Code] = []
    flag_reason: Note = ""
    active_seconds: Annotated[float, Field(ge=0, le=1e7)] = 0.0
    opened: When | None = None
    done: When | None = None
    drawings: list[DrawingRecord] = []

    @property
    def who(self) -> str:
        """The reader, with `#2` for the repeat reading.

        >>> ReadingRecord(film=1, reader="anna", read=2).who
        'anna#2'
        """
        return self.reader if self.read == 1 else f"{self.reader}#{self.read}"


class FilmRecord(_Record):
    """A film: its number in the project, and the digest by which it is found in another one."""

    number: int
    sha256: Digest | None = None
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def name(self) -> str:
        """The only name that a film has.

        >>> FilmRecord(number=7, width=1, height=1).name
        '0007'
        """
        return f"{self.number:04d}"


class Content(_Record):
    """A project's films and readings; `deleted` counts drawings that were deleted and are not held."""

    name: str = ""
    labels: LabelSchema
    instructions: str = ""
    films: list[FilmRecord] = []
    readings: list[ReadingRecord] = []
    deleted: int = 0

    def with_films(self) -> Iterator[tuple[FilmRecord, ReadingRecord]]:
        """Each reading beside its film."""
        films = {film.number: film for film in self.films}
        return ((films[reading.film], reading) for reading in self.readings)


@dataclass(frozen=True)
class Found:
    """What a format's reader made of a file: readings, by the numbers that films have in `films`, and what was lost.

    `whole`: a drawing is all there is of its label, as a mask is.
    """

    readings: Sequence[ReadingRecord]
    films: Sequence[FilmRecord]
    notes: Sequence[str] = ()
    whole: bool = False


def collect(session: Session, project: Project, hidden: Container[str] = ()) -> Content:
    """All that is drawn and answered in a project, but for the readings of the films whose ids are `hidden`."""
    rows = session.scalars(
        select(Assignment)
        .join(Image)
        .where(Image.project_id == project.id)
        .order_by(Image.number, Assignment.reader_id, Assignment.read)
        .options(selectinload(Assignment.annotations), selectinload(Assignment.reader), selectinload(Assignment.image))
    )
    readings = [row for row in rows if row.image_id not in hidden]
    return Content(
        name=project.name,
        labels=LabelSchema.model_validate(project.labels),
        instructions=project.instructions,
        films=films_of(session, project),
        readings=sorted(map(_reading, readings), key=lambda r: (r.film, r.reader, r.read)),
        deleted=sum(a.deleted for reading in readings for a in reading.annotations),
    )


def films_of(session: Session, project: Project) -> list[FilmRecord]:
    """A project's films by number."""
    images = session.scalars(select(Image).where(Image.project_id == project.id).order_by(Image.number))
    return [FilmRecord(number=i.number, sha256=i.sha256, width=i.width, height=i.height) for i in images]


def _reading(row: Assignment) -> ReadingRecord:
    return ReadingRecord(
        film=row.image.number,
        reader=row.reader.name,
        read=row.read,
        position=row.position,
        state=row.state,  # type: ignore[arg-type]  # the column holds these words only
        nothing_in=sorted(row.nothing_in),
        flag_reason=row.flag_reason,
        active_seconds=row.active_seconds,
        opened=row.opened,
        done=row.done,
        drawings=[_drawing(a) for a in sorted(row.annotations, key=lambda a: (a.created, a.id)) if not a.deleted],
    )


def _drawing(row: Annotation) -> DrawingRecord:
    return DrawingRecord(
        id=row.id,
        label=row.label,
        geometry=geometry_of(row.geometry),
        confidence=row.confidence,
        note=row.note,
        rev=row.rev,
        view_state=ViewState.model_validate(row.view_state),
        created=row.created,
        updated=row.updated,
    )
