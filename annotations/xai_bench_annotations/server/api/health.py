"""Whether the server works."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text

from xai_bench_annotations.server.api.needs import Db

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz(db: Db) -> dict[str, str]:
    """Answers when the database does."""
    with db.reading() as session:
        session.execute(text("SELECT 1"))
    return {"status": "ok"}
