import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metric_cases import make_case
from quantus_peer import quantus_scores
from xai_bench_metrics._contract import CONSTANT
from xai_bench_metrics.relevance_mass import RelevanceMass

from xai_bench.protocols import Result


def score(saliency: torch.Tensor, region: torch.Tensor, content: torch.Tensor | None = None) -> Result:
    return RelevanceMass()(make_case(saliency, region, content))


def slow_mass(saliency: np.ndarray, region: np.ndarray, content: np.ndarray) -> float:
    """Word for word: sum of a+ in m / sum of a+, inside content."""
    inside = total = 0.0
    for p in np.ndindex(saliency.shape):
        if content[p] and saliency[p] > 0:
            total += float(saliency[p])
            inside += float(saliency[p]) if region[p] else 0.0
    return inside / total


@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0, 1e-3]))
def test_equals_the_definition_at_any_scale(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    saliency = rng.normal(size=(3, 5, 7)).astype(np.float32)
    region, content = rng.random((3, 5, 7)) < 0.4, rng.random((3, 5, 7)) < 0.8
    region[:, 0, 0] = content[:, 0, 0] = True
    saliency[:, 0, 0] = 1
    found = score(scale * torch.from_numpy(saliency), torch.from_numpy(region), torch.from_numpy(content)).scores[
        "relevance_mass"
    ]
    expected = [slow_mass(*parts) for parts in zip(saliency, region, content, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, 4.0])
def test_a_map_without_a_preference_scores_the_area_fraction_and_is_marked(value: float) -> None:
    content = torch.ones(1, 4, 8, dtype=torch.bool)
    content[:, :, 4:] = False
    region = torch.zeros_like(content)
    region[0, 0] = True
    result = score(torch.full((1, 4, 8), value), region, content)
    assert result.scores["relevance_mass"].item() == 4 / 16
    assert result.reasons == (CONSTANT,)


def test_the_region_itself_is_perfect_and_beats_every_control() -> None:
    generator = torch.Generator().manual_seed(0)
    region = torch.rand(10, 12, 12, generator=generator) < 0.2
    assert score(region.float(), region).scores["relevance_mass"].eq(1).all()
    for control in (torch.rand(10, 12, 12, generator=generator), region.roll(1, 0).float(), torch.zeros(10, 12, 12)):
        assert (score(control, region).scores["relevance_mass"] < 0.6).all()


def test_f5_quantus_weighs_by_the_batch_and_our_scores_are_those_of_the_picture_alone() -> None:
    """Its `weighted` attribution localization divides by the size of all pictures but two: infinite for up to two."""
    rng = np.random.default_rng(4)
    saliency, region = rng.random((6, 4, 4)).astype(np.float32), rng.random((6, 4, 4)) < 0.4
    peer = ("attribution_localisation", "AttributionLocalisation")
    together = quantus_scores(*peer, saliency, region, weighted=True)
    assert quantus_scores(*peer, saliency[:2], region[:2], weighted=True) == [np.inf] * 2
    assert quantus_scores(*peer, saliency[:3], region[:3], weighted=True) == pytest.approx(
        [4 * x for x in together[:3]]
    )
    for maps in (saliency, np.zeros_like(saliency)):  # the shares of relevance, and of the area
        all_six = score(torch.from_numpy(maps), torch.from_numpy(region)).scores["relevance_mass"]
        for count in (1, 2, 3):
            few = score(torch.from_numpy(maps[:count]), torch.from_numpy(region[:count])).scores["relevance_mass"]
            assert torch.equal(few, all_six[:count])
    assert all_six.tolist() == region.mean((1, 2)).tolist()


def test_f6_quantus_divides_signed_sums_and_leaves_the_unit_interval() -> None:
    saliency, region = np.array([[[4.0, -3.9, 0.1, 0.1]]], np.float32), np.array([[[True, False, False, False]]])
    peer = ("relevance_mass_accuracy", "RelevanceMassAccuracy")
    found = score(torch.from_numpy(saliency), torch.from_numpy(region)).scores["relevance_mass"].item()
    assert found == pytest.approx(4 / 4.2)
    assert quantus_scores(*peer, saliency, region)[0] > 10
    assert quantus_scores(*peer, np.maximum(saliency, 0), region) == [pytest.approx(found)]
