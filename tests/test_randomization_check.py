from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from robustness_cases import slow_ssim
from torch import Tensor
from xai_bench_metrics._explained_again import scaled
from xai_bench_metrics.randomization_check import ABSENT, ALONE, RandomizationCheck

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.progress import Progress
from xai_bench.protocols import ClassifierCard, Evidence, SummaryRow
from xai_bench.running.benchmark import evaluate
from xai_bench.saliency import ssim
from xai_bench.samples import Fixed
from xai_bench.statistics import bootstrap_mean
from xai_bench.study import Given, Study

SCORE, THRESHOLD, PASSES = "randomization_ssim", "random_pairs_ssim", "passes"


@dataclass(frozen=True)
class Signed:
    signed: ClassVar[bool] = True


@dataclass(frozen=True)
class Positive:
    signed: ClassVar[bool] = False


def films(count: int) -> list[str]:
    """Two of each patient: `p3b` belongs to `p3`."""
    return [f"p{n // 2}{'ab'[n % 2]}" for n in range(count)]


def noise(seed: int, count: int, size: int = 14) -> Tensor:
    return torch.randn(count, size, size, generator=torch.Generator().manual_seed(seed))


@dataclass
class World:
    """Evidence from plain tables, for replicates of one classifier: maps by picture, scores by picture."""

    maps: Sequence[Mapping[str, Tensor]]
    scores: Sequence[Mapping[str, float]]
    explainer: object = Signed()
    content: Mapping[str, Tensor] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    def evidence(self, seed: int = 0) -> Evidence:
        cards = tuple(ClassifierCard("cnn", n, n, "x", None, "cnn", f"w{n}", 0.9) for n in range(len(self.maps)))
        pictures = sorted({p for maps in self.maps for p in maps})
        rows = [self._row(n, p, score) for n, scores in enumerate(self.scores) for p, score in scores.items()]
        other = self._row(0, pictures[0], 0.0) | {"metric": "iou", "score_name": "iou_matched"}
        found = {f"w{n}": {p: (0, m) for p, m in maps.items()} for n, maps in enumerate(self.maps)}
        shown = self.content
        return Evidence(
            rows=pd.DataFrame([*rows, other]), cards=cards, explainers={"map": self.explainer, "again": Signed()},
            predictions=pd.DataFrame([{"picture": p, "patient": p[:-1]} for p in pictures]), seed=seed,
            maps=lambda weights, _: found[weights], samples=lambda _: (),
            content=None if shown is None else lambda _, ids: [shown[i] for i in ids],
        )  # fmt: skip

    def _row(self, replicate: int, picture: str, score: float) -> dict[str, object]:
        status = "ok" if score == score else "excluded"
        return {
            "explainer": "map", "classifier": "cnn", "replicate": replicate, "metric": "cascading_randomization",
            "score_name": SCORE, "picture": picture, "patient": picture[:-1], "status": status,
            "reason": self.reasons.get(picture, ""), "score": score,
        }  # fmt: skip


def world(score: float = 0.1, count: int = 12, replicates: int = 1) -> World:
    maps = [dict(zip(films(count), noise(r, count), strict=True)) for r in range(replicates)]
    steps = np.linspace(-0.05, 0.05, count)
    return World(maps, [dict(zip(films(count), score + steps, strict=True)) for _ in range(replicates)])


def by_score(rows: Sequence[SummaryRow]) -> dict[str, SummaryRow]:
    return {row.score_name: row for row in rows}


@pytest.mark.parametrize(("explainer", "span"), [(Signed(), 2.0), (Positive(), 1.0)])
def test_the_threshold_is_the_mean_ssim_of_all_pairs_of_two_patients_where_they_are_few(
    explainer: object, span: float
) -> None:
    made = world(count=10)
    made.explainer = explainer
    maps = made.maps[0]
    found = by_score(RandomizationCheck()(made.evidence()))[THRESHOLD]
    pairs = [(a, b) for a in maps for b in maps if a < b and a[:-1] != b[:-1]]
    assert len(pairs) == 40
    assert found.value == pytest.approx(np.mean([slow_ssim(maps[a], maps[b], span) for a, b in pairs]), abs=1e-6)
    assert found.low < found.value < found.high
    assert found.n == 40


def test_fifty_pairs_are_drawn_by_the_seed() -> None:
    made = world(count=60)
    values = [by_score(RandomizationCheck()(made.evidence(seed)))[THRESHOLD] for seed in (0, 0, 1)]
    assert [row.n for row in values] == [50] * 3
    assert values[0] == values[1]
    assert values[0].value != values[2].value
    more = by_score(RandomizationCheck(pairs=200)(made.evidence()))[THRESHOLD]
    assert more.n == 200
    assert more.high - more.low < values[0].high - values[0].low


def test_the_mean_score_has_an_interval_over_patients_and_its_exclusions() -> None:
    made = world()
    made.scores[0]["p2a"], made.reasons = float("nan"), {"p2a": "the new map holds NaN or infinite values"}
    row = by_score(RandomizationCheck()(made.evidence()))[SCORE]
    kept = {p: s for p, s in made.scores[0].items() if s == s}
    expected = bootstrap_mean(np.array(list(kept.values())), [p[:-1] for p in kept])
    assert (row.value, row.low, row.high) == pytest.approx((np.mean(list(kept.values())), expected.low, expected.high))
    assert (row.n, row.better, row.metric) == (11, "lower", "cascading_randomization")
    assert row.exclusions == {"the new map holds NaN or infinite values": 1}


