"""Gradient-weighted attention: equal to a plain twin, and pointing where a hand-built transformer finds evidence."""

import pytest
import torch
from attention_cases import BRIGHT, HEADS, LooksAtBrightest, WindowsLookAtBrightest, looking, peaks, small_swin
from xai_bench_explainers.gradient_attention import GradientAttention

from xai_bench.classifiers.attention import read_attention
from xai_bench.classifiers.small_attention import SmallAttention
from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.testing import check_explainer, tiny_batch


def test_is_attention_times_positive_gradient_of_the_last_block() -> None:
    classifier = SmallAttention(width=4, attention_heads=2).build(HEADS, Input(Resize(32, 48)), seed=0).eval()
    batch = tiny_batch(classifier)
    found = read_attention(classifier, batch.images, batch.targets)
    maps = GradientAttention()(classifier, batch)
    for i in range(4):
        parts = [found.weights[-1][i, h, 0, 1:] * found.gradients[-1][i, h, 0, 1:].clamp(min=0) for h in range(2)]
        torch.testing.assert_close(maps[i].flatten(), (parts[0] + parts[1]) / 2)


@pytest.mark.parametrize("model", [LooksAtBrightest(0), LooksAtBrightest(1), LooksAtBrightest(2)])
def test_points_at_the_patch_that_the_model_looks_at(model: LooksAtBrightest) -> None:
    """The logit is the attended brightness: the product is weight times brightness, shared by the read tokens."""
    maps = GradientAttention()(*looking(model))
    assert peaks(maps) == BRIGHT
    torch.testing.assert_close(maps.amax((1, 2)), torch.full((2,), 0.9 / (model.prefix or 24)), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("shift", [0, 1])
def test_points_at_the_patch_that_a_window_looks_at(shift: int) -> None:
    classifier, batch = looking(WindowsLookAtBrightest(shift))
    assert peaks(GradientAttention()(classifier, batch)) == BRIGHT


def test_what_speaks_against_the_target_has_nothing() -> None:
    classifier, batch = looking(LooksAtBrightest(1))
    with torch.no_grad():
        classifier.model.attention.out_proj.weight[1] = torch.tensor([0.0, -1.0])  # brightness lowers the logit
    assert not GradientAttention()(classifier, batch).any()


def test_keeps_the_contract_on_shifted_windows() -> None:
    check_explainer(GradientAttention(), small_swin())


def test_a_classifier_without_gradients_is_unfit() -> None:
    classifier, batch = looking(LooksAtBrightest(1))
    classifier.differentiable = False
    with pytest.raises(Unfit, match="has none"):
        GradientAttention()(classifier, batch)
