"""The people of a folder: added, invited again, deactivated; never deleted, as their work stays."""

from __future__ import annotations

import re
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xai_bench.references import is_reader
from xai_bench_annotations.server.audit import record
from xai_bench_annotations.server.auth import end_logins, new_invite, revoke
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.tables import Reader

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
ADMIN = "admin"
START_INVITE = timedelta(days=1)


def add_reader(session: Session, name: str, role: str = "reader", *, by: str | None = None) -> Reader:
    """A new reader or admin. Raises Refusal for a name that is taken or cannot stand in file names and tables."""
    if not NAME.fullmatch(name) or not is_reader(name):
        raise Refusal(422, f"name {name!r} cannot be used; take a pseudonym of up to 40 letters, digits, '-', '_', '.'")
    if name.lower() == ADMIN and role != "admin":
        raise Refusal(422, f"name {name!r} is kept for an admin; choose another one")
    if reader_named(session, name):
        raise Refusal(409, f"there is a reader {name!r} already; choose another name, or invite that reader again")
    reader = Reader(name=name, role=role)
    session.add(reader)
    record(session, by, "reader.added", _id(session, reader), after={"name": name, "role": role})
    return reader


def _id(session: Session, reader: Reader) -> str:
    session.flush()
    return reader.id


def reader_named(session: Session, name: str) -> Reader | None:
    """A reader by name, whatever its case; also a deactivated one."""
    return session.scalars(select(Reader).where(func.lower(Reader.name) == name.lower())).first()


def invite(session: Session, reader: Reader, *, by: str | None = None) -> str:
    """Invite a reader again; one who was deactivated is back by it."""
    reader.active = True
    return new_invite(session, reader, by=by)


def deactivate(session: Session, reader: Reader, *, by: str | None = None) -> None:
    """End everything by which a reader can log in. What they drew stays."""
    reader.active = False
    revoke(session, reader, "password", "token", "invite")
    end_logins(session, reader)
    record(session, by, "reader.deactivated", reader.id, after={"name": reader.name})


def admin_invite(session: Session) -> str:
    """The invite that the server prints when it starts, for the first admin, who is made if there is none."""
    admins = select(Reader).where(Reader.role == "admin", Reader.active.is_(True)).order_by(Reader.created, Reader.name)
    admin = session.scalars(admins.limit(1)).first()
    if admin is None:
        admin = reader_named(session, ADMIN) or add_reader(session, ADMIN, "admin")
        admin.active = True
    return new_invite(session, admin, valid=START_INVITE)