@pytest.mark.parametrize(("shift", "passes"), [(-0.02, 1.0), (0.02, 0.0)])
def test_passes_where_the_score_is_below_the_threshold(shift: float, passes: float) -> None:
    threshold = by_score(RandomizationCheck()(world().evidence()))[THRESHOLD].value
    row = by_score(RandomizationCheck()(world(threshold + shift).evidence()))[PASSES]
    assert (row.value, row.n, row.better) == (passes, 12, "higher")
    assert f"0 {'passes' if passes else 'fails'}" in row.note


def test_maps_that_are_the_same_for_all_fail_whatever_the_last_bits_say() -> None:
    made = world()
    made.maps[0].update(dict.fromkeys(films(12), noise(0, 1)[0]))
    made.scores[0].update(dict.fromkeys(films(12), 1 - 1e-9))
    rows = by_score(RandomizationCheck()(made.evidence()))
    assert rows[THRESHOLD].value == pytest.approx(1)
    assert rows[PASSES].value == 0
    assert rows[SCORE].note.startswith("no interval")


def test_replicates_count_together_and_are_named_apart() -> None:
    made = world(replicates=2)
    made.scores[1].update(dict.fromkeys(films(12), 0.9))
    rows = by_score(RandomizationCheck()(made.evidence()))
    assert rows[SCORE].value == pytest.approx(0.5)
    single = [replace(made, maps=[m], scores=[s]) for m, s in zip(made.maps, made.scores, strict=True)]
    alone = [by_score(RandomizationCheck()(one.evidence())) for one in single]
    assert rows[THRESHOLD].value == pytest.approx(np.mean([one[THRESHOLD].value for one in alone]))
    assert rows[THRESHOLD].n == 2 * 50
    told = ", ".join(f"{n} {'passes' if one[PASSES].value else 'fails'}" for n, one in enumerate(alone))
    assert rows[PASSES].note.endswith(f"each replicate: {told}")
    assert rows[PASSES].value == 0


def test_maps_with_nan_are_left_out_and_only_content_of_both_counts() -> None:
    made = world(count=3)
    made.maps[0]["p0b"][0, 0] = torch.nan
    a, b = made.maps[0]["p0a"], made.maps[0]["p1a"]
    made.content = {p: torch.ones(28, 28, dtype=torch.bool) for p in films(3)}
    made.content["p0a"][:, :2] = made.content["p1a"][:, 26:] = False
    row = by_score(RandomizationCheck()(made.evidence()))[THRESHOLD]
    inside = torch.ones(1, 14, 14, dtype=torch.bool)
    inside[:, :, 0] = inside[:, :, 13] = False
    expected = ssim(scaled(a[None], inside), scaled(b[None], inside), inside, 2.0)
    assert row.value == pytest.approx(expected.item())
    assert (row.n, row.exclusions) == (1, {"invalid map": 1})
    assert (row.low, row.high) == (None, None)


def test_a_study_without_the_score_or_without_two_patients_says_so() -> None:
    made = world()
    made.scores = [{}]
    rows = by_score(RandomizationCheck()(made.evidence()))
    assert [rows[name].n for name in (SCORE, PASSES)] == [0, 0]
    assert rows[SCORE].note == rows[PASSES].note == ABSENT
    assert np.isnan(rows[PASSES].value)
    single = by_score(RandomizationCheck()(world(count=2).evidence()))
    assert single[THRESHOLD].note == single[PASSES].note == ALONE
    assert single[SCORE].value == pytest.approx(0.1)


def test_a_method_without_rows_of_its_own_is_no_line() -> None:
    rows = RandomizationCheck()(world().evidence())
    assert {row.explainer for row in rows} == {"map"}
    assert len(rows) == 3


def test_impossible_fields_are_refused() -> None:
    with pytest.raises(BadInput, match="1 or more"):
        RandomizationCheck(pairs=0)


def test_in_a_study_the_edge_map_fails(side_classifier: Classifier, side_films: Fixed, tmp_path: Path) -> None:
    study = Study(
        name="check", dataset=side_films, classifiers=[Given("side", side_classifier)],
        explainers=["edge_map", "grad_cam"], metrics=["cascading_randomization"], summaries=["randomization_check"],
        batch_size=8, limit=8,
    )  # fmt: skip
    run = evaluate(study, store=tmp_path, progress=Progress(quiet=True))
    found = run.summaries.set_index(["explainer", "score_name"]).value
    assert found["edge_map", SCORE] == pytest.approx(1)
    assert found["edge_map", PASSES] == 0
    assert found["grad_cam", SCORE] < 0.9
    assert found["grad_cam", PASSES] == float(found["grad_cam", SCORE] < found["grad_cam", THRESHOLD])
    assert set(run.curves.curve) == {SCORE, "randomization_spearman"}
