"""An annotation folder's database: SQLite in `annotate.sqlite`, one writer at a time, migrated when it is opened.

FOLDER/annotate.sqlite    everything but the pixels
FOLDER/films/             the pixels, named by their digest, never changed
FOLDER/secret             see `secret.py`
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from xai_bench.errors import BadInput
from xai_bench_annotations.server.refusals import Refusal

FILE = "annotate.sqlite"
PATIENCE_SECONDS = 20
"""How long a writer waits for one in another process (a command beside the server)."""


@dataclass(frozen=True, eq=False)
class Database:
    """An open annotation folder. Objects of a session may be read after it; nothing is fetched for them then."""

    folder: Path
    engine: Engine
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the database and keeps nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are all kept, on the disk, when the block ends, or none if it raises.

        Its first statement takes the write lock. Writers of this process wait in line, as SQLite's own lock is polled.
        """
        engine = self.engine.execution_options(writes=True)
        with self._turn, _patient(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def backup(self, file: Path) -> None:
        """Copy the database to a new file while it is in use. Films and secret are files that can simply be copied."""
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise BadInput(
                f"backup {str(file)!r}: {error.strerror}; name a new file in a folder that exists."
            ) from None
        try:
            with closing(sqlite3.connect(self.folder / FILE)) as source, closing(sqlite3.connect(file)) as copy:
                source.backup(copy)
        except sqlite3.Error as error:
            file.unlink()
            raise BadInput(f"backup {str(file)!r}: none was made ({error}); mend that and try again.") from None

    def close(self) -> None:
        """Close all connections; the last one tidies the write-ahead log away."""
        self.engine.dispose()


@contextmanager
def _patient() -> Iterator[None]:
    """Says that another process (an import beside the server) writes for longer than anybody waits."""
    try:
        yield
    except OperationalError as error:
        if "locked" not in str(error.orig):
            raise
        raise Refusal(503, "another program is writing to this folder; try again when it is done") from None


def open_database(folder: Path, *, create: bool = False) -> Database:
    """Open, and bring to the newest tables, the database in a folder; `create`: make both if there are none."""
    file = folder / FILE
    if not file.is_file():
        if not create:
            raise BadInput(f"{str(folder)!r} holds no {FILE}; name the folder of `xai-bench annotate` by --folder.")
        _make(file)
    database = Database(folder, _engine(file))
    _migrate(database.engine, file)
    return database


def _make(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise BadInput(f"folder {str(file.parent)!r}: {error.strerror}; name one that can be written.") from None


def _engine(file: Path) -> Engine:
    """`pool_size=0`: as many connections as threads ask for; a request holds one for milliseconds.

    What is written stands in no error, so that notes do not get into logs.
    """
    engine = create_engine(
        f"sqlite:///{file}", pool_size=0, connect_args={"timeout": PATIENCE_SECONDS}, hide_parameters=True
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # else the driver begins transactions by rules of its own
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """A writer locks at once: a reader that became one would fail if somebody else had written meanwhile."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def alembic_config(connection: Connection | None = None) -> Config:
    """What Alembic needs to know, without an ini file."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _newest() -> str | None:
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def _migrate(engine: Engine, file: Path) -> None:
    """Bring the tables up to date; where they are, nobody who writes is waited for."""
    try:
        with engine.connect() as connection:
            if MigrationContext.configure(connection).get_current_revision() == _newest():
                return
        with engine.execution_options(writes=True).begin() as connection:
            command.upgrade(alembic_config(connection), "head")
    except CommandError:
        raise BadInput(
            f"{str(file)!r} was written by a newer xai-bench (this one knows tables {_newest()}); update it."
        ) from None
    except Exception as error:
        cause = error.__cause__ or getattr(error, "orig", None)
        if isinstance(cause, sqlite3.OperationalError):  # locked, read-only, disk full: the file itself may be whole
            raise BadInput(f"{str(file)!r} cannot be opened now ({cause}); mend that and try again.") from None
        if isinstance(cause, sqlite3.DatabaseError):
            raise BadInput(f"{str(file)!r} cannot be opened ({cause}); restore a backup.") from None
        raise
