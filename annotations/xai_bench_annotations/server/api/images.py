"""Films: what is known of one, its pixels, and a small picture. Never the file that was uploaded."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import FileResponse

from xai_bench_annotations.films.store import film_path, read_pixels
from xai_bench_annotations.films.thumbnails import LONGEST, thumbnail
from xai_bench_annotations.server.api.needs import Caller, Db
from xai_bench_annotations.server.protocol import seen_image
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.security import BINARY
from xai_bench_annotations.server.shapes import ImageAnswer

router = APIRouter(prefix="/images", tags=["images"])
Known = Annotated[str | None, Header(alias="If-None-Match")]
KEPT = "private, no-cache"
"""A browser may keep it, and asks each time whether it is still allowed to show it."""


@router.get("/{image_id}")
def image(image_id: str, caller: Caller, db: Db) -> ImageAnswer:
    """One film."""
    with db.reading() as session:
        return ImageAnswer.model_validate(seen_image(session, caller, image_id))


@router.get(
    "/{image_id}/pixels", response_class=FileResponse,
    responses={200: {"content": {BINARY: {}}, "description": "uint16, little endian, rows after rows, gzipped"}},
)  # fmt: skip
def pixels(image_id: str, caller: Caller, db: Db, known: Known = None) -> Response:
    """The pixels."""
    with db.reading() as session:
        found = seen_image(session, caller, image_id)
    headers = {"ETag": f'"{found.pixels}"', "Cache-Control": KEPT, "Content-Encoding": "gzip"}
    if known == headers["ETag"]:
        return Response(status_code=304, headers={"ETag": headers["ETag"], "Cache-Control": KEPT})
    file = film_path(db.folder, found)
    if not file.is_file():
        raise Refusal(410, f"the pixels of film {found.number} are missing; restore the folder `films` from a backup")
    return FileResponse(file, media_type=BINARY, headers=headers)


@router.get(
    "/{image_id}/thumbnail", response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": f"at most {LONGEST} pixels"}},
)  # fmt: skip
def small(image_id: str, caller: Caller, db: Db, known: Known = None) -> Response:
    """A small picture."""
    with db.reading() as session:
        found = seen_image(session, caller, image_id)
    headers = {"ETag": f'"{found.pixels}-{LONGEST}"', "Cache-Control": KEPT}
    if known == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(thumbnail(read_pixels(db.folder, found), found), media_type="image/png", headers=headers)
