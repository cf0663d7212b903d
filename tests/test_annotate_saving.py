"""Saves: revisions, conflicts, tombstones, revival, repeats of a lost answer, the offline queue, states of readings."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotate_desk import HEIGHT, OTHER, SQUARE, WIDTH, Desk, new_id
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from xai_bench_annotations.server.audit import verify


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk.make(tmp_path_factory.mktemp("desk"), films=30)


@pytest.fixture(scope="module")
def readings(desk: Desk) -> Iterator[dict[str, Any]]:
    return iter(desk.worklist(desk.anna))


@pytest.fixture
def reading(readings: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """One that no test has touched."""
    return next(readings)


def drawings(desk: Desk, reading: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.anna.get(f"/api/v1/assignments/{reading['id']}/annotations").json()
    return found


def delete(desk: Desk, name: str, rev: int) -> Any:
    return desk.anna.delete(f"/api/v1/annotations/{name}", headers={"If-Match": str(rev)})


def change(desk: Desk, reading: dict[str, Any], **body: Any) -> Any:
    return desk.anna.patch(f"/api/v1/assignments/{reading['id']}", json=body)


def test_a_drawing_is_kept_as_it_was_sent(desk: Desk, reading: dict[str, Any]) -> None:
    name = new_id()
    more = {"confidence": 4, "note": "ragged\nedge \u2013 <script>", "view_state": {"window": 2000.5, "invert": True}}
    answer = desk.save(desk.anna, name, 0, desk.body(reading, **more))
    assert answer.status_code == 200
    kept = answer.json()
    assert kept == drawings(desk, reading)[0]
    assert {k: kept[k] for k in more} == more and kept["geometry"] == SQUARE
    assert (kept["id"], kept["rev"], kept["deleted"]) == (name, 1, False)


def test_each_change_counts_and_a_stale_one_is_shown_what_is_kept(desk: Desk, reading: dict[str, Any]) -> None:
    name, body = new_id(), desk.body(reading)
    assert [desk.save(desk.anna, name, n, body | {"confidence": n + 1}).json()["rev"] for n in range(3)] == [1, 2, 3]
    stale = desk.save(desk.anna, name, 1, body | {"confidence": 5})
    assert stale.status_code == 409
    assert stale.json()["current"] == drawings(desk, reading)[0]
    assert "revision 3" in stale.json()["error"]
    assert drawings(desk, reading)[0]["confidence"] == 3
    assert desk.save(desk.anna, name, 7, body).status_code == 409  # from a future that a restored backup lost
    assert desk.save(desk.anna, new_id(), 2, body).json()["current"] is None
    assert delete(desk, name, 1).status_code == 409


def test_a_save_whose_answer_was_lost_can_be_repeated(desk: Desk, reading: dict[str, Any]) -> None:
    name, body = new_id(), desk.body(reading, confidence=2, view_state={"zoom": 2})
    first = desk.save(desk.anna, name, 0, body)
    assert desk.save(desk.anna, name, 0, body).json() == first.json()
    second = desk.save(desk.anna, name, 1, body | {"confidence": 3})
    assert desk.save(desk.anna, name, 1, body | {"confidence": 3}).json() == second.json()
    assert desk.save(desk.anna, name, 1, body | {"confidence": 4}).status_code == 409
    assert desk.save(desk.anna, name, 0, body).status_code == 409  # the one before the last
    gone = delete(desk, name, 2)
    assert delete(desk, name, 2).json() == delete(desk, name, 3).json() == gone.json()
    assert desk.save(desk.anna, name, 2, body | {"confidence": 3}).status_code == 409  # not said after the deletion
    history = desk.anna.get(f"/api/v1/annotations/{name}/history").json()
    assert [(h["action"], h["rev"]) for h in history] == [
        ("drawing.added", 1), ("drawing.changed", 2), ("drawing.deleted", 3)]  # fmt: skip


def test_undo_autosave_redo_brings_a_deleted_drawing_back(desk: Desk, reading: dict[str, Any]) -> None:
    name, body = new_id(), desk.body(reading)
    desk.save(desk.anna, name, 0, body)
    gone = delete(desk, name, 1).json()
    assert (gone["rev"], gone["deleted"]) == (2, True)
    assert drawings(desk, reading) == [gone]
    assert next(r for r in desk.worklist(desk.anna) if r["id"] == reading["id"])["annotations"] == 0
    assert desk.save(desk.anna, name, 1, body).status_code == 409
    back = desk.save(desk.anna, name, 2, body).json()
    assert (back["rev"], back["deleted"], back["geometry"]) == (3, False, SQUARE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "liver"}, "no label 'liver'"),
        ({"label": "cobb"}, "cannot be a polygon; draw a cobb"),
        ({"geometry": {"kind": "landmark", "at": [1, 1]}}, "cannot be a landmark"),
        ({"geometry": {"kind": "mask", "size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]}}, "the mask has size"),
        ({"geometry": {"kind": "mask", "size": [HEIGHT, WIDTH], "counts": [5]}}, "runs cover 5 pixels"),
        ({"geometry": SQUARE | {"exterior": [[0, 0], [1, 1]]}}, "at least 3"),
        ({"geometry": OTHER | {"width": 0}}, "greater than 0"),
        ({"geometry": OTHER | {"x": 1e400}}, "finite"),
        ({"confidence": 6}, "less than or equal to 5"),
        ({"note": "bell \x07"}, "control characters"),
        ({"view_state": {"zoom": None, "more": 1}}, "Extra inputs"),
        ({"more": 1}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    desk: Desk, reading: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    import json

    text = json.dumps(desk.body(reading) | change)
    headers = {"If-Match": "0", "Content-Type": "application/json"}
    answer = desk.anna.put(f"/api/v1/annotations/{new_id()}", content=text, headers=headers)
    assert answer.status_code == 422 and said in answer.json()["error"], answer.text
    assert drawings(desk, reading) == []


def test_the_revision_must_be_named(desk: Desk, reading: dict[str, Any]) -> None:
    url = f"/api/v1/annotations/{new_id()}"
    assert desk.anna.put(url, json=desk.body(reading)).status_code == 428
    for wrong in ("-1", "one", "9" * 30, "*"):
        assert desk.anna.put(url, json=desk.body(reading), headers={"If-Match": wrong}).status_code == 422
    assert desk.anna.put(url, json=desk.body(reading), headers={"If-Match": '"0"'}).status_code == 200
    assert desk.save(desk.anna, "x" * 32, 0, desk.body(reading)).status_code == 422


def test_a_drawing_stays_in_its_reading(desk: Desk, reading: dict[str, Any], readings: Iterator[Any]) -> None:
    name = new_id()
    desk.save(desk.anna, name, 0, desk.body(reading))
    assert desk.save(desk.anna, name, 1, desk.body(next(readings))).status_code == 404


def test_the_offline_queue_is_judged_change_by_change(desk: Desk, reading: dict[str, Any]) -> None:
    first, second = new_id(), new_id()
    desk.save(desk.anna, first, 0, desk.body(reading))
    drawn = {"label": "apex", "geometry": OTHER}
    changes = [
        {"op": "put", "id": second, "rev": 0, **drawn},
        {"op": "put", "id": second, "rev": 1, **drawn, "confidence": 5},
        {"op": "put", "id": first, "rev": 0, **drawn},
        {"op": "put", "id": new_id(), "rev": 0, "label": "liver", "geometry": OTHER},
        {"op": "put", "id": 7},
        {"op": "delete", "id": first, "rev": 1},
        {"op": "delete", "id": new_id(), "rev": 1},
        {"op": "put", "id": first, "rev": 2, **drawn},
    ]
    answer = desk.anna.post(f"/api/v1/assignments/{reading['id']}/batch", json={"changes": changes})
    found = answer.json()["changes"]
    assert [c["status"] for c in found] == [200, 200, 409, 422, 422, 200, 404, 200]
    assert [c["id"] for c in found] == [c["id"] if c["id"] != 7 else None for c in changes]
    assert found[2]["annotation"]["rev"] == 1 and "liver" in found[3]["error"]
    assert {d["id"]: d["rev"] for d in drawings(desk, reading)} == {first: 3, second: 2}
    again = desk.anna.post(f"/api/v1/assignments/{reading['id']}/batch", json={"changes": changes[1:2]})
    assert again.json()["changes"][0]["status"] == 200  # the whole answer was lost
    assert {d["id"]: d["rev"] for d in drawings(desk, reading)} == {first: 3, second: 2}


def test_a_batch_with_a_name_that_is_no_text_holds_up_no_other_change(desk: Desk, reading: dict[str, Any]) -> None:
    name = new_id()
    good = {"op": "put", "id": name, "rev": 0, **{k: v for k, v in desk.body(reading).items() if k != "assignment"}}
    body = json.dumps({"changes": [{"op": "delete", "id": "\ud800", "rev": 0}, good]})
    answer = desk.anna.post(
        f"/api/v1/assignments/{reading['id']}/batch", content=body, headers={"Content-Type": "application/json"}
    )
    assert [(c["id"], c["status"]) for c in answer.json()["changes"]] == [(None, 422), (name, 200)]
    assert [d["id"] for d in drawings(desk, reading)] == [name]


def test_done_needs_an_answer_to_every_required_label(desk: Desk, reading: dict[str, Any]) -> None:
    refused = change(desk, reading, state="done")
    assert refused.status_code == 422 and refused.json()["labels"] == ["column", "apex"]
    name = new_id()
    desk.save(desk.anna, name, 0, desk.body(reading))
    both = change(desk, reading, nothing_in=["column"])
    assert both.status_code == 422 and both.json()["labels"] == ["column"]
    assert change(desk, reading, nothing_in=["liver"]).status_code == 422
    done = change(desk, reading, state="done", nothing_in=["apex", "apex"], active_seconds=12.5)
    assert done.status_code == 200
    kept = done.json()
    assert (kept["state"], kept["nothing_in"], kept["annotations"]) == ("done", ["apex"], 1)
    assert kept["opened"] <= kept["done"] and kept["active_seconds"] == 12.5
    assert change(desk, reading, active_seconds=3).json()["active_seconds"] == 12.5
    assert change(desk, reading, nothing_in=[]).status_code == 422
    assert delete(desk, name, 1).status_code == 200
    assert next(r for r in desk.worklist(desk.anna) if r["id"] == reading["id"])["state"] == "in_progress"


def test_work_is_never_refused_because_a_reading_is_done(desk: Desk, reading: dict[str, Any]) -> None:
    change(desk, reading, state="done", nothing_in=["column", "apex"])
    assert desk.save(desk.anna, new_id(), 0, desk.body(reading)).status_code == 200
    now = next(r for r in desk.worklist(desk.anna) if r["id"] == reading["id"])
    assert (now["state"], now["nothing_in"], now["done"]) == ("in_progress", ["apex"], None)


def test_a_flag_stays_while_its_film_is_drawn_on(desk: Desk, reading: dict[str, Any]) -> None:
    assert change(desk, reading, state="flagged", flag_reason="the film is cut off").status_code == 200
    desk.save(desk.anna, new_id(), 0, desk.body(reading))
    now = next(r for r in desk.worklist(desk.anna) if r["id"] == reading["id"])
    assert (now["state"], now["flag_reason"]) == ("flagged", "the film is cut off")


def test_any_order_of_two_tabs_loses_nothing_and_leaves_an_intact_chain(tmp_path: Path) -> None:
    """Two tabs with revisions of their own, one of them often behind; the model knows what must be kept."""
    desk = Desk.make(tmp_path, films=1)
    reading = desk.worklist(desk.anna)[0]

    class Tabs(RuleBasedStateMachine):
        @initialize()
        def open(self) -> None:
            self.name = new_id()
            self.known = [0, 0]
            self.rev, self.confidence = 0, None
            self.deleted = False

        @rule(tab=st.integers(0, 1), confidence=st.integers(1, 5))
        def put(self, tab: int, confidence: int) -> None:
            answer = desk.save(desk.anna, self.name, self.known[tab], desk.body(reading, confidence=confidence))
            repeated = not self.deleted and self.known[tab] == self.rev - 1 and confidence == self.confidence
            if self.known[tab] == self.rev:
                self.rev, self.confidence, self.deleted = self.rev + 1, confidence, False
            elif not repeated:
                assert answer.status_code == 409 and answer.json()["current"]["rev"] == self.rev
                return
            assert answer.status_code == 200 and answer.json()["rev"] == self.rev
            self.known[tab] = self.rev

        @rule(tab=st.integers(0, 1))
        def delete(self, tab: int) -> None:
            answer = delete(desk, self.name, self.known[tab])
            if self.rev == 0:
                assert answer.status_code == 404
            elif self.known[tab] == self.rev and not self.deleted:
                self.rev, self.deleted = self.rev + 1, True
                assert answer.json()["rev"] == self.rev
                self.known[tab] = self.rev
            elif not (self.deleted and self.known[tab] in (self.rev - 1, self.rev)):
                assert answer.status_code == 409

        @rule(tab=st.integers(0, 1))
        def reload(self, tab: int) -> None:
            self.known[tab] = self.rev

        @invariant()
        def nothing_else_is_kept(self) -> None:
            kept = {d["id"]: d for d in drawings(desk, reading)}.get(self.name)
            assert (kept is None) == (self.rev == 0)
            if kept:
                assert (kept["rev"], kept["confidence"], kept["deleted"]) == (self.rev, self.confidence, self.deleted)

    quick = settings(max_examples=12, stateful_step_count=15, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Tabs, settings=quick)  # type: ignore[no-untyped-call]  # hypothesis has no types here
    with desk.database.reading() as session:
        assert verify(session).problems == ()
