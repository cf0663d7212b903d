"""SIGTERM and the time limit: between two cells, or in the middle when the grace is over; handlers are put back."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from backend_cases import QUIET, Watched, digits, tiny

from xai_bench import interruption
from xai_bench.backends.serial import Serial
from xai_bench.errors import BadInput
from xai_bench.interruption import Stopped, between_cells, seconds_of, stoppable
from xai_bench.running.benchmark import evaluate
from xai_bench.store.store import Store


def test_nothing_happens_where_nobody_asks() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGALRM)]
    with stoppable(1000):
        between_cells()
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGALRM)] == before


def test_sigterm_is_obeyed_between_two_cells() -> None:
    with pytest.raises(Stopped, match="stopped by SIGTERM") as caught, stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # again: the same
        time.sleep(0.01)  # a cell goes on
        between_cells()
    assert caught.value.code == 143
    between_cells()  # forgotten


def test_the_time_limit_is_obeyed_between_two_cells() -> None:
    with pytest.raises(Stopped, match=r"after its time limit of 0\.05 s") as caught, stoppable(0.05):
        time.sleep(0.1)
        between_cells()
    assert caught.value.code == 75


def test_after_the_grace_the_cell_in_hand_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "GRACE", 0.05)
    start = time.monotonic()
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    assert time.monotonic() - start < 5


def test_who_turns_sigterm_into_an_exit_is_understood() -> None:
    with pytest.raises(Stopped), stoppable():  # as Lightning does
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit
    with pytest.raises(SystemExit), stoppable():
        raise SystemExit(3)


@pytest.mark.parametrize("when", ["training", "grad_cam", "random_map, relevance_mass"])
def test_a_stopped_run_keeps_what_was_finished_and_ends_with_the_same_digits(tmp_path: Path, when: str) -> None:
    def ask(_: str, kind: str, *values: Any) -> None:
        if kind == "begin" and values[1] == f"small, seed 1: {when}":
            os.kill(os.getpid(), signal.SIGTERM)

    study = tiny()
    whole = digits(evaluate(study, store=tmp_path / "whole", progress=QUIET, backend=Serial()))
    store = Store.at(tmp_path / "stopped")
    with pytest.raises(Stopped), stoppable():
        evaluate(study, store=store, progress=Watched(react=ask), backend=Serial())
    kinds = {kind: len(store.cells(kind)) for kind in ("train", "maps", "scores")}
    finished = {"training": (1, 2, 2), "grad_cam": (2, 3, 2), "random_map, relevance_mass": (2, 4, 4)}[when]
    assert tuple(kinds.values()) in (finished, (2, *finished[1:]))  # a training of one epoch ends in its grace
    assert not list((store.root / "cells").rglob(".*"))
    assert digits(evaluate(study, store=store, progress=QUIET, backend=Serial())) == whole


@pytest.mark.parametrize("text", ["", "soon", "5", "5x", "-3m", "0m", "1m30"])
def test_lengths_of_time(text: str) -> None:
    if text == "5":
        assert seconds_of(text) == 5
    elif text == "1m30":
        assert seconds_of(text) == 90
    else:
        with pytest.raises(BadInput, match="is no length of time; write 90s, 55m or 1h30m"):
            seconds_of(text)
