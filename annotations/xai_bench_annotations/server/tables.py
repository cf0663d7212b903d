"""The tables of an annotation folder. Ids are random UUIDs in hex; times are UTC; nobody's name, birth or file path."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, String, TypeDecorator, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def new_id() -> str:
    """A random id."""
    return uuid.uuid4().hex


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class _Utc(TypeDecorator[datetime]):
    """Times with their zone, on databases that forget it too."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {datetime: _Utc, dict[str, Any]: JSON, list[str]: JSON, str: String(200)}  # noqa: RUF012


class Project(Base):
    """Films that several readers read, and what they are asked to mark."""

    __tablename__ = "project"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    labels: Mapped[dict[str, Any]]  # a LabelSchema
    instructions: Mapped[str] = mapped_column(String(20_000), default="")
    repeats: Mapped[float] = mapped_column(default=0.0)  # share of films that each reader reads twice, 0 to 1
    order_seed: Mapped[int] = mapped_column(default=0)
    created: Mapped[datetime] = mapped_column(default=now)
    images: Mapped[list[Image]] = relationship(back_populates="project", order_by="Image.number")


class Image(Base):
    """A film: decoded once, kept as 16-bit little-endian pixels in `films/<pixels>.u16.gz`, rows after rows.

    `sha256` is the digest of the film as the benchmark decodes it (see `films.film_digest`); by it a project's regions
    find the films of a dataset. A shown value is `pixel * slope + intercept`; MONOCHROME1 is shown inverted.
    """

    __tablename__ = "image"
    __table_args__ = (UniqueConstraint("project_id", "sha256"), UniqueConstraint("project_id", "number"))
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    number: Mapped[int]  # 1, 2, ... within the project: the only name that anybody is shown
    sha256: Mapped[str] = mapped_column(String(64))
    pixels: Mapped[str] = mapped_column(String(64))  # sha256 of the stored pixels, by which the file is named
    width: Mapped[int]
    height: Mapped[int]
    bits: Mapped[int]  # 8, 10, 12, 14 or 16: how many are used
    photometric: Mapped[str] = mapped_column(String(16), default="MONOCHROME2")
    slope: Mapped[float] = mapped_column(default=1.0)
    intercept: Mapped[float] = mapped_column(default=0.0)
    window_center: Mapped[float | None]
    window_width: Mapped[float | None]
    spacing_row: Mapped[float | None]  # mm between rows
    spacing_column: Mapped[float | None]
    spacing_source: Mapped[str | None] = mapped_column(String(40))  # for example ImagerPixelSpacing: detector plane
    view: Mapped[str] = mapped_column(String(20), default="")
    project: Mapped[Project] = relationship(back_populates="images")
    assignments: Mapped[list[Assignment]] = relationship(back_populates="image")


class Reader(Base):
    """Somebody who may log in: `reader` draws, `admin` manages projects and sees results. `name` is a pseudonym."""

    __tablename__ = "reader"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    role: Mapped[str] = mapped_column(String(10), default="reader")
    active: Mapped[bool] = mapped_column(default=True)
    created: Mapped[datetime] = mapped_column(default=now)


class Credential(Base):
    """Proof of who a reader is. `kind`: password (argon2id), token or one-time invite (SHA-256 of 32 random bytes)."""

    __tablename__ = "credential"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    reader_id: Mapped[str] = mapped_column(ForeignKey("reader.id"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    hash: Mapped[str] = mapped_column(index=True)
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime | None]
    revoked: Mapped[datetime | None]  # or used up, for an invite


class Login(Base):
    """A session of a logged-in reader; the cookie holds the secret whose SHA-256 is `id`."""

    __tablename__ = "login"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    reader_id: Mapped[str] = mapped_column(ForeignKey("reader.id"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime]
    revoked: Mapped[datetime | None]


class Assignment(Base):
    """One reading of one film by one reader; `read` 2 is the repeat by which the reader is compared with itself.

    `state`: not_started, in_progress, done or flagged. `nothing_in` are the labels of which the reader says that there
    is nothing to mark.
    """

    __tablename__ = "assignment"
    __table_args__ = (UniqueConstraint("image_id", "reader_id", "read"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    image_id: Mapped[str] = mapped_column(ForeignKey("image.id"), index=True)
    reader_id: Mapped[str] = mapped_column(ForeignKey("reader.id"), index=True)
    read: Mapped[int] = mapped_column(default=1)
    position: Mapped[int]  # in this reader's own random order
    state: Mapped[str] = mapped_column(String(12), default="not_started")
    nothing_in: Mapped[list[str]] = mapped_column(default=list)
    flag_reason: Mapped[str] = mapped_column(String(2_000), default="")
    opened: Mapped[datetime | None]
    done: Mapped[datetime | None]
    active_seconds: Mapped[float] = mapped_column(default=0.0)
    image: Mapped[Image] = relationship(back_populates="assignments")
    reader: Mapped[Reader] = relationship()
    annotations: Mapped[list[Annotation]] = relationship(back_populates="assignment")


class Annotation(Base):
    """One drawn geometry. `id` is made by the browser; `rev` counts every change; a deletion is a revision too."""

    __tablename__ = "annotation"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    assignment_id: Mapped[str] = mapped_column(ForeignKey("assignment.id"), index=True)
    label: Mapped[str] = mapped_column(String(40))
    geometry: Mapped[dict[str, Any]]  # a drawings.Geometry
    confidence: Mapped[int | None]  # 1 to 5
    note: Mapped[str] = mapped_column(String(2_000), default="")
    rev: Mapped[int]
    deleted: Mapped[bool] = mapped_column(default=False)
    view_state: Mapped[dict[str, Any]] = mapped_column(default=dict)  # window, level, zoom when it was drawn
    created: Mapped[datetime] = mapped_column(default=now)
    updated: Mapped[datetime] = mapped_column(default=now)
    assignment: Mapped[Assignment] = relationship(back_populates="annotations")


class Event(Base):
    """What was changed, by whom and when; only ever added to. `hash` covers the event and the hash before it."""

    __tablename__ = "event"
    __table_args__ = (Index("event_of_subject", "subject"),)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    subject: Mapped[str] = mapped_column(String(32))  # id of the annotation, assignment, project, reader ...
    action: Mapped[str] = mapped_column(String(40))
    reader_id: Mapped[str | None] = mapped_column(String(32))
    rev: Mapped[int | None]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    after: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(default=now)
    version: Mapped[str] = mapped_column(String(40))  # of xai_bench
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class Consensus(Base):
    """A consensus of the readers of one film and label; never overwritten, it names the revisions it was made from."""

    __tablename__ = "consensus"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    image_id: Mapped[str] = mapped_column(ForeignKey("image.id"), index=True)
    label: Mapped[str] = mapped_column(String(40))
    method: Mapped[str] = mapped_column(String(20))
    readers: Mapped[list[str]]
    inputs: Mapped[dict[str, Any]]  # annotation id -> revision
    mask: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # a drawings.Brush; None where nobody marked anything
    rates: Mapped[dict[str, Any]]  # reader -> sensitivity, specificity
    created: Mapped[datetime] = mapped_column(default=now)
    version: Mapped[str] = mapped_column(String(40))
