"""Gradient-weighted rollout: equal to a plain twin, and pointing where a hand-built transformer finds its evidence."""

import pytest
import torch
from attention_cases import BRIGHT, HEADS, LooksAtBrightest, looking, peaks, small_swin
from torch import Tensor
from xai_bench_explainers.gradient_attention_rollout import GradientAttentionRollout

from xai_bench.classifiers.attention import read_attention
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.small_attention import SmallAttention
from xai_bench.errors import BadInput, Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.testing import tiny_batch


@pytest.fixture(scope="module")
def transformer() -> Classifier:
    return SmallAttention(width=4, blocks=3, attention_heads=2).build(HEADS, Input(Resize(32, 48)), seed=0).eval()


def plain_twin(classifier: Classifier, image: Tensor, target: Tensor, residual: float) -> Tensor:
    """One picture, one block, one head and one token at a time."""
    found = read_attention(classifier, image[None], target[None])
    total = torch.eye(25)
    for weights, gradient in zip(found.weights, found.gradients, strict=True):
        mean = sum(weights[0, h] * gradient[0, h].clamp(min=0) for h in range(2)) / 2
        for row in range(25):
            mean[row] = mean[row] / mean[row].sum() if mean[row].sum() > 0 else torch.eye(25)[row]
        total = ((1 - residual) * mean + residual * torch.eye(25)) @ total
    return total[0, 1:].reshape(4, 6)


@pytest.mark.parametrize("residual", [0.5, 0.0, 0.25])
def test_equals_the_plain_twin(transformer: Classifier, residual: float) -> None:
    batch = tiny_batch(transformer)
    maps = GradientAttentionRollout(residual)(transformer, batch)
    for i in range(4):
        twin = plain_twin(transformer, batch.images[i], batch.targets[i], residual)
        torch.testing.assert_close(maps[i], twin, atol=1e-6, rtol=1e-3)


def test_scale_of_the_logits_does_not_matter(transformer: Classifier) -> None:
    batch = tiny_batch(transformer)
    before = GradientAttentionRollout()(transformer, batch)
    louder = SmallAttention(width=4, blocks=3, attention_heads=2).build(HEADS, Input(Resize(32, 48)), seed=0).eval()
    with torch.no_grad():
        louder.model.head.weight.mul_(1000)
    torch.testing.assert_close(GradientAttentionRollout()(louder, batch), before, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_points_at_the_patch_that_the_model_looks_at(prefix: int) -> None:
    maps = GradientAttentionRollout()(*looking(LooksAtBrightest(prefix)))
    assert peaks(maps) == BRIGHT
    assert maps.amax((1, 2)).min() > 0.45  # half of it is the residual


def test_windows_are_unfit() -> None:
    classifier = small_swin()
    with pytest.raises(Unfit, match=r"within windows.*use raw_attention or gradient_attention"):
        GradientAttentionRollout()(classifier, tiny_batch(classifier))


def test_residual_outside_its_range() -> None:
    with pytest.raises(BadInput, match="residual is -1"):
        GradientAttentionRollout(-1.0)
