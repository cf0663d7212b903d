import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from quantus_peer import quantus_scores
from xai_bench_metrics._contract import CONSTANT, NO_PIXEL, NO_SPACING
from xai_bench_metrics.pointing_game import PointingGame, near

from xai_bench.errors import BadInput


def slow_score(
    saliency: np.ndarray, region: np.ndarray, content: np.ndarray, units: tuple[float, float], tolerance: float
) -> float:
    """Word for word: of the tied maxima of the positive part, the share within the tolerance (and rounding)."""
    inside = [(r, c) for r, c in np.ndindex(saliency.shape) if content[r, c]]
    best = max(max(saliency[p], 0) for p in inside)
    peaks = [p for p in inside if max(saliency[p], 0) == best]
    drawn = [p for p in inside if region[p]]
    hits = [
        any(math.hypot((r - y) * units[0], (c - x) * units[1]) <= tolerance * (1 + 1e-6) for y, x in drawn)
        for r, c in peaks
    ]
    return sum(hits) / len(hits)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.floats(0, 8), st.floats(0.31, 3), st.floats(0.31, 3))
def test_equals_the_definition(seed: int, tolerance: float, row_mm: float, column_mm: float) -> None:
    rng = np.random.default_rng(seed)
    h, w = rng.integers(3, 9, 2)
    saliency = rng.integers(-2, 3, (2, h, w)).astype(np.float32)
    region, content = rng.random((2, h, w)) < 0.15, rng.random((2, h, w)) < 0.8
    region[:, h // 2, w // 2] = content[:, h // 2, w // 2] = True
    metric = PointingGame(tolerance_px=tolerance * 30, tolerance_mm=tolerance)
    spacing = torch.tensor([row_mm, column_mm]).double()
    result = metric(make_case(*map(torch.from_numpy, (saliency, region, content)), spacing=spacing))
    units = tuple(spacing.float().double().tolist())
    for name, pixel, reach in zip(
        metric.scores, [(1, 1), (224 / w,) * 2, units], [0, tolerance * 30, tolerance], strict=True
    ):
        for n in range(2):
            expected = slow_score(saliency[n], region[n], content[n], pixel, reach)
            assert result.scores[name][n].item() == pytest.approx(expected), name


def test_the_tolerance_reaches_further_down_than_a_narrow_picture_is_wide() -> None:
    region, saliency = torch.zeros(1, 20, 3, dtype=torch.bool), torch.zeros(1, 20, 3)
    region[0, 2, 0] = saliency[0, 17, 0] = True
    for millimeters, hit in ((15.0, 1), (14.9, 0)):
        case = make_case(saliency, region, spacing=1.0)
        assert PointingGame(tolerance_mm=millimeters)(case).scores[f"pointing_{millimeters:g}mm"].item() == hit


def test_the_tolerance_is_a_closed_euclidean_distance_in_scaled_pixels() -> None:
    region = torch.zeros(1, 448, 448, dtype=torch.bool)
    region[0, 200, 200] = True
    metric = PointingGame(tolerance_px=15.0)  # 30 pixels here
    for offset, hit in [((18, 24), 1), ((0, 30), 1), ((18, 25), 0), ((31, 0), 0)]:
        saliency = torch.zeros(1, 448, 448)
        saliency[0, 200 + offset[0], 200 + offset[1]] = 1
        assert metric(make_case(saliency, region)).scores["pointing_15px"].item() == hit


def test_a_spacing_that_is_not_exact_in_binary_still_reaches_its_last_pixel() -> None:
    region = torch.zeros(1, 1, 224, dtype=torch.bool)
    region[0, 0, 0] = True
    peaks = torch.stack([torch.zeros(224), torch.zeros(224), torch.arange(224)], 1).long()
    assert near(region, peaks, torch.full((1, 2), 0.1).double(), 15.0).nonzero().max() == 150


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 9))
def test_looking_up_peaks_and_dilating_the_region_say_the_same(seed: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    region = torch.from_numpy(rng.random((3, 9, 11)) < 0.05)
    units = torch.from_numpy(rng.uniform(0.3, 3, (3, 2)))
    units[rng.integers(3)] = torch.inf
    everywhere = torch.ones_like(region).nonzero()  # so many that the region is dilated
    dilated = near(region, everywhere, units, tolerance).view(region.shape)
    for peak in everywhere[rng.permutation(len(everywhere))[:30]]:
        assert near(region, peak[None], units, tolerance).item() == dilated[tuple(peak)].item()


def test_tied_maxima_score_their_share_of_hits() -> None:
    saliency = torch.tensor([[[5.0, 5, 5, 5, 0, 0, 0, 0]]])
    region = torch.tensor([[[True, False, False, False, False, False, False, False]]])
    result = PointingGame(tolerance_px=0.0)(make_case(saliency, region))
    assert result.scores["hit_rate"].item() == 1 / 4
    assert result.reasons[0].text == "no spacing"
    assert result.reason("hit_rate", 0) is None


def test_a_constant_map_scores_its_analytic_chance_and_is_marked() -> None:
    content = torch.ones(1, 28, 28, dtype=torch.bool)
    content[:, :, :4] = False
    region = torch.zeros_like(content)
    region[0, 10:14, 4:8] = True
    metric = PointingGame(tolerance_px=8.0, tolerance_mm=None)  # one pixel of 28
    for saliency in (torch.full((1, 28, 28), 3.0), torch.zeros(1, 28, 28), -torch.rand(1, 28, 28) - 1):
        result = metric(make_case(saliency, region, content))
        assert result.reasons == (CONSTANT,)
        assert result.scores["hit_rate"].item() == 16 / (28 * 24)
        # A plus-shaped neighborhood adds a side to each of the 4 sides, but the left one is padding.
        assert result.scores["pointing_8px"].item() == (16 + 3 * 4) / (28 * 24)


def test_a_random_map_scores_chance_within_three_standard_errors() -> None:
    generator = torch.Generator().manual_seed(0)
    draws, size = 4000, 32
    region = torch.zeros(1, size, size, dtype=torch.bool)
    region[0, 5:12, 20:30] = True
    metric = PointingGame()
    chance = metric(make_case(torch.zeros(1, size, size), region, spacing=[2.0, 3.0])).scores
    random = torch.rand(draws, size, size, generator=generator)
    found = metric(make_case(random, region.expand(draws, size, size), spacing=[2.0, 3.0])).scores
    for name, values in found.items():
        error = (chance[name] * (1 - chance[name]) / draws).sqrt()
        assert abs(values.mean() - chance[name]) < 3 * error, name


def test_the_region_itself_beats_every_control() -> None:
    generator = torch.Generator().manual_seed(1)
    size, films = 32, 20
    region = torch.zeros(films, size, size, dtype=torch.bool)
    for n in range(films):
        r, c = torch.randint(0, size - 6, (2,), generator=generator).tolist()
        region[n, r : r + 6, c : c + 4] = True
    at = torch.arange(size) - (size - 1) / 2
    center = torch.exp(-(at[:, None] ** 2 + at**2) / 50).expand(films, size, size)
    controls = [
        torch.rand(films, size, size, generator=generator),
        center,
        torch.zeros(films, size, size),
        region.roll(1, 0).float(),
    ]
    metric = PointingGame(tolerance_px=0.0, tolerance_mm=None)
    oracle = metric(make_case(region.float(), region)).scores["hit_rate"]
    assert oracle.eq(1).all()
    assert all(metric(make_case(control, region)).scores["hit_rate"].mean() < 0.9 for control in controls)


def test_without_spacing_only_the_millimeter_score_is_missing() -> None:
    region = torch.ones(3, 2, 2, dtype=torch.bool)
    spacing = [[1.0, 1.0], [float("nan"), float("nan")], [0.0, 1.0]]
    result = PointingGame()(make_case(torch.rand(3, 2, 2), region, spacing=spacing))
    assert [result.reason("pointing_10mm", n) for n in range(3)] == [None, NO_SPACING, NO_SPACING]
    assert result.scores["pointing_10mm"].isnan().tolist() == [False, True, True]
    assert result.scores["hit_rate"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_distance_is_refused(value: float) -> None:
    with pytest.raises(BadInput, match="tolerance"):
        PointingGame(tolerance_px=value)


PEER = ("pointing_game", "PointingGame")


def hit_rates(saliency: np.ndarray, region: np.ndarray) -> list[float]:
    return PointingGame()(make_case(torch.from_numpy(saliency), torch.from_numpy(region))).scores["hit_rate"].tolist()


def test_quantus_agrees_where_the_peak_is_single_and_the_region_is_not_empty() -> None:
    rng = np.random.default_rng(2)
    saliency, region = rng.random((8, 6, 6)).astype(np.float32), rng.random((8, 6, 6)) < 0.4
    assert hit_rates(saliency, region) == quantus_scores(*PEER, saliency, region)


def test_f1_quantus_counts_an_empty_region_as_a_hit_and_we_exclude_it() -> None:
    saliency, region = np.random.default_rng(3).random((1, 4, 4)).astype(np.float32), np.zeros((1, 4, 4), bool)
    result = PointingGame()(make_case(torch.from_numpy(saliency), torch.from_numpy(region)))
    assert result.scores["hit_rate"].isnan().all()
    assert result.reasons == (NO_PIXEL,)
    assert quantus_scores(*PEER, saliency, region) == [1]


def test_f2_quantus_gives_a_constant_map_a_hit_and_we_give_it_its_share_of_the_area() -> None:
    saliency, region = np.ones((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool)
    region[0, 0, 0] = True
    assert hit_rates(saliency, region) == [1 / 16]
    assert quantus_scores(*PEER, saliency, region) == [1]


@pytest.mark.parametrize("films", [1, 2])
def test_f3_quantus_raises_or_loses_the_weight_of_the_area_and_ours_is_hit_rate_minus_chance(films: int) -> None:
    """Its `weighted` is meant to give a hit 1 - |m| / n: our score of the map minus that of a constant one."""
    saliency, region = np.zeros((films, 4, 4), np.float32), np.zeros((films, 4, 4), bool)
    saliency[:, 1, 1], region[:, 1] = 1, True
    weights = np.subtract(hit_rates(saliency, region), hit_rates(np.zeros_like(saliency), region))
    assert weights.tolist() == [1 - 4 / 16] * films
    try:
        found = quantus_scores(*PEER, saliency, region, weighted=True)
    except (TypeError, ValueError):  # by the version of NumPy
        return
    assert found == [1] * films
