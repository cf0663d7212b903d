"""The chain of events: intact after work, broken by every kind of tampering."""

from pathlib import Path

import pytest
from annotate_desk import Desk, new_id
from xai_bench_annotations.server.audit import START, Verdict, verify
from xai_bench_annotations.server.database import Database, open_database
from xai_bench_annotations.server.tables import Event


@pytest.fixture
def worked(tmp_path: Path) -> Database:
    """A folder in which anna drew, changed, deleted and revived."""
    desk = Desk.make(tmp_path)
    reading = desk.worklist(desk.anna)[0]
    name, body = new_id(), desk.body(reading, note="a ragged edge", view_state={"zoom": 0.1, "window": 4096})
    assert desk.save(desk.anna, name, 0, body).status_code == 200
    assert desk.save(desk.anna, name, 1, body | {"confidence": 3}).status_code == 200
    assert desk.anna.delete(f"/api/v1/annotations/{name}", headers={"If-Match": "2"}).status_code == 200
    assert desk.save(desk.anna, name, 3, body).status_code == 200
    return desk.database


def verdict(database: Database, head: str | None = None) -> Verdict:
    with database.reading() as session:
        return verify(session, head)


def tamper(database: Database, sql: str) -> None:
    """What somebody with the file can do."""
    with database.engine.begin() as connection:
        for change in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS event_refuses_{change}")
        assert connection.exec_driver_sql(sql).rowcount == 1


def test_an_empty_folder_has_an_empty_chain(tmp_path: Path) -> None:
    assert verdict(open_database(tmp_path, create=True)) == Verdict(0, START, ())


def test_work_leaves_an_intact_chain_that_says_what_was_done(worked: Database) -> None:
    found = verdict(worked)
    with worked.reading() as session:
        events = session.query(Event).order_by(Event.seq).all()
    assert found == Verdict(len(events), events[-1].hash, ())
    drawn = [(e.action, e.rev, e.before and e.before["rev"]) for e in events if e.action.startswith("drawing")]
    assert drawn == [("drawing.added", 1, None), ("drawing.changed", 2, 1), ("drawing.deleted", 3, 2),
                     ("drawing.revived", 4, 3)]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    ["subject = 'x'", "action = 'x'", "reader_id = 'x'", "rev = 9", "before = '{}'", "after = '{}'", "version = 'x'",
     "at = '2020-01-01 00:00:00.000000'", f"prev_hash = '{START}'", f"hash = '{START}'"],
)  # fmt: skip
def test_a_changed_event_is_found(worked: Database, change: str) -> None:
    tamper(worked, f"UPDATE event SET {change} WHERE action = 'drawing.changed'")
    assert any("was changed" in problem for problem in verdict(worked).problems)


def test_a_missing_event_is_found(worked: Database) -> None:
    tamper(worked, "DELETE FROM event WHERE action = 'drawing.changed'")
    assert any("is missing" in problem for problem in verdict(worked).problems)


def test_a_chain_that_was_cut_is_found_by_a_hash_noted_earlier(worked: Database) -> None:
    before = verdict(worked)
    assert verdict(worked, before.head).problems == verdict(worked, START).problems == ()
    tamper(worked, f"DELETE FROM event WHERE seq = {before.events}")
    assert any("noted earlier" in problem for problem in verdict(worked, before.head).problems)


@pytest.mark.parametrize("change", ["state = 'done'", "nothing_in = '[\"apex\"]'", "flag_reason = 'x'"])
def test_an_answer_that_was_changed_behind_the_chain_is_found(worked: Database, change: str) -> None:
    tamper(worked, f"UPDATE assignment SET {change} WHERE id = (SELECT max(id) FROM assignment)")
    assert any("reading" in p and "not what its last event says" in p for p in verdict(worked).problems)


def test_a_drawing_or_reading_that_was_removed_behind_the_chain_is_found(worked: Database) -> None:
    tamper(worked, "DELETE FROM annotation")
    assert any(p.startswith("drawing") and p.endswith("is gone") for p in verdict(worked).problems)
    tamper(worked, "DELETE FROM assignment WHERE state = 'in_progress'")
    assert any(p.startswith("reading") and p.endswith("is gone") for p in verdict(worked).problems)


@pytest.mark.parametrize("change", ["geometry = '{}'", "label = 'apex'", "rev = 9", "deleted = 1", "note = ''"])
def test_a_drawing_that_was_changed_behind_the_chain_is_found(worked: Database, change: str) -> None:
    tamper(worked, f"UPDATE annotation SET {change}")
    assert any("not what its last event says" in problem for problem in verdict(worked).problems)
