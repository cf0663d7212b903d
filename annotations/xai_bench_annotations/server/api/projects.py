"""Projects: what readers are asked to mark, on which films, and how far they are."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from xai_bench_annotations.films.decode import decode
from xai_bench_annotations.films.store import AlreadyThere
from xai_bench_annotations.server.api.needs import Admin, Caller, Db
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.projects import add_image, add_project, project_answer
from xai_bench_annotations.server.protocol import assign, seen_project, seen_projects
from xai_bench_annotations.server.refusals import Refusal, missing
from xai_bench_annotations.server.security import BINARY
from xai_bench_annotations.server.shapes import AddedImage, ImageAnswer, Names, NewProject, ProjectAnswer
from xai_bench_annotations.server.tables import Project

router = APIRouter(prefix="/projects", tags=["projects"])
RAW_BODY = {"requestBody": {"required": True, "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("")
def projects(caller: Caller, db: Db) -> list[ProjectAnswer]:
    """The projects in which the caller reads; for an admin all."""
    with db.reading() as session:
        return [project_answer(session, caller, p) for p in seen_projects(session, caller)]


@router.post("", status_code=201)
def add(wanted: NewProject, admin: Admin, db: Db) -> ProjectAnswer:
    """Make a project."""
    with db.writing() as session:
        return project_answer(session, admin, add_project(session, wanted, by=admin.id))


@router.get("/{project_id}")
def project(project_id: str, caller: Caller, db: Db) -> ProjectAnswer:
    """One project."""
    with db.reading() as session:
        return project_answer(session, caller, seen_project(session, caller, project_id))


@router.post("/{project_id}/readers")
def assign_readers(project_id: str, wanted: Names, admin: Admin, db: Db) -> ProjectAnswer:
    """Give readers the films that they do not have yet, each in a random order of their own."""
    with db.writing() as session:
        found = seen_project(session, admin, project_id)
        assign(session, found, wanted.readers, by=admin.id)
        return project_answer(session, admin, found)


@router.post("/{project_id}/images", status_code=201, openapi_extra=RAW_BODY)
async def add_film(project_id: str, request: Request, admin: Admin, db: Db) -> AddedImage:
    """Add the film in a PNG, JPEG or DICOM file, sent as the raw body."""
    return await run_in_threadpool(_add_film, db, project_id, await request.body(), admin.id)


def _add_film(db: Database, project_id: str, data: bytes, by: str) -> AddedImage:
    """Decoding takes long and happens between two sessions, so that nobody waits for it."""
    with db.reading() as session:
        project = session.get(Project, project_id)
    if project is None:
        raise missing("project")
    film = decode(data)
    with db.writing() as session:
        try:
            image = ImageAnswer.model_validate(add_image(session, db.folder, project, film, by=by))
            return AddedImage(**image.model_dump(), notes=list(film.info.notes))
        except AlreadyThere as there:
            raise Refusal(409, str(there), image=there.image.id) from None
