"""A failure is remembered: the same row in the next run and in other processes, until it is forgotten."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from store_cases import QUIET, Broken, Gray, small_study
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.environment import environment
from xai_bench.errors import BadInput, CellFailed, NonDeterministicCell, Unfit
from xai_bench.protocols import Batch
from xai_bench.running.benchmark import evaluate
from xai_bench.running.workbench import Workbench
from xai_bench.samples import Fixed
from xai_bench.store.files import write_frame
from xai_bench.store.scratch import host
from xai_bench.store.store import Store
from xai_bench.study import Chosen

PARTS = {"plugin": {"name": "p", "fields": {}}, "pictures": {"ids": [str(n) for n in range(99)]}}


def bench(folder: Path) -> Workbench:
    return Workbench(Store.at(folder), QUIET)


def fine(folder: Path) -> Mapping[str, Any]:
    write_frame(folder, "rows", pd.DataFrame({"score": [1.0]}))
    return {"pictures": 1, "evaluations": 0, "states": {"ok": 1}}


def raising(error: BaseException) -> Any:
    def compute(_: Path) -> Mapping[str, Any]:
        raise error

    return compute


def test_a_receipt_says_what_a_cell_is_what_it_cost_and_where_it_was_made(tmp_path: Path) -> None:
    found = bench(tmp_path).cell("scores", "net: lime, iou", PARTS, fine).receipt
    assert (found["label"], found["kind"], found["states"]) == ("net: lime, iou", "scores", {"ok": 1})
    assert found["parts"]["plugin"] == PARTS["plugin"] and found["parts"]["pictures"]["ids"]["length"] == 99
    assert found["environment"] == environment() and found["host"] == host()
    assert found["seconds"] >= 0 and found["peak_mb"] > 0 and found["bytes"] > 0


def test_a_failure_is_not_tried_again_until_it_is_forgotten(tmp_path: Path) -> None:
    desk, calls = bench(tmp_path), []

    def fails(folder: Path) -> Mapping[str, Any]:
        calls.append(1)
        raise ValueError("no layer")

    for _ in range(3):
        with pytest.raises(CellFailed, match=r"^ValueError: no layer$"):
            desk.cell("maps", "net: lime", PARTS, fails)
    assert len(calls) == 1 and len(desk.store.failures()) == 1
    assert desk.store.forget_failures() == 1
    assert desk.cell("maps", "net: lime", PARTS, fine).receipt["pictures"] == 1


def test_what_does_not_fit_is_asked_again_and_a_success_clears_it(tmp_path: Path) -> None:
    desk = bench(tmp_path)
    for _ in range(2):
        with pytest.raises(Unfit, match="no attention"):
            desk.cell("maps", "net: lime", PARTS, raising(Unfit("no attention")))
    ((kind, key),) = desk.store.failures()
    record = desk.store.failure(kind, key)
    assert record is not None and (record["status"], record["label"]) == ("skipped", "net: lime")
    desk.cell("maps", "net: lime", PARTS, fine)
    assert desk.store.failures() == []


@pytest.mark.parametrize("error", [BadInput("x"), OSError(5, "EIO"), KeyboardInterrupt(), NonDeterministicCell("x")])
def test_a_mistake_or_the_machine_s_trouble_is_no_failure_of_the_plugin(tmp_path: Path, error: BaseException) -> None:
    desk = bench(tmp_path)
    with pytest.raises(type(error)):
        desk.cell("maps", "net: lime", PARTS, raising(error))
    assert desk.store.failures() == [] and not list(tmp_path.rglob(".*"))
    desk.cell("maps", "net: lime", PARTS, fine)


def test_the_rows_of_a_failure_are_the_same_in_every_run_and_retrying_is_asked_for(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fails(self: Broken, classifier: Classifier, batch: Batch) -> Tensor:
        calls.append(1)
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Broken, "__call__", fails)
    work = small_study(side_films, side_classifier, explainers=(Chosen(Broken(), "broken"), Chosen(Gray(), "gray")))
    first, second = (evaluate(work, store=tmp_path, progress=QUIET).rows for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert len(calls) == 1
    blame = first[first.explainer == "broken"]
    assert set(blame.status) == {"failed"} and set(blame.reason) == {"ZeroDivisionError: division by zero"}
    Store.at(tmp_path).forget_failures()
    monkeypatch.setattr(Broken, "__call__", lambda self, classifier, batch: batch.images.mean(1))
    repaired = evaluate(work, store=tmp_path, progress=QUIET).rows
    assert set(repaired.status) == {"ok"} and Store.at(tmp_path).failures() == []


def test_two_results_under_one_key_end_the_run(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process commits while this one computes, and the explainer draws without a seed."""
    work = replace(small_study(side_films, side_classifier), metrics=())
    calls = 0

    def draws(self: Gray, classifier: Classifier, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 1:
            evaluate(work, store=tmp_path, progress=QUIET)
        return batch.images.mean(1) + calls

    monkeypatch.setattr(Gray, "__call__", draws)
    with pytest.raises(NonDeterministicCell, match=r"given: gray.*different results \(maps.safetensors\)"):
        evaluate(work, store=tmp_path, progress=QUIET)
