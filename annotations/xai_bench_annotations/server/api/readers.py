"""The people of a folder, for admins."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from xai_bench_annotations.server.api.needs import Admin, Db, Hashing
from xai_bench_annotations.server.auth import new_token, set_password
from xai_bench_annotations.server.readers import add_reader, deactivate, invite
from xai_bench_annotations.server.refusals import Refusal, missing
from xai_bench_annotations.server.shapes import Invited, NewReader, ReaderAnswer, Token
from xai_bench_annotations.server.tables import Reader

router = APIRouter(prefix="/readers", tags=["readers"])


@router.get("")
def everybody(admin: Admin, db: Db) -> list[ReaderAnswer]:
    """All readers and admins by name, also those who were deactivated."""
    with db.reading() as session:
        return [ReaderAnswer.model_validate(r) for r in session.scalars(select(Reader).order_by(Reader.name))]


@router.post("", status_code=201)
def add(wanted: NewReader, admin: Admin, db: Db, hashing: Hashing) -> Invited:
    """Add somebody, with a password or an invite."""
    hashed = hashing.hash(wanted.password) if wanted.password else None
    with db.writing() as session:
        reader = add_reader(session, wanted.name, wanted.role, by=admin.id)
        if hashed:
            set_password(session, reader, hashed)
        return _invited(reader, None if hashed else invite(session, reader, by=admin.id))


@router.post("/{reader_id}/invite")
def invite_again(reader_id: str, admin: Admin, db: Db) -> Invited:
    """A new one-time invite, also for somebody who was deactivated; an unused one before it ends."""
    with db.writing() as session:
        reader = _reader(session, reader_id)
        return _invited(reader, invite(session, reader, by=admin.id))


@router.post("/{reader_id}/token")
def token(reader_id: str, admin: Admin, db: Db) -> Token:
    """A token by which scripts log in as this reader for a year; one before it ends."""
    with db.writing() as session:
        return Token(token=new_token(session, _reader(session, reader_id), by=admin.id))


@router.delete("/{reader_id}")
def leave(reader_id: str, admin: Admin, db: Db) -> ReaderAnswer:
    """Deactivate somebody: logged out everywhere; their work stays."""
    with db.writing() as session:
        reader = _reader(session, reader_id)
        if reader.id == admin.id:
            raise Refusal(422, "nobody can deactivate themselves; let another admin do it")
        deactivate(session, reader, by=admin.id)
        return ReaderAnswer.model_validate(reader)


def _reader(session: Session, reader_id: str) -> Reader:
    reader = session.get(Reader, reader_id)
    if reader is None:
        raise missing("reader")
    return reader


def _invited(reader: Reader, random: str | None) -> Invited:
    return Invited.model_validate({**ReaderAnswer.model_validate(reader).model_dump(), "invite": random})
