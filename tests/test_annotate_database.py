"""Folder, migrations, transactions, append-only tables, backup while somebody writes."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import DatabaseError, IntegrityError
from xai_bench_annotations.server.audit import record
from xai_bench_annotations.server.database import FILE, Database, open_database
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.tables import Assignment, Base, Consensus, Event, Image, Project

from xai_bench.errors import BadInput


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path / "desk", create=True)


def test_a_new_folder_is_private_and_opens_again(database: Database) -> None:
    assert stat.S_IMODE((database.folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(database.folder.stat().st_mode) == 0o700
    with database.writing() as session:
        session.add(Project(name="spines", labels={}))
    with open_database(database.folder).reading() as session:
        assert session.query(Project).one().created.tzinfo is not None


def test_migrations_from_empty_give_exactly_the_models(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_sqlite_is_durable_and_checks_references(database: Database) -> None:
    with database.engine.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous")]
    assert found == ["wal", 2]
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(Assignment(image_id="0" * 32, reader_id="0" * 32, position=1))


def test_what_cannot_be_opened_is_said(database: Database, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no"):
        open_database(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(BadInput, match="cannot be opened"):
        open_database(tmp_path)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BadInput, match="newer xai-bench"):
        open_database(database.folder)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can be written"):
        open_database(tmp_path / "file" / "below", create=True)


def test_a_folder_in_which_somebody_writes_can_be_opened_and_says_why_it_cannot_be_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xai_bench_annotations.server.database.PATIENCE_SECONDS", 0.01)
    with database.writing() as session:
        session.add(Project(name="spines", labels={}))
        session.flush()
        other = open_database(database.folder)
        with pytest.raises(Refusal, match="another program is writing") as found, other.writing() as second:
            second.add(Project(name="hips", labels={}))
        assert found.value.status == 503
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'old'")
        session.flush()
    with database.writing() as session:  # tables that have to be changed must wait, and no backup is called for
        session.connection()
        with pytest.raises(BadInput, match=r"cannot be opened now \(database is locked\); mend that and try again"):
            open_database(database.folder)


def test_what_is_written_stands_in_no_error(database: Database) -> None:
    with pytest.raises(IntegrityError) as found, database.writing() as session:
        session.add_all([Project(name="Jane Doe", labels={}), Project(name="Jane Doe", labels={})])
    assert "Jane" not in str(found.value)


def test_a_block_that_raises_keeps_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing() as session:
        session.add(Project(name="spines", labels={}))
        session.flush()
        _ = 1 / 0
    with database.reading() as session:
        assert session.query(Project).count() == 0


def test_a_reader_sees_one_moment_and_waits_for_no_writer(database: Database) -> None:
    with database.reading() as reader:
        assert reader.query(Project).count() == 0
        with database.writing() as writer:
            writer.add(Project(name="spines", labels={}))
        assert reader.query(Project).count() == 0
    with database.reading() as reader:
        assert reader.query(Project).count() == 1


def test_writers_of_two_processes_take_turns(database: Database) -> None:
    """The second one reads what the first one left, so no number is given twice."""
    other = open_database(database.folder)

    def count(own: Database) -> None:
        for _ in range(20):
            with own.writing() as session:
                record(session, None, "tried", "subject")

    threads = [threading.Thread(target=count, args=(own,)) for own in (database, other, database, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert [e.seq for e in session.query(Event).order_by(Event.seq)] == list(range(1, 81))


@pytest.mark.parametrize("sql", ["UPDATE {} SET version = 'x'", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["event", "consensus"])
def test_the_past_can_only_be_added_to(database: Database, table: str, sql: str) -> None:
    with database.writing() as session:
        record(session, None, "tried", "subject")
        project = Project(name="spines", labels={})
        image = Image(project=project, number=1, sha256="", pixels="", width=1, height=1, bits=8)
        session.add_all([project, image])
        session.flush()
        made = {"label": "apex", "method": "majority", "readers": [], "inputs": {}, "rates": {}, "version": ""}
        session.add(Consensus(image_id=image.id, **made))
    with pytest.raises(DatabaseError, match="only ever added to"), database.engine.begin() as connection:
        connection.exec_driver_sql(sql.format(table))


def test_a_backup_during_writes_is_whole(database: Database, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with database.writing() as session:  # two rows in one transaction: a torn copy would have one
                session.add_all([Project(name=f"{number}{half}", labels={}) for half in "ab"])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            database.backup(tmp_path / f"{number}.sqlite")
    finally:
        stop.set()
        writer.join()
    counts = []
    for number in range(5):
        copy = tmp_path / f"{number}.sqlite"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            counts.append(connection.execute("SELECT count(*) FROM project").fetchone()[0])
    assert counts == sorted(counts) and all(count % 2 == 0 for count in counts)


def test_a_backup_never_writes_over_a_file(database: Database, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("precious")
    for file in (tmp_path / "kept", tmp_path / "no" / "folder"):
        with pytest.raises(BadInput, match="name a new file"):
            database.backup(file)
    assert (tmp_path / "kept").read_text() == "precious"


def test_a_backup_that_fails_leaves_nothing(database: Database, tmp_path: Path) -> None:
    database.close()
    (database.folder / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(BadInput, match="none was made"):
        database.backup(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
