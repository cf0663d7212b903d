"""gc names what no run can use again, keeps what a study asks for and what others may, and removes on request only."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from store_cases import QUIET, Gray, small_study

from xai_bench import environment
from xai_bench.classifiers.classifier import Classifier
from xai_bench.planning.garbage import garbage, remove
from xai_bench.planning.plan import plan
from xai_bench.running.benchmark import evaluate
from xai_bench.samples import Fixed
from xai_bench.store.files import seal
from xai_bench.store.scratch import OLD, host
from xai_bench.store.store import Store
from xai_bench.study import Chosen, Study


@pytest.fixture
def work(side_films: Fixed, side_classifier: Classifier) -> Study:
    return small_study(side_films, side_classifier)


@pytest.fixture
def store(work: Study, tmp_path: Path) -> Store:
    found = Store.at(tmp_path)
    evaluate(work, store=found, progress=QUIET)
    return found


def rewritten(store: Store, kind: str, key: str, module: str) -> None:
    """The cell as if this module of its code had been another."""
    cell, _ = store.look(kind, key)
    assert cell is not None
    parts = {**cell.receipt["parts"], "code": {**cell.receipt["parts"]["code"], module: "other"}}
    (cell.folder / "receipt.json").write_bytes(seal({**cell.receipt, "parts": parts}))


def test_nothing_of_a_finished_study_is_garbage(work: Study, store: Store) -> None:
    assert garbage(plan(work, store)) == []


def test_what_a_changed_field_replaced_goes_and_all_else_stays(work: Study, store: Store) -> None:
    changed = replace(work, explainers=(Chosen(Gray(), "gray"), Chosen(Gray(5), "gray3")))
    found = garbage(plan(changed, store))
    assert sorted(g.what for g in found) == [
        "maps (gray3)", "scores (gray3, confidence)", "scores (gray3, inside)",
    ]  # fmt: skip
    assert found[0].why == "field calls: 3, now 5" and all(g.bytes > 0 for g in found)
    remove(store, found)
    assert [len(store.cells(kind)) for kind in ("predictions", "maps", "scores")] == [1, 1, 2]
    assert garbage(plan(changed, store)) == []


def test_a_cell_of_other_code_takes_with_it_what_rests_on_it(work: Study, store: Store) -> None:
    smaller = replace(work, explainers=work.explainers[:1])
    assert garbage(plan(smaller, store)) == []  # cells of another study that can still be used
    key = next(x.key for x in plan(work, store).lookups if x.label == "given: gray3")
    rewritten(store, "maps", key, "xai_bench.saliency")
    found = garbage(plan(smaller, store))
    assert [g.why for g in found] == ["code of xai_bench.saliency", *["rests on given: gray3"] * 2]


def test_other_versions_go_only_if_asked(work: Study, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = environment._installed()
    monkeypatch.setattr(environment, "_installed", lambda: {**now, "shap": "99"})
    planned = plan(work, store)
    assert garbage(planned) == []
    found = garbage(planned, environment=True)
    assert len(found) == len(planned.lookups) and {g.why for g in found} == {f"environment: shap {now['shap']}, now 99"}


def test_unfinished_folders_of_the_dead_go_and_those_of_the_living_stay(work: Study, store: Store) -> None:
    folder = store.root / "cells" / "maps"
    dead = 2**22 + 1  # beyond the largest process number
    names = [f".k.{host()}-{dead}.a", f".k.{host()}-{os.getpid()}.b", ".k.elsewhere-1.c", ".k.elsewhere-1.d"]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "rows.parquet").write_bytes(b"12345")
    loose = [
        store.root / "failures" / "maps" / ".k.json.1",
        store.root / "cache" / ".tmp",
        store.root / "training" / "x",
    ]
    for path in loose:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    for path in (folder / names[3] / "rows.parquet", folder / names[3], loose[0], loose[2]):
        os.utime(path, (time.time() - 2 * OLD,) * 2)
    found = garbage(plan(work, store))
    assert {g.path for g in found} == {folder / names[0], folder / names[3], loose[0], loose[2]}
    assert found[0].bytes == 5
    remove(store, found)
    assert not any(g.path.exists() for g in found) and (folder / names[1]).is_dir() and loose[1].is_file()
