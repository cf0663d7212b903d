from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from quantus_peer import quantus_scores
from skimage.filters import threshold_otsu
from xai_bench_metrics._contract import BAD_MAP, CONSTANT
from xai_bench_metrics._localization import EMPTY
from xai_bench_metrics.iou import IoU

from xai_bench.protocols import Reason


def slow_matched(saliency: np.ndarray, region: np.ndarray) -> float:
    """Word for word: sort the positive part, take the first |m|, and average the IoU over every order of the pixels."""
    values, m = np.maximum(saliency, 0), set(np.flatnonzero(region))
    found = []
    for order in permutations(range(len(values))):
        top = set(sorted(order, key=lambda p: -values[p])[: len(m)])  # a stable sort keeps the order of tied pixels
        found.append(len(top & m) / len(top | m))
    return float(np.mean(found))


def slow_iou(predicted: np.ndarray, region: np.ndarray) -> float:
    """Word for word: |P and m| / |P or m|."""
    return float((predicted & region).sum() / (predicted | region).sum())


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_matched_area_is_the_expectation_over_all_orders_of_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    saliency, region = rng.integers(-2, 3, 6).astype(np.float32), rng.random(6) < 0.5
    region[0] = True
    found = IoU()(make_case(torch.from_numpy(saliency).view(1, 2, 3), torch.from_numpy(region).view(1, 2, 3)))
    assert found.scores["iou_matched"].item() == pytest.approx(slow_matched(saliency, region))


def test_the_published_example_is_the_expectation_of_the_ratio_not_the_ratio_of_expectations() -> None:
    region = torch.zeros(1, 7, 7, dtype=torch.bool)
    region[0, 0, :6] = True
    result = IoU()(make_case(torch.ones(1, 7, 7), region))
    assert result.scores["iou_matched"].item() == pytest.approx(0.0704, abs=5e-5)
    expected = 6 * 6 / 49
    assert expected / (12 - expected) == pytest.approx(0.0652, abs=5e-5)


def test_large_tie_groups_stay_exact() -> None:
    """Half of the pixels tie at the top, the region is a quarter of the film: i is hypergeometric(n/2, n/8, n/4)."""
    size = 224
    saliency, region = torch.zeros(1, size, size), torch.zeros(1, size, size, dtype=torch.bool)
    saliency[:, : size // 2] = 1
    region[:, size // 4 : 3 * size // 4, : size // 2] = True
    n = size * size
    rng = np.random.default_rng(0)
    drawn = rng.hypergeometric(n // 8, n // 2 - n // 8, n // 4, 200_000)
    values = drawn / (n // 2 - drawn)
    found = IoU()(make_case(saliency, region)).scores["iou_matched"].item()
    assert found == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(len(values)))


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0.0, 8.0]))
def test_otsu_is_that_of_scikit_image_on_the_positive_part_inside_content(
    seed: int, bimodal: bool, least: float
) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(0.5, 1, (3, 12, 9))
    if bimodal:
        maps = np.where(rng.random(maps.shape) < 0.3, 5 + 0.01 * maps, 0.01 * maps)
    maps = (maps + least).astype(np.float32)  # also without a zero
    content, region = rng.random(maps.shape) < 0.8, rng.random(maps.shape) < 0.3
    region[:, 0, 0] = content[:, 0, 0] = True
    found = IoU()(make_case(*map(torch.from_numpy, (maps, region, content)))).scores["iou_otsu"]
    for n in range(3):
        positive = np.maximum(maps[n], 0).astype(np.float64)
        predicted = (positive > threshold_otsu(positive[content[n]])) & content[n]
        assert found[n].item() == slow_iou(predicted, region[n] & content[n])


