"""A threshold learned on validation films: the best of the grid, exactly; and what is scored at it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from xai_bench_metrics._localization import EMPTY
from xai_bench_metrics.dice import Dice
from xai_bench_metrics.iou import IoU
from xai_bench_metrics.iou_tuned import IoUTuned

from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Case, Metric, Reason
from xai_bench.spec import spec_of, state_of, with_state
from xai_bench.testing import check_metric


def threshold(metric: IoUTuned) -> float:
    assert metric.state is not None
    return float(metric.state["threshold"])


def at(share: float) -> IoUTuned:
    return IoUTuned(state={"threshold": torch.tensor(share, dtype=torch.float64)})


def drawn(seed: int, films: int = 3) -> Case:
    """Signed maps, some of them coarse, some padding, regions that the maps know a little of."""
    rng = np.random.default_rng(seed)
    region = rng.random((films, 9, 7)) < 0.3
    region[:, 4, 3] = True
    maps = rng.normal(0, 1, region.shape) + rng.choice([0, 2]) * region
    maps[0] = np.round(maps[0])
    content = np.ones_like(region)
    content[-1, :, :2] = False
    return make_case(*(torch.from_numpy(x) for x in (maps.astype(np.float32), region, content)))


def slow(case: Case, n: int, share: float) -> tuple[float, float]:
    """Word for word: IoU and Dice of the pixels above this share of the film's largest positive relevance."""
    content = case.batch.content[n].numpy()
    positive = np.maximum(case.saliency[n].numpy(), 0)[content].astype(np.float64)
    region = case.region[n].numpy()[content]
    predicted = positive > share * positive.max()
    both = (predicted & region).sum()
    return both / (predicted | region).sum(), 2 * both / (predicted.sum() + region.sum())


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_the_threshold_is_the_best_of_the_grid_over_all_films_the_middle_one_of_equals(seed: int) -> None:
    cases = [drawn(seed), drawn(seed + 1, films=2)]
    mean = [np.mean([slow(c, n, k / 100)[0] for c in cases for n in range(len(c.batch))]) for k in range(100)]
    best = [value > max(mean) - 1e-12 for value in mean]
    first = last = best.index(True)
    while last < 99 and best[last + 1]:
        last += 1
    assert threshold(IoUTuned().tune(iter(cases))) == (first + last) // 2 / 100


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(0, 99))
def test_scores_are_iou_and_dice_above_that_share_of_each_maps_maximum(seed: int, percent: int) -> None:
    case = drawn(seed)
    found = at(percent / 100)(case).scores
    for n in range(3):
        iou, dice = slow(case, n, percent / 100)
        assert found["iou_tuned"][n].item() == found["iou_tuned_nonempty"][n].item() == pytest.approx(iou)
        assert found["dice_tuned"][n].item() == found["dice_tuned_nonempty"][n].item() == pytest.approx(dice)
    assert found["tuned_threshold"].tolist() == [percent / 100] * 3


def test_a_known_threshold_is_found() -> None:
    """Relevance falls from 1 by steps of 0.05; the region is the six largest pixels: 0.75 to 1."""
    maps = (1 - 0.05 * torch.arange(20)).reshape(1, 4, 5)
    region = maps > 0.72
    learned = IoUTuned().tune([make_case(maps, region), make_case(300 * maps, region)])
    assert threshold(learned) == 0.72  # the middle of 0.70 to 0.74: the sixth is above it, the seventh is not
    assert learned(make_case(7 * maps, region)).scores["iou_tuned"].tolist() == [1]


def test_no_threshold_can_beat_the_one_made_for_each_film_and_the_tuned_one_beats_others_where_it_was_tuned() -> None:
    case = drawn(3, films=12)
    learned = IoUTuned().tune([case])
    mean = {share: at(share)(case).scores["iou_tuned"].mean().item() for share in (0.0, 0.25, 0.5, 0.75, 0.99)}
    assert learned(case).scores["iou_tuned"].mean().item() >= max(mean.values())
    for other, name in ((IoU(), "iou"), (Dice(), "dice")):
        assert (other(case).scores[f"{name}_max"] >= learned(case).scores[f"{name}_tuned"] - 1e-12).all()


def test_only_films_with_a_region_and_a_usable_map_count() -> None:
    """What the other films would prefer must not show in the threshold."""
    good, other = drawn(5, films=2), drawn(77, films=4)
    maps, region = torch.cat([good.saliency, other.saliency]), torch.cat([good.region, other.region])
    content = torch.cat([good.batch.content, other.batch.content])
    maps[4, 0, 3] = torch.nan
    region[5] = False
    states = ("drawn", "drawn", "not_read", "marked_nothing", "drawn", "drawn")
    mixed = make_case(maps, region, content)
    mixed = Case(None, mixed.batch, None, maps, region, states)
    assert (
        threshold(IoUTuned().tune([mixed])) == threshold(IoUTuned().tune([good])) != threshold(IoUTuned().tune([other]))
    )


@pytest.mark.parametrize("state", ["not_read", "marked_nothing"])
def test_without_a_film_that_counts_it_cannot_be_tuned(state: str) -> None:
    case = drawn(0)
    bare = Case(None, case.batch, None, case.saliency, case.region, (state,) * 3)
    for cases in ([bare], []):
        with pytest.raises(Unfit, match="no validation film has this region"):
            IoUTuned().tune(cases)


@pytest.mark.parametrize("value", [0.0, 2.0, -3.0])
def test_a_constant_map_predicts_nothing(value: float) -> None:
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, 0] = True
    result = at(0.3)(make_case(torch.full((1, 4, 4), value), region))
    assert result.scores["iou_tuned"].item() == result.scores["dice_tuned"].item() == 0
    for name in ("iou_tuned_nonempty", "dice_tuned_nonempty"):
        assert result.scores[name].isnan().all() and result.reason(name, 0) == EMPTY
    assert result.reason("iou_tuned", 0) == Reason("note", "constant map")


def test_what_was_learned_is_state_and_not_part_of_the_spec() -> None:
    learned = IoUTuned(films=7).tune([drawn(1)])
    assert spec_of(learned) == spec_of(IoUTuned(films=7)) and learned != IoUTuned(films=7)
    assert threshold(with_state(IoUTuned(films=7), state_of(learned))) == threshold(learned)


def test_an_untuned_metric_and_no_films_are_refused() -> None:
    with pytest.raises(Unfit, match="it is not tuned; run it in a study"):
        IoUTuned()(drawn(0))
    with pytest.raises(BadInput, match="films = 0; expected 1 or more"):
        IoUTuned(films=0)


def test_the_contract_asks_an_untuned_metric_to_refuse_and_tune_to_return_a_copy() -> None:
    class Eager(IoUTuned):
        def __call__(self, case: Case) -> object:  # type: ignore[override]  # broken on purpose
            return at(0.5)(case)

    class Forgetful(IoUTuned):
        def tune(self, cases: object) -> Metric:  # type: ignore[override]  # broken on purpose
            return IoU()

    with pytest.raises(AssertionError, match="scores before it was tuned; raise Unfit"):
        check_metric(Eager())
    with pytest.raises(AssertionError, match=r"tune must return a tuned copy \(dataclasses.replace\)"):
        check_metric(Forgetful())
