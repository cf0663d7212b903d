"""Log in, log out, who am I."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

import xai_bench
from xai_bench_annotations.server.api.needs import COOKIE, Attempts, Caller, Db, Hashing
from xai_bench_annotations.server.auth import (
    LOGIN,
    Passwords,
    Who,
    credential_of,
    digest,
    log_in,
    log_out,
    password_of,
    set_password,
)
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.readers import reader_named
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.shapes import ByInvite, ByPassword, ByToken, Me
from xai_bench_annotations.server.tables import Credential, Reader, now

router = APIRouter(tags=["session"])


@router.post("/session")
def start(
    wanted: ByPassword | ByToken | ByInvite,
    request: Request,
    response: Response,
    db: Db,
    hashing: Hashing,
    tries: Attempts,
) -> Me:
    """Log in by password, token or one-time invite; any login of this browser before it ends."""
    name = wanted.name if isinstance(wanted, ByPassword) else ""
    address = request.client.host if request.client else ""
    tries.attempt(address, name)
    new = None
    if isinstance(wanted, ByPassword):
        new = _check_password(db, hashing, wanted)
    elif isinstance(wanted, ByInvite) and wanted.password:
        new = hashing.hash(wanted.password)
    with db.writing() as session:
        reader = _proven(session, wanted)
        if new:
            set_password(session, reader, new)
        log_out(session, digest(request.cookies.get(COOKIE, "")))
        cookie, caller = log_in(session, reader)
    tries.succeeded(address, name)
    response.set_cookie(
        COOKIE, cookie, max_age=int(LOGIN.total_seconds()), httponly=True, samesite="strict",
        secure=request.app.state.secure,
    )  # fmt: skip
    return _me(caller)


def _check_password(db: Database, hashing: Passwords, wanted: ByPassword) -> str | None:
    """Hashing takes long and holds no lock. Returns the password hashed anew where the old hash is too weak today."""
    with db.reading() as session:
        reader = reader_named(session, wanted.name)
        kept = password_of(session, reader) if reader and reader.active else None
    hashed = kept.hash if kept else None
    if not hashing.check(wanted.password, hashed) or hashed is None:
        raise Refusal(401, "name or password is wrong")
    return hashing.hash(wanted.password) if hashing.is_old(hashed) else None


def _proven(session: Session, wanted: ByPassword | ByToken | ByInvite) -> Reader:
    if isinstance(wanted, ByPassword):
        reader = reader_named(session, wanted.name)
        if reader is None or not reader.active:
            raise Refusal(401, "name or password is wrong")
        return reader
    found = _found(session, wanted)
    if found is None:
        raise Refusal(401, "this link or token is unknown, was used, or has expired; ask for a new one")
    credential, reader = found
    if credential.kind == "invite":
        credential.revoked = now()
    return reader


def _found(session: Session, wanted: ByToken | ByInvite) -> tuple[Credential, Reader] | None:
    if isinstance(wanted, ByToken):
        return credential_of(session, "token", wanted.token)
    return credential_of(session, "invite", wanted.invite)


@router.delete("/session", status_code=204)
def end(caller: Caller, response: Response, db: Db) -> None:
    """Log out."""
    with db.writing() as session:
        log_out(session, caller.login)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


@router.get("/me")
def me(caller: Caller) -> Me:
    """Who is logged in."""
    return _me(caller)


def _me(caller: Who) -> Me:
    return Me.model_validate(
        {"id": caller.id, "name": caller.name, "role": caller.role, "csrf": caller.csrf}
        | {"version": xai_bench.__version__}
    )
