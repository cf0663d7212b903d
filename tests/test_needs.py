"""Time and disk of a plan: by receipts of like cells, a picture at a time; else by the estimate of a new study."""

from dataclasses import replace
from pathlib import Path

import pytest
from store_cases import QUIET, Gray, small_study

from xai_bench.classifiers.classifier import Classifier
from xai_bench.planning.estimate import Cost
from xai_bench.planning.needs import Likes, needs
from xai_bench.planning.plan import plan
from xai_bench.running.benchmark import evaluate
from xai_bench.samples import Fixed
from xai_bench.store.files import seal
from xai_bench.store.store import Store
from xai_bench.study import Chosen


def test_like_cells_count_by_the_picture() -> None:
    likes = (
        Likes().plus({"pictures": 10, "seconds": 3.0, "bytes": 50}).plus({"pictures": 30, "seconds": 1.0, "bytes": 30})
    )
    assert (likes.cells, likes.pictures, likes.seconds, likes.bytes) == (2, 40, 4.0, 80)
    assert likes.seconds * likes.share(20) == 2.0
    assert Likes().plus({"seconds": 4.0}).plus({"seconds": 2.0}).share(7) == 0.5  # no pictures: the mean of the cells


def cost(store: Store, kind: str, key: str, **changes: float) -> None:
    """Say in a receipt what the cell cost."""
    file = store.folder(kind, key) / "receipt.json"
    cell, _ = store.look(kind, key)
    assert cell is not None
    file.write_bytes(seal({**{k: v for k, v in cell.receipt.items() if k != "sha256"}, **changes}))


def test_what_is_missing_costs_what_its_like_cost(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    work, store = replace(small_study(side_films, side_classifier), metrics=()), Store.at(tmp_path)
    evaluate(work, store=store, progress=QUIET)
    done = plan(work, store)
    assert needs(done).cells == 0 and needs(done).seconds == 0 and needs(done).bytes == 0
    for x in done.lookups:
        cost(store, x.kind, x.key, seconds=16.0 * (x.method == "gray3"), bytes=1600)
    changed = replace(work, explainers=(Chosen(Gray(), "gray"), Chosen(Gray(4), "gray3", 4)))
    left = needs(plan(changed, store))  # four of sixteen pictures
    assert (left.cells, left.seconds, left.bytes, left.trainings) == (1, 4.0, 400.0, 0)


def test_a_new_study_is_estimated(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = [Cost("gray", 16, 16, 8.0), Cost("gray3", 16, 48, 2.0), Cost("confidence", 16, 32, 4.0)]
    monkeypatch.setattr("xai_bench.planning.needs.estimate", lambda _: costs)
    monkeypatch.setattr("xai_bench.planning.needs.processes", lambda _: 2)
    left = needs(plan(small_study(side_films, side_classifier), Store.at(tmp_path)))
    assert left.seconds == pytest.approx(2 * (8 + 2 + 4))
    assert left.bytes >= 2 * 16 * 32 * 32 * 4  # two methods' maps at the pictures' size
    assert left.cells == 1 + 2 + 4
