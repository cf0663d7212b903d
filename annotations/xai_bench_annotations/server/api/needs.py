"""What requests need: the open folder, and who is asking."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader

from xai_bench_annotations.server.auth import Passwords, Who, who
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.security import SAFE
from xai_bench_annotations.server.throttle import Throttle

COOKIE = "xai_session"
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Set by POST /session.")
_csrf = APIKeyHeader(name="X-CSRF", auto_error=False, description="`csrf` of GET /me, on every write.")


def _database(request: Request) -> Database:
    found: Database = request.app.state.database
    return found


def _passwords(request: Request) -> Passwords:
    found: Passwords = request.app.state.passwords
    return found


def _throttle(request: Request) -> Throttle:
    found: Throttle = request.app.state.throttle
    return found


Db = Annotated[Database, Depends(_database)]
Hashing = Annotated[Passwords, Depends(_passwords)]
Attempts = Annotated[Throttle, Depends(_throttle)]


def _caller(
    request: Request,
    database: Db,
    cookie: Annotated[str | None, Security(_cookie)],
    csrf: Annotated[str | None, Security(_csrf)],
) -> Who:
    with database.reading() as session:
        found = who(session, cookie) if cookie else None
    if found is None:
        raise Refusal(401, "log in first")
    if request.method not in SAFE and not hmac.compare_digest((csrf or "").encode(), found.csrf.encode()):
        raise Refusal(403, "the header X-CSRF is missing or of another login; reload the page")
    return found


Caller = Annotated[Who, Depends(_caller)]


def _admin(caller: Caller) -> Who:
    if not caller.is_admin:
        raise Refusal(403, "only an admin may do this")
    return caller


Admin = Annotated[Who, Depends(_admin)]
