"""Drawings out of a project and into it, for admins."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from xai_bench_annotations.formats.exchange import Format, export_project, import_project
from xai_bench_annotations.server.api.needs import Admin, Db
from xai_bench_annotations.server.api.projects import RAW_BODY
from xai_bench_annotations.server.auth import Who
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.protocol import seen_project

router = APIRouter(prefix="/projects", tags=["exchange"])
Wanted = Annotated[Format, Query(alias="format")]
ZIP = "application/zip"


@router.get("/{project_id}/export", response_class=Response, responses={200: {"content": {ZIP: {}}}})
def export(project_id: str, form: Wanted, admin: Admin, db: Db) -> Response:
    """Drawings of the films that all of their readers have finished, as a zip; `report.txt` says what is left out."""
    _check(db, admin, project_id)
    named = {"Content-Disposition": f'attachment; filename="{form}.zip"'}
    return Response(export_project(db, project_id, form, seen_by=admin.id).data, media_type=ZIP, headers=named)


@router.post("/{project_id}/import", openapi_extra=RAW_BODY)
async def import_(
    project_id: str,
    form: Wanted,
    request: Request,
    admin: Admin,
    db: Db,
    reader: str | None = None,
    dry_run: bool = True,
) -> dict[str, Any]:
    """Take drawings from a zip or JSON file, sent as the raw body; a dry run only says what would be done."""
    _check(db, admin, project_id)
    data = await request.body()
    return asdict(
        await run_in_threadpool(import_project, db, project_id, data, form, reader=reader, dry_run=dry_run, by=admin.id)
    )


def _check(database: Database, admin: Who, project_id: str) -> None:
    with database.reading() as session:
        seen_project(session, admin, project_id)
