from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from skimage.filters import threshold_otsu
from xai_bench_metrics._contract import CONSTANT
from xai_bench_metrics._localization import EMPTY
from xai_bench_metrics.dice import Dice
from xai_bench_metrics.iou import IoU
from xai_bench_metrics.pixel_ranking import PixelRanking


def slow_dice(predicted: set[int], region: set[int]) -> float:
    """Word for word: 2 |P and m| / (|P| + |m|)."""
    return 2 * len(predicted & region) / (len(predicted) + len(region))


def slow_matched(saliency: np.ndarray, region: np.ndarray) -> float:
    """Word for word: sort the positive part, take the first |m|, average Dice over every order of the pixels."""
    values, m = np.maximum(saliency, 0), set(np.flatnonzero(region))
    orders = permutations(range(len(values)))
    tops = (set(sorted(order, key=lambda p: -values[p])[: len(m)]) for order in orders)
    return float(np.mean([slow_dice(top, m) for top in tops]))


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_matched_area_is_the_expectation_over_all_orders_of_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    saliency, region = rng.integers(-2, 3, 6).astype(np.float32), rng.random(6) < 0.5
    region[0] = True
    found = Dice()(make_case(torch.from_numpy(saliency).view(1, 2, 3), torch.from_numpy(region).view(1, 2, 3)))
    assert found.scores["dice_matched"].item() == pytest.approx(slow_matched(saliency, region))


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.booleans())
def test_otsu_and_the_best_threshold_equal_the_definition(seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    maps, region, content = rng.normal(0.5, 1, (3, 8, 7)), rng.random((3, 8, 7)) < 0.3, rng.random((3, 8, 7)) < 0.8
    maps = (np.round(2 * maps) if tied else maps).astype(np.float32)
    region[:, 0, 0] = content[:, 0, 0] = True
    found = Dice()(make_case(*map(torch.from_numpy, (maps, region, content)))).scores
    for n in range(3):
        values = np.maximum(maps[n], 0).astype(np.float64)
        inside, m = values[content[n]], set(np.flatnonzero(region[n] & content[n]))
        cuts = [set(np.flatnonzero((values > t) & content[n])) for t in [threshold_otsu(inside), *np.unique(inside)]]
        assert found["dice_otsu"][n].item() == found["dice_otsu_nonempty"][n].item() == slow_dice(cuts[0], m)
        assert found["dice_max"][n].item() == pytest.approx(max(slow_dice(cut, m) for cut in cuts[1:]))


@given(st.integers(0, 10_000))
def test_it_is_the_same_order_as_iou_and_the_matched_one_is_relevance_rank(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps, region = torch.rand(3, 6, 7, generator=generator), torch.rand(3, 6, 7, generator=generator) < 0.4
    region[:, 0, 0] = True
    case = make_case(maps, region)
    dice, iou, rank = (metric(case).scores for metric in (Dice(), IoU(), PixelRanking()))
    for kind in ("otsu", "max", "matched"):  # without ties, matched is one number of pixels as well
        assert torch.allclose(dice[f"dice_{kind}"], 2 * iou[f"iou_{kind}"] / (1 + iou[f"iou_{kind}"]))
    assert torch.equal(dice["dice_matched"], rank["relevance_rank"])


@pytest.mark.parametrize("value", [0.0, 2.0, -3.0])
def test_a_constant_map_predicts_nothing_and_scores_chance_at_matched_area(value: float) -> None:
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, 0] = True
    result = Dice()(make_case(torch.full((1, 4, 4), value), region))
    assert result.scores["dice_matched"].item() == 4 / 16
    assert result.scores["dice_otsu"].item() == result.scores["dice_max"].item() == 0
    assert result.reason("dice_max", 0) == CONSTANT
    assert result.scores["dice_otsu_nonempty"].isnan().all()
    assert result.reason("dice_otsu_nonempty", 0) == EMPTY


def test_the_region_itself_is_perfect_and_beats_every_control() -> None:
    generator = torch.Generator().manual_seed(1)
    region = torch.rand(12, 16, 16, generator=generator) < 0.2
    assert all(values.eq(1).all() for values in Dice()(make_case(region.float(), region)).scores.values())
    for control in (torch.rand(12, 16, 16, generator=generator), region.roll(1, 0).float(), torch.zeros(12, 16, 16)):
        found = Dice()(make_case(control, region)).scores
        assert all((found[name].nan_to_num(0) < 0.9).all() for name in found)
