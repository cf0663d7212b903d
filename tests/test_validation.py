"""A study tunes thresholds on validation patients only, once for each explainer and region, and keeps them."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import HEADS
from torch import Tensor
from xai_bench_metrics.iou_tuned import IoUTuned
from xai_bench_metrics.shuffled import Shuffled

from xai_bench.classifiers.classifier import Classifier
from xai_bench.progress import Progress
from xai_bench.protocols import Batch
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import Run
from xai_bench.running.workbench import Counter
from xai_bench.samples import Fixed, Region, RegionKey, Sample
from xai_bench.store.store import Store
from xai_bench.study import Chosen, Given, Study, Target

SIZE = 32


@dataclass(frozen=True)
class Gray:
    """The picture itself as a map, to some power, after one model call."""

    power: float = 1.0
    family = "other"

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        classifier(batch.images)
        return batch.images.mean(1) ** self.power


@dataclass(frozen=True)
class Drawn:
    """How many of the lowest rows each region of a film has, by region and reader."""

    rows: dict[tuple[str, str], int] = field(default_factory=lambda: {("legs", "derived"): 8})

    def __call__(self) -> dict[RegionKey, Region]:
        at = np.arange(SIZE)[:, None] >= SIZE - np.array(list(self.rows.values()))
        masks = {key: np.repeat(at[:, [n]], SIZE, 1) for n, key in enumerate(self.rows)}
        return {RegionKey(*key): Region("drawn", mask) for key, mask in masks.items()}


def film(number: int, **rows: int) -> Sample:
    """A ramp from black to white, top to bottom: row r has the share r / 31 of the largest relevance."""
    ramp = np.repeat(np.linspace(0, 255, SIZE).round().astype(np.uint8)[:, None], SIZE, 1)
    drawn = Drawn({tuple(key.split("__")): n for key, n in rows.items()}) if rows else Drawn()  # type: ignore[misc]  # pairs
    return Sample(
        f"film {number}", f"patient {number}", {"side": HEADS[0].classes[number % 2]}, lambda: ramp,
        f"digest {number} {sorted(rows.items())}", drawn, meta={"view": "AP"},
    )  # fmt: skip


def films(validation: list[Sample], test: list[Sample], regions: tuple[str, ...] = ("legs",)) -> Fixed:
    train = (film(0), film(1))
    splits = {"train": train, "validation": tuple(validation), "test": tuple(test)}
    return Fixed(splits, HEADS, {"side": ("left", "right")}, regions)


VALIDATION = [film(n) for n in range(10, 16)]
TEST = [film(n, legs__derived=20) for n in range(20, 24)]


def run(dataset: Fixed, classifier: Classifier, store: Path, **changes: object) -> Run:
    values = {
        "name": "small", "dataset": dataset, "classifiers": (Given("given", classifier),), "batch_size": 4,
        "explainers": (Chosen(Gray(), "gray"),), "metrics": (Chosen(IoUTuned(), "iou_tuned"),),
    } | changes  # fmt: skip
    return evaluate(Study(**values), store=store, progress=Progress(quiet=True))  # type: ignore[arg-type]  # the test chooses


def thresholds(rows: pd.DataFrame) -> dict[tuple[str, str], float]:
    """The one threshold of each explainer and region."""
    found = rows[(rows.score_name == "tuned_threshold") & (rows.status == "ok")].groupby(["explainer", "region"]).score
    assert (found.nunique() == 1).all()
    return found.first().to_dict()


def between(low_row: int, power: float = 1.0) -> tuple[float, float]:
    """The shares that separate a row from the row below it."""
    return (low_row / 31) ** power, ((low_row + 1) / 31) ** power


def test_the_threshold_is_that_of_the_validation_films_and_scores_are_the_test_films(
    side_classifier: Classifier, tmp_path: Path
) -> None:
    rows = run(films(VALIDATION, TEST), side_classifier, tmp_path).rows
    low, high = between(23)  # the lowest 8 of 32 rows
    assert low < thresholds(rows)["gray", "legs"] < high
    assert set(rows.picture) == {s.id for s in TEST}
    assert rows[rows.score_name == "iou_tuned"].score.tolist() == [8 / 20] * 4
    assert rows[rows.score_name == "dice_tuned"].score.tolist() == [pytest.approx(16 / 28)] * 4


def test_test_films_cannot_move_the_threshold_and_validation_films_do(
    side_classifier: Classifier, tmp_path: Path
) -> None:
    store = Store.at(tmp_path)
    first = thresholds(run(films(VALIDATION, TEST), side_classifier, tmp_path).rows)
    tuned, maps = store.cells("tuned"), store.cells("maps")
    others = [film(n, legs__derived=2) for n in range(30, 37)]
    second = run(films(VALIDATION, others), side_classifier, tmp_path).rows
    assert thresholds(second) == first and set(second.picture) == {s.id for s in others}
    assert store.cells("tuned") == tuned and len(tuned) == 1
    assert len(store.cells("maps")) == len(maps) + 1  # of the new test films
    moved = [film(n, legs__derived=16) for n in range(10, 16)]
    third = thresholds(run(films(moved, TEST), side_classifier, tmp_path).rows)
    low, high = between(15)
    assert low < third["gray", "legs"] < high and len(store.cells("tuned")) == 2


def test_a_second_run_computes_nothing_and_a_lost_threshold_is_learned_again(
    side_classifier: Classifier, tmp_path: Path
) -> None:
    store, dataset = Store.at(tmp_path), films(VALIDATION, TEST)
    with Counter().on(side_classifier) as count:
        first = run(dataset, side_classifier, tmp_path, target=Target("label"))
        assert count.evaluations == 4 + 4 + 8  # predictions, maps of 4 test films and of 6 others in two batches
        cells = {kind: store.cells(kind) for kind in ("predictions", "maps", "tuned", "scores")}
        for lost in ("", cells["tuned"][0]):
            store.delete("tuned", lost or "none")
            again = run(dataset, side_classifier, tmp_path, target=Target("label"))
            pd.testing.assert_frame_equal(again.rows, first.rows)
        assert count.evaluations == 16
    assert {kind: store.cells(kind) for kind in cells} == cells
    costs = first.costs.set_index("kind")
    assert costs.loc["maps"].pictures.tolist() == [4, 6] and costs.loc["scores"].pictures == 4


def test_each_explainer_and_region_has_its_own_threshold(side_classifier: Classifier, tmp_path: Path) -> None:
    rows = {"legs__derived": 8, "body__derived": 16}
    dataset = films([film(n, **rows) for n in range(10, 16)], [film(n, **rows) for n in (20, 21)], ("legs", "body"))
    explainers = (Chosen(Gray(), "gray"), Chosen(Gray(2.0), "square"))
    found = thresholds(run(dataset, side_classifier, tmp_path, explainers=explainers).rows)
    for label, power in (("gray", 1.0), ("square", 2.0)):
        for region, row in (("legs", 23), ("body", 15)):
            low, high = between(row, power)
            assert low < found[label, region] < high
    assert len(Store.at(tmp_path).cells("tuned")) == 2


def test_references_share_a_threshold_and_whoever_read_the_validation_films_will_do(
    side_classifier: Classifier, tmp_path: Path
) -> None:
    two = [film(n, legs__anna=8, legs__ben=16) for n in range(20, 24)]
    one = run(films([film(n, legs__anna=8) for n in range(10, 14)], two), side_classifier, tmp_path / "a")
    assert set(one.rows.reference) == {"anna", "ben"} and len(thresholds(one.rows)) == 1
    asked = {"references": ("ben",)}
    other = run(films([film(n, legs__anna=8) for n in range(10, 14)], two), side_classifier, tmp_path / "b", **asked)
    assert set(other.rows.reference) == {"ben"} and thresholds(other.rows) == thresholds(one.rows)
    both = [film(n, legs__anna=8, legs__ben=16) for n in range(10, 14)]
    mine = run(films(both, two), side_classifier, tmp_path / "c", **asked)
    low, high = between(15)
    assert low < thresholds(mine.rows)["gray", "legs"] < high


def test_a_region_that_no_validation_film_has_is_excluded_and_others_are_scored(
    side_classifier: Classifier, tmp_path: Path
) -> None:
    test = [film(n, legs__derived=8, body__derived=16) for n in (20, 21)]
    rows = run(films(VALIDATION, test, ("legs", "body")), side_classifier, tmp_path).rows
    assert set(rows[rows.region == "legs"].status) == {"ok"}
    assert set(rows[rows.region == "body"].status) == {"excluded"}
    reason = "not tuned: no validation film has this region and a usable map to tune the threshold on"
    assert set(rows[rows.region == "body"].reason) == {reason}
    assert set(rows[rows.region == "body"].score_name) == set(IoUTuned().scores)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 6),
        ({"metrics": (Chosen(IoUTuned(films=3), "few"),)}, 3),
        ({"limit": 2}, 2),
        ({"explainers": (Chosen(Gray(), "gray", 1),)}, 1),
    ],
)
def test_no_more_validation_films_are_explained_than_asked_for(
    side_classifier: Classifier, tmp_path: Path, changes: dict[str, object], count: int
) -> None:
    made = run(films(VALIDATION, TEST), side_classifier, tmp_path, **changes).costs
    assert made[made.kind == "maps"].pictures.tolist()[1] == count


def test_without_validation_films_or_scored_on_them_it_is_skipped(side_classifier: Classifier, tmp_path: Path) -> None:
    rows = run(films([], TEST), side_classifier, tmp_path).rows
    assert set(rows.status) == {"skipped"}
    assert set(rows.reason) == {"it must be tuned on validation films with a finding, and there are none"}
    well = [replace(s, labels={"side": None}) for s in VALIDATION]
    assert set(run(films(well, TEST), side_classifier, tmp_path).rows.reason) == set(rows.reason)
    same = run(films(VALIDATION, TEST), side_classifier, tmp_path, split="validation").rows
    assert set(same.reason) == {"it is tuned on the validation films, and these are the films that are scored"}


def test_shuffled_scores_are_taken_at_the_same_threshold(side_classifier: Classifier, tmp_path: Path) -> None:
    rows = run(films(VALIDATION, TEST), side_classifier, tmp_path, summaries=(Shuffled(),)).rows
    assert set(rows.reference) == {"derived", "shuffled:derived"} and len(thresholds(rows)) == 1
    assert len(Store.at(tmp_path).cells("tuned")) == 1


def test_a_map_that_is_nan_does_not_count(side_classifier: Classifier, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Sick(Gray):
        """NaN on half of the validation films, whose regions are larger."""

        def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
            bad = torch.tensor([i in {"film 10", "film 11"} for i in batch.ids])
            return super().__call__(classifier, batch).masked_fill(bad[:, None, None], torch.nan)

    mixed = [film(n, legs__derived=30) for n in (10, 11)] + [film(n) for n in (12, 13)]
    rows = run(films(mixed, TEST), side_classifier, tmp_path, explainers=(Chosen(Sick(), "sick"),)).rows
    low, high = between(23)
    assert low < thresholds(rows)["sick", "legs"] < high
