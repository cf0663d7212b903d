import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metric_cases import make_case
from skimage.measure import label
from xai_bench_metrics._contract import BAD_MAP, CONSTANT
from xai_bench_metrics.complexity import ZERO_NORM, Blobs, Complexity

from xai_bench.protocols import Result


def score(maps: torch.Tensor, content: torch.Tensor | None = None) -> Result:
    return Complexity()(make_case(maps, None, content))


def blobs(maps: torch.Tensor, content: torch.Tensor | None = None) -> list[float]:
    return Blobs()(make_case(maps, None, content)).scores["blobs"].tolist()


def slow_scores(values: np.ndarray) -> dict[str, float]:
    """Word for word: half the mean difference of two pixels over the mean; Shannon's sum; and its effective number."""
    n, total = len(values), sum(values)
    gini = sum(abs(x - y) for x in values for y in values) / (2 * n * total)
    entropy = -sum(v / total * math.log(v / total) for v in values if v > 0)
    return {"gini": gini, "entropy": entropy / math.log(n), "effective_area": math.exp(entropy) / n}


def slow_blobs(above: np.ndarray) -> int:
    """Word for word: take a pixel that is left, and with it all that touch it or its company; count the takings."""
    left, count = {tuple(p) for p in np.argwhere(above)}, 0
    while left:
        waiting, count = [left.pop()], count + 1
        while waiting:
            r, c = waiting.pop()
            touching = {(r + y, c + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= touching
            waiting += touching
    return count


@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0, 1e-3]))
def test_equals_the_definition_at_any_scale(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    maps, content = rng.normal(size=(2, 4, 5)).astype(np.float32).round(1), rng.random((2, 4, 5)) < 0.8
    maps[:, 0, 0] = 1
    content[:, 0, :2] = True
    found = score(scale * torch.from_numpy(maps), torch.from_numpy(content)).scores
    for n in range(2):
        for name, expected in slow_scores(np.abs(maps[n][content[n]]).astype(np.float64)).items():
            assert found[name][n].item() == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize("covered", [1, 7, 40])
def test_an_even_map_over_some_pixels_has_the_analytic_values(covered: int) -> None:
    maps = torch.zeros(40)
    maps[:covered] = torch.tensor([-3.0, 3.0]).repeat(20)[:covered]
    found = score(maps[torch.randperm(40, generator=torch.Generator().manual_seed(0))].view(1, 5, 8)).scores
    assert found["gini"].item() == pytest.approx(1 - covered / 40)
    assert found["entropy"].item() == pytest.approx(math.log(covered) / math.log(40))
    assert found["effective_area"].item() == pytest.approx(covered / 40)


@given(st.integers(0, 10_000))
def test_a_sharper_map_is_sparser(seed: int) -> None:
    maps = torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(seed)) + 0.01
    soft, sharp = score(maps).scores, score(maps**3).scores
    assert sharp["gini"] > soft["gini"]
    assert sharp["entropy"] < soft["entropy"]
    assert sharp["effective_area"] < soft["effective_area"]


@pytest.mark.parametrize("value", [2.0, -2.0])
def test_a_constant_map_is_even_and_marked(value: float) -> None:
    content = torch.ones(2, 4, 4, dtype=torch.bool)
    content[0, :, 2:] = False
    content[1] = False
    content[1, 3, 3] = True  # a film of one pixel, too
    result = score(torch.full((2, 4, 4), value), content)
    assert result.reasons == (CONSTANT, CONSTANT)
    assert result.scores["gini"].tolist() == [0, 0]
    assert result.scores["entropy"].tolist() == [1, 1]
    assert result.scores["effective_area"].tolist() == pytest.approx([1, 1])


def test_constant_means_that_of_the_absolute_map() -> None:
    assert score(torch.tensor([[[1.0, -1.0]]])).reasons == (CONSTANT,)


def test_a_map_of_zeros_has_no_norm_and_no_blob_and_a_broken_one_is_invalid() -> None:
    maps = torch.rand(3, 4, 4)
    maps[0], maps[1, 2, 2] = 0, float("nan")
    result = score(maps)
    assert result.reasons == (ZERO_NORM, BAD_MAP, None)
    assert all(values.isnan().tolist() == [True, True, False] for values in result.scores.values())
    result = Blobs()(make_case(maps, None))
    assert result.reasons == (CONSTANT, BAD_MAP, None)
    assert result.scores["blobs"].isnan().tolist() == [False, True, False]
    assert result.scores["blobs"][0] == 0


def test_quantus_agrees_on_sparseness_and_on_complexity_in_nats() -> None:
    from quantus.metrics.complexity.complexity import Complexity as Entropy
    from quantus.metrics.complexity.sparseness import Sparseness

    maps = np.abs(np.random.default_rng(1).normal(size=(4, 6, 7)))
    found = score(torch.from_numpy(maps).float()).scores
    blank = np.zeros_like(maps)
    peer = Sparseness(disable_warnings=True).evaluate_batch(x_batch=blank, a_batch=maps.copy())
    assert found["gini"].tolist() == pytest.approx(list(peer), abs=1e-5)  # it adds 1e-7 to every pixel
    peer = Entropy(disable_warnings=True).evaluate_batch(x_batch=blank, a_batch=maps.reshape(4, -1).copy())
    assert (found["entropy"] * math.log(42)).tolist() == pytest.approx(list(peer), abs=1e-6)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0, 1e-30]))
def test_blobs_are_those_of_a_flood_and_of_scikit_image(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    maps, content = rng.integers(-9, 10, (3, 6, 9)).astype(np.float32), rng.random((3, 6, 9)) < 0.7
    found = blobs(scale * torch.from_numpy(maps), torch.from_numpy(content))
    positive = np.where(content, np.maximum((np.float32(scale) * maps).astype(np.float64), 0), 0)
    above = positive > positive.max((1, 2), keepdims=True) / 2
    assert found == [slow_blobs(mask) for mask in above] == [label(mask, connectivity=2).max() for mask in above]


def test_blobs_touch_by_a_corner_and_lie_above_the_half() -> None:
    corner = torch.zeros(4, 4)
    corner[0, 0] = corner[1, 1] = corner[3, 3] = 2.0
    half = corner.clone()
    half[3, 3] = 1.0  # not above
    assert blobs(torch.stack([corner, half, -corner, torch.ones(4, 4)])) == [2, 1, 0, 1]


def test_two_hot_spots_are_one_blob_once_they_merge() -> None:
    at = torch.arange(40.0)
    spots = [torch.exp(-((at - 20 + gap) ** 2) / 18) + torch.exp(-((at - 20 - gap) ** 2) / 18) for gap in (2, 9)]
    assert blobs(torch.stack([side[:, None] * side for side in spots])) == [1, 4]
