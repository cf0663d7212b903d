"""Consensus, readers side by side and agreement: for admins, and only when the readers of a film are done.

What computes them is imported when it is first asked for, so that the server starts without it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response

from xai_bench_annotations.films.store import read_pixels
from xai_bench_annotations.server.api.needs import Admin, Db
from xai_bench_annotations.server.protocol import check_seen, seen_image
from xai_bench_annotations.server.shapes import Answer

router = APIRouter(tags=["results"])
Method = Literal["majority", "staple", "union", "intersection"]


class ConsensusAnswer(Answer):
    """A consensus: `mask` is null where nobody marked anything; `inputs` are the drawings' revisions it was made from.

    `rates`: each reader's sensitivity and specificity, over `domain`; null where undefined, with the reason.
    """

    id: str
    label: str
    method: str
    readers: list[str]
    inputs: dict[str, int]
    mask: dict[str, Any] | None
    outline: str
    rates: dict[str, dict[str, Any]]
    domain: str
    created: Any
    version: str


class SideBySide(Answer):
    """What all readers said of a film; outlines are SVG paths in the picture's pixels, points in the film's."""

    image: str
    number: int
    width: int
    height: int
    scale: float
    spacing_mm: tuple[float, float] | None
    readers: list[str]
    labels: list[dict[str, Any]]
    measures: list[dict[str, Any]]


class Counted(Answer):
    """A film that counts."""

    id: str
    number: int


class LeftOut(Answer):
    """A film that does not count yet, and why."""

    number: int
    reason: str


class AgreementAnswer(Answer):
    """How well the readers of a project agree, on films that all of them have read; `notes` hold for all tables."""

    project: str
    films: list[Counted]
    left_out: list[LeftOut]
    notes: list[str]
    tables: list[dict[str, Any]]


@router.get("/images/{image_id}/consensus")
def consensus(
    image_id: str,
    label: Annotated[str, Query(max_length=40)],
    admin: Admin,
    db: Db,
    method: Method | Literal["soft_mean"] = "majority",
) -> ConsensusAnswer:
    """The consensus of a film's readers on a label; it is kept, and made again only when a drawing has changed."""
    from xai_bench_annotations.films.raster import decode_runs
    from xai_bench_annotations.results.consensus import consensus_of, keep
    from xai_bench_annotations.results.side_by_side import outline_of

    with db.reading() as session:
        image = seen_image(session, admin, image_id)
        check_seen(session, admin, image)
        found = consensus_of(session, image_id, label, method)
    with db.writing() as session:
        keep(session, found)
    mask = found.mask or {}
    shape = (image.height, image.width)
    return ConsensusAnswer(
        outline=outline_of(decode_runs(mask["counts"], shape)) if "counts" in mask else "",
        domain=f"all {image.width} x {image.height} pixels of the film",
        **{name: getattr(found, name) for name in ConsensusAnswer.model_fields if hasattr(found, name)},
    )


@router.get("/images/{image_id}/compare")
def compare(image_id: str, admin: Admin, db: Db) -> SideBySide:
    """All readers of a film side by side."""
    from xai_bench_annotations.results.side_by_side import side_by_side

    with db.reading() as session:
        check_seen(session, admin, seen_image(session, admin, image_id))
        return SideBySide(**side_by_side(session, image_id))


@router.get("/projects/{project_id}/agreement")
def agreement(
    project_id: str, admin: Admin, db: Db, method: Method = "majority", tables: bool = True
) -> AgreementAnswer:
    """Every table of a project's agreement; `method` makes the others' consensus against which a reader is held.

    Measuring takes a while when drawings are new: `tables=false` only tells which films count.
    """
    from xai_bench_annotations.results.comparing import agreement_tables
    from xai_bench_annotations.results.readings import films_of
    from xai_bench_annotations.results.tabling import said_once

    with db.reading() as session:
        films = films_of(session, project_id, seen_by=admin.id)
    notes, made = said_once(agreement_tables(films, method=method) if tables else [])
    return AgreementAnswer(
        project=films.project,
        films=[Counted(id=film.id, number=film.number) for film in films.counted],
        left_out=[LeftOut(number=number, reason=reason) for number, reason in films.left_out.items()],
        notes=list(notes),
        tables=[_plain(dataclasses.asdict(table)) | {"spans": table.spans} for table in made],
    )


@router.get(
    "/images/{image_id}/picture", response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "small enough for a screen"}},
)  # fmt: skip
def picture(
    image_id: str, admin: Admin, db: Db, known: Annotated[str | None, Header(alias="If-None-Match")] = None
) -> Response:
    """The film on which outlines are shown."""
    from xai_bench_annotations.films.thumbnails import thumbnail
    from xai_bench_annotations.results.side_by_side import LONGEST

    with db.reading() as session:
        found = seen_image(session, admin, image_id)
    headers = {"ETag": f'"{found.pixels}-{LONGEST}"', "Cache-Control": "private, no-cache"}
    if known == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    shown = thumbnail(read_pixels(db.folder, found), found, LONGEST)
    return Response(shown, media_type="image/png", headers=headers)


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
