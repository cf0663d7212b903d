"""Progress: silent, a line after a pause, JSON, a view on a terminal; nothing is counted twice or read as markup."""

import io
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from xai_bench.progress import Board, Meter, Progress, Relay


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A clock that stands still until the test moves it."""
    found = SimpleNamespace(now=0.0)
    monkeypatch.setattr("xai_bench.progress.time", SimpleNamespace(monotonic=lambda: found.now))
    yield found


def terminal() -> tuple[Progress, io.StringIO]:
    file = io.StringIO()
    return Progress(console=Console(file=file, force_terminal=True, width=120)), file


def run(progress: Progress, clock: SimpleNamespace) -> None:
    """Two workers and this process compute three of four cells, one of which fails."""
    with progress.overview():
        progress.expect("a", 3)
        progress.expect("b", 1)
        progress.event("begin", "1", "small: lime", 100, where="worker 1")
        progress.event("begin", "1", "small: rise", 50, where="worker 2")
        progress.event("step", "1", 30, where="worker 1")
        clock.now += 4
        progress.cell("a 1")
        progress.cell("a 1")
        clock.now += 4
        progress.cell("a 2", "failed", "ZeroDivisionError: division by zero")
        progress.event("end", "1", where="worker 2")
        progress.event("begin", "7", "here", 2)
        clock.now += 4
        progress.cell("b 1", "skipped", "it needs attention weights")


def test_quiet_shows_nothing(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (Progress(quiet=True), Progress(quiet=True, json=True)):
        quiet.say("hello")
        run(quiet, clock)
        with quiet.task("work", 2) as advance:
            advance(2)
    assert capsys.readouterr() == ("", "")


def test_a_run_is_a_line_every_few_seconds_and_one_at_the_end(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    run(Progress(every=5), clock)
    assert capsys.readouterr().err.splitlines() == [
        "2/4 cells in 8 s, 15.0/min, about 8 s left, 1 failed | worker 1: small: lime 30/100 | "
        "worker 2: small: rise 0/50",
        "3/4 cells in 12 s, 15.0/min, about 4 s left, 1 failed, 1 skipped",
    ]


def test_json_is_one_object_a_line(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(every=5, json=True)
    progress.say("note")
    run(progress, clock)
    shown = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in shown] == ["note", "progress", "progress"]
    assert shown[1] == {
        "event": "progress", "cells": 2, "wanted": 4, "failed": 1, "skipped": 0, "seconds": 8.0, "rate": 0.25,
        "left": 8.0, "last_failure": "a 2: ZeroDivisionError: division by zero",
        "running": [
            {"where": "worker 1", "what": "small: lime", "done": 30, "total": 100, "seconds": 8.0},
            {"where": "worker 2", "what": "small: rise", "done": 0, "total": 50, "seconds": 8.0},
        ],
    }  # fmt: skip


def test_a_piece_of_work_alone_has_its_own_lines(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(every=5)
    with progress.task("maps", 10) as advance:
        for _ in range(10):
            clock.now += 1
            advance(1)
    with progress.task("again", 1) as advance:
        advance(1)
    assert capsys.readouterr().err.splitlines() == ["maps 5/10", "maps 10/10", "maps 10/10", "again 1/1"]


def test_a_terminal_gets_a_view_of_everything(clock: SimpleNamespace) -> None:
    progress, file = terminal()
    with progress.overview():
        run(progress, clock)
    shown = file.getvalue()
    assert "3/4 cells in 12 s" in shown and "1 failed, 1 skipped" in shown
    assert "worker 1: small: lime" in shown and "30/100 in 12 s" in shown and "division by zero" in shown
    assert "worker 2" not in shown.splitlines()[-1]


def test_a_terminal_shows_a_piece_of_work_alone() -> None:
    progress, file = terminal()
    with progress.task("reading [b]films[/b]", 4) as advance:
        advance(3)
        assert progress._board is not None
        progress.console.print(progress._view())
    assert "reading [b]films[/b]" in file.getvalue() and "3/4" in file.getvalue()


def test_what_is_told_twice_counts_once_and_a_guess_corrects_nothing() -> None:
    board = Board()
    board.expect("", "a", 5, False)
    board.expect("", "a", 7, True)
    board.expect("", "a", 5, False)
    for status in ("failed", "ok", "ok"):
        board.cell("", "one", status, "")
    state = board.state()
    assert (state["wanted"], state["cells"], state["failed"]) == (7, 1, 0)


def test_what_a_dead_worker_did_is_no_longer_shown() -> None:
    board = Board()
    board.begin("worker 1", "1", "x", 2)
    board.begin("worker 2", "1", "y", 2)
    board.gone("worker 1")
    board.end("worker 1", "1")
    assert board.line() == "worker 2: y 0/2"


def test_a_line_names_a_few_of_many() -> None:
    board = Board()
    for n in range(9):
        board.begin(f"w{n}", "1", "x", 2)
    assert board.line() == "w0: x 0/2 | w1: x 0/2 | w2: x 0/2 | w3: x 0/2 | and 5 more"


def test_a_worker_tells_its_steps_a_few_times_a_second_and_all_of_them(clock: SimpleNamespace) -> None:
    told: list[tuple[Any, ...]] = []
    relay = Relay(send=told.append)
    with relay.overview(), relay.task("x", 10) as advance:
        for _ in range(10):
            clock.now += 0.05
            advance(1)
    relay.cell("one", "failed", "why")
    assert told[0] == ("begin", "0", "x", 10) and told[-2:] == [("end", "0"), ("cell", "one", "failed", "why")]
    steps = [event for event in told if event[0] == "step"]
    assert sum(event[2] for event in steps) == 10 and len(steps) <= 4


def test_lines_are_not_wrapped_and_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    line = "note: 3 films of [red]class[/red] have no patient, " + "and so on " * 20 + "end."
    Progress().say(line)
    assert capsys.readouterr().err == line + "\n"


def test_a_meter_ends_where_it_should_whatever_was_known_before() -> None:
    seen: list[int] = []
    meter = Meter(seen.append, 10)
    meter.answers(7)
    meter.answers(8)
    meter.pictures(2)  # five were known
    meter.pictures(3)  # all were known
    meter.answers(10)
    meter.pictures(1)
    assert sum(seen) == 60
