"""How readers prove who they are: passwords (argon2id), tokens and one-time invites (32 random bytes), logins.

Of everything random only the SHA-256 is stored. Functions that take a session need a writing one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from xai_bench_annotations.server.audit import record
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.tables import Credential, Login, Reader, now

LOGIN = timedelta(hours=8)
INVITE = timedelta(days=7)
TOKEN = timedelta(days=365)
AT_ONCE = 2
"""Passwords that are hashed at the same time; each takes 64 MiB."""


class Passwords:
    """Hashes and checks passwords; a check takes the same work whether or not there is a password to check against."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._hasher = PasswordHasher()
        self._turn = threading.BoundedSemaphore(AT_ONCE)
        self._nobodys = self.hash(secrets.token_hex())

    def hash(self, password: str) -> str:
        """The argon2id hash of a password mixed with the folder's secret."""
        with self._turn:
            return self._hasher.hash(self._mixed(password))

    def check(self, password: str, hashed: str | None) -> bool:
        """Whether this is the password; never for None."""
        try:
            with self._turn:
                good = self._hasher.verify(hashed or self._nobodys, self._mixed(password))
        except (VerificationError, InvalidHashError):
            return False
        return good and hashed is not None

    def is_old(self, hashed: str) -> bool:
        """Whether it was hashed with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    def _mixed(self, password: str) -> str:
        text = unicodedata.normalize("NFKC", password)
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def digest(random: str) -> str:
    """What is stored of a token, an invite or a cookie."""
    return hashlib.sha256(random.encode()).hexdigest()


def credential_of(session: Session, kind: str, random: str) -> tuple[Credential, Reader] | None:
    """The valid token or invite and whose it is; None if unknown, used, revoked, expired, or its reader is out."""
    query = select(Credential, Reader).join(Reader, Reader.id == Credential.reader_id)
    query = query.where(Credential.kind == kind, Credential.hash == digest(random), *_valid())
    found = session.execute(query).first()
    return (found[0], found[1]) if found else None


def password_of(session: Session, reader: Reader) -> Credential | None:
    """A reader's password, hashed."""
    query = select(Credential).where(Credential.reader_id == reader.id, Credential.kind == "password")
    return session.scalars(query.where(Credential.revoked.is_(None))).first()


def _valid() -> tuple[ColumnElement[bool], ...]:
    in_time = Credential.expires.is_(None) | (Credential.expires > now())
    return Reader.active.is_(True), Credential.revoked.is_(None), in_time


def set_password(session: Session, reader: Reader, hashed: str) -> None:
    """Give a reader a password instead of any earlier one, and end all logins that were made by that."""
    revoke(session, reader, "password")
    end_logins(session, reader)
    session.add(Credential(reader_id=reader.id, kind="password", hash=hashed))


def new_invite(session: Session, reader: Reader, *, by: str | None = None, valid: timedelta = INVITE) -> str:
    """A text by which the reader logs in once, and may choose a password; earlier unused invites end."""
    revoke(session, reader, "invite")
    record(session, by, "reader.invited", reader.id, after={"name": reader.name})
    return _add(session, reader, "invite", now() + valid)


def new_token(session: Session, reader: Reader, *, by: str | None = None) -> str:
    """A text by which scripts log in as the reader for a year; earlier tokens end. Raises Refusal once removed."""
    if not reader.active:
        raise Refusal(422, f"{reader.name} is deactivated; invite again first")
    revoke(session, reader, "token")
    record(session, by, "reader.token", reader.id, after={"name": reader.name})
    return _add(session, reader, "token", now() + TOKEN)


def _add(session: Session, reader: Reader, kind: str, expires: datetime) -> str:
    random = secrets.token_urlsafe(32)
    session.add(Credential(reader_id=reader.id, kind=kind, hash=digest(random), expires=expires))
    return random


def revoke(session: Session, reader: Reader, *kinds: str) -> None:
    """End a reader's credentials of these kinds."""
    query = update(Credential).where(Credential.reader_id == reader.id, Credential.kind.in_(kinds))
    session.execute(query.where(Credential.revoked.is_(None)).values(revoked=now()))


def end_logins(session: Session, reader: Reader) -> None:
    """Log a reader out everywhere."""
    query = update(Login).where(Login.reader_id == reader.id, Login.revoked.is_(None))
    session.execute(query.values(revoked=now()))


@dataclass(frozen=True)
class Who:
    """A logged-in reader, as requests know them; `login` is the id of the session's row."""

    id: str
    name: str
    role: str
    csrf: str
    login: str

    @property
    def is_admin(self) -> bool:
        """Whether they manage projects and see results."""
        return self.role == "admin"


def log_in(session: Session, reader: Reader) -> tuple[str, Who]:
    """Start a login; returns what its cookie holds."""
    cookie = secrets.token_urlsafe(32)
    login = Login(id=digest(cookie), reader_id=reader.id, csrf=secrets.token_urlsafe(32), expires=now() + LOGIN)
    session.add(login)
    record(session, reader.id, "login", reader.id)
    return cookie, Who(reader.id, reader.name, reader.role, login.csrf, login.id)


def who(session: Session, cookie: str) -> Who | None:
    """Whose login a cookie is; None if it has expired, was ended, or its reader is out."""
    query = select(Login, Reader).join(Reader, Reader.id == Login.reader_id).where(Login.id == digest(cookie))
    query = query.where(Login.revoked.is_(None), Login.expires > now(), Reader.active.is_(True))
    found = session.execute(query).first()
    return Who(found[1].id, found[1].name, found[1].role, found[0].csrf, found[0].id) if found else None


def log_out(session: Session, login: str) -> None:
    """End one login."""
    session.execute(update(Login).where(Login.id == login, Login.revoked.is_(None)).values(revoked=now()))
