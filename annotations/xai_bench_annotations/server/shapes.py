"""What is sent and answered, as the OpenAPI describes it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from xai_bench_annotations.drawings import SPINE, Code, Geometry, LabelSchema

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _printable(text: str) -> str:
    if _CONTROLS.search(text):
        raise ValueError("control characters are not allowed")
    return text


Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Role = Literal["reader", "admin"]
State = Literal["not_started", "in_progress", "done", "flagged"]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Note = Annotated[str, Field(max_length=2_000), AfterValidator(_printable)]
Password = Annotated[str, Field(min_length=10, max_length=200)]
Secret = Annotated[str, Field(min_length=1, max_length=200)]


class Sent(BaseModel):
    """What a client sends; anything unknown is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What the server answers."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Refused(Answer):
    """Every answer of status 400 and above."""

    error: str
    detail: Any = None


class ByPassword(Sent):
    """Log in by name and password."""

    name: Secret
    password: Secret


class ByToken(Sent):
    """Log in by a token, for scripts."""

    token: Secret


class ByInvite(Sent):
    """Log in by a one-time invite, and perhaps choose a password."""

    invite: Secret
    password: Password | None = None


class Me(Answer):
    """Who is logged in; `csrf` goes into the header X-CSRF of every write."""

    id: str
    name: str
    role: Role
    csrf: str
    version: str


class NewReader(Sent):
    """Somebody to be added."""

    name: Secret
    role: Role = "reader"
    password: Password | None = None


class ReaderAnswer(Answer):
    """Somebody who may log in."""

    id: str
    name: str
    role: Role
    active: bool


class Invited(ReaderAnswer):
    """A reader and the one-time invite, shown only now; the link is `/?invite=...`."""

    invite: str | None = None


class Token(Answer):
    """A token, shown only now."""

    token: str


class NewProject(Sent):
    """A project to be made; `repeats` is the share of films that each reader reads twice."""

    name: Name
    labels: LabelSchema = SPINE
    instructions: Annotated[str, Field(max_length=20_000), AfterValidator(_printable)] = ""
    repeats: Annotated[float, Field(ge=0, le=1)] = 0.0
    order_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class States(Answer):
    """How many readings are in each state."""

    not_started: int = 0
    in_progress: int = 0
    done: int = 0
    flagged: int = 0


class Progress(Answer):
    """How far one reader is."""

    name: str
    states: States


class ProjectAnswer(Answer):
    """A project; `states` are the caller's own, `readers` only an admin is told."""

    id: str
    name: str
    films: int
    labels: LabelSchema
    instructions: str
    states: States
    readers: list[Progress] | None = None


class Names(Sent):
    """Readers by name."""

    readers: Annotated[list[Secret], Field(min_length=1, max_length=100)]


class ImageAnswer(Answer):
    """A film."""

    id: str
    number: int
    width: int
    height: int
    bits: int
    photometric: str
    slope: float
    intercept: float
    window_center: float | None
    window_width: float | None
    spacing_row: float | None
    spacing_column: float | None
    spacing_source: str | None
    view: str


class AddedImage(ImageAnswer):
    """A film that was just added; `notes` are what its file warns of, such as text that may be burned into it."""

    notes: list[str]


class AssignmentAnswer(Answer):
    """One reading of one film; `annotations` counts the drawings that are not deleted."""

    id: str
    image: ImageAnswer
    read: int
    position: int
    state: State
    nothing_in: list[str]
    flag_reason: str
    annotations: int
    opened: datetime | None
    done: datetime | None
    active_seconds: float


class AssignmentChange(Sent):
    """What changes in a reading; `active_seconds` is the total, which never shrinks."""

    state: Literal["in_progress", "done", "flagged"] | None = None
    nothing_in: Annotated[list[Code], Field(max_length=40)] | None = None
    flag_reason: Note | None = None
    active_seconds: Annotated[float, Field(ge=0, le=1e7)] | None = None


class ViewState(Sent):
    """How the film was shown when something was drawn."""

    window: Finite | None = None
    level: Finite | None = None
    zoom: Finite | None = None
    x: Finite | None = None
    y: Finite | None = None
    invert: bool | None = None


class Drawing(Sent):
    """What is drawn; coordinates as `drawings` says."""

    label: Code
    geometry: Geometry
    confidence: Annotated[int, Field(ge=1, le=5)] | None = None
    note: Note = ""
    view_state: ViewState = ViewState()


class PutDrawing(Drawing):
    """A drawing and the reading it belongs to."""

    assignment: Id


class AnnotationAnswer(Answer):
    """A drawing as it is kept; a deleted one stays as a tombstone with its own revision."""

    id: str
    label: str
    geometry: dict[str, Any]
    confidence: int | None
    note: str
    rev: int
    deleted: bool
    view_state: dict[str, Any]
    created: datetime
    updated: datetime


class Conflict(Refused):
    """Somebody (another tab) was faster; `current` is what is kept."""

    current: AnnotationAnswer | None


class BatchPut(Drawing):
    """Put one drawing."""

    op: Literal["put"]
    id: Id
    rev: Annotated[int, Field(ge=0, lt=2**53)]


class BatchDelete(Sent):
    """Delete one drawing."""

    op: Literal["delete"]
    id: Id
    rev: Annotated[int, Field(ge=0, lt=2**53)]


class Batch(Sent):
    """Changes in the order in which they were made; each is judged by itself, so each is checked by itself."""

    changes: Annotated[list[dict[str, Any]], Field(max_length=500)]


class Changed(Answer):
    """What became of one change."""

    id: str | None
    status: int
    annotation: AnnotationAnswer | None = None
    error: str | None = None


class BatchAnswer(Answer):
    """What became of each change, in order."""

    changes: list[Changed]


class Revision(Answer):
    """One entry of a drawing's history."""

    action: str
    rev: int | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    at: datetime