@given(st.integers(0, 10_000), st.booleans())
def test_the_best_threshold_is_the_best_of_all_values_of_the_map(seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    maps, content, region = rng.normal(0.3, 1, (3, 6, 9)), rng.random((3, 6, 9)) < 0.8, rng.random((3, 6, 9)) < 0.3
    maps = (np.round(2 * maps) if tied else maps).astype(np.float32)
    region[:, 0, 0] = content[:, 0, 0] = True
    found = IoU()(make_case(*map(torch.from_numpy, (maps, region, content)))).scores
    for n in range(3):
        positive = np.maximum(maps[n], 0)
        cuts = [(positive > value) & content[n] for value in np.unique(positive[content[n]])]
        assert found["iou_max"][n].item() == pytest.approx(max(slow_iou(cut, region[n] & content[n]) for cut in cuts))
    assert (found["iou_max"] >= found["iou_otsu"] - 1e-12).all()


def test_otsu_may_divide_the_last_two_bins() -> None:
    """One pixel far below, the others in two neighboring bins: there are so many that these are divided."""
    saliency = torch.full((1, 600, 600), 254.5)
    saliency[0, :300], saliency[0, 0, 0] = 256, 0
    flat = saliency.flatten().double().numpy()
    region = saliency > threshold_otsu(flat)
    assert region.sum() == 300 * 600 - 1
    assert IoU()(make_case(saliency, region)).scores["iou_otsu"].item() == 1


def test_otsu_scores_are_the_plain_ratio_of_pixel_counts() -> None:
    saliency = torch.tensor([[[9.0, 9, 9, 1, 0, 0, -5, 0]]])
    region = torch.tensor([[[False, True, True, True, True, False, False, False]]])
    result = IoU()(make_case(saliency, region))
    assert result.scores["iou_otsu"].item() == result.scores["iou_otsu_nonempty"].item() == 2 / 5
    assert result.reasons == (None,)


@pytest.mark.parametrize("value", [0.0, 2.0, -3.0])
def test_an_empty_prediction_is_zero_in_one_slice_and_excluded_from_the_other(value: float) -> None:
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, 0] = True
    result = IoU()(make_case(torch.full((1, 4, 4), value), region))
    assert result.scores["iou_otsu"].item() == result.scores["iou_max"].item() == 0
    assert result.reason("iou_otsu", 0) == CONSTANT
    assert result.scores["iou_otsu_nonempty"].isnan().all()
    assert result.reason("iou_otsu_nonempty", 0) == EMPTY
    assert result.reasons == (Reason("note", "constant map; empty prediction"),)


@given(st.integers(0, 10_000), st.sampled_from([0.5, 2.0, 1024.0]))
def test_scale_and_padding_change_nothing(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps, region = torch.randn(2, 6, 8, generator=generator), torch.rand(2, 6, 8, generator=generator) < 0.3
    content = torch.ones(2, 6, 8, dtype=torch.bool)
    content[:, :, 6:] = False
    region[:, 0, 0] = True
    plain = IoU()(make_case(maps, region, content)).scores
    moved = IoU()(make_case(scale * maps + 1000 * ~content, region | ~content, content)).scores
    for name in plain:
        assert torch.equal(plain[name], moved[name])


def test_the_region_itself_is_perfect_and_beats_every_control() -> None:
    generator = torch.Generator().manual_seed(1)
    region = torch.rand(12, 16, 16, generator=generator) < 0.2
    oracle = IoU()(make_case(region.float(), region)).scores
    assert all(values.eq(1).all() for values in oracle.values())
    for control in (torch.rand(12, 16, 16, generator=generator), region.roll(1, 0).float(), torch.zeros(12, 16, 16)):
        found = IoU()(make_case(control, region)).scores
        assert (found["iou_matched"] < 0.9).all()
        assert (found["iou_otsu"] < 0.9).all()


def test_f14_one_nan_pixel_raises_quantus_top_k_and_makes_our_score_invalid() -> None:
    saliency = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    region = saliency >= 14
    saliency[0, 0, 0] = 99  # the largest pixel lies outside
    before = quantus_scores("top_k_intersection", "TopKIntersection", saliency, region, k=2)
    saliency[0, 0, 0] = np.nan
    after = quantus_scores("top_k_intersection", "TopKIntersection", saliency, region, k=2)
    assert (before, after) == ([0.5], [1.0])
    result = IoU()(make_case(torch.from_numpy(saliency), torch.from_numpy(region)))
    assert result.reasons == (BAD_MAP,)
    assert result.scores["iou_matched"].isnan().all()
