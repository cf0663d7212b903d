"""Chefer's relevance: equal to a plain twin of the paper's equations, and pointing where a transformer looks."""

import pytest
import torch
from attention_cases import BRIGHT, HEADS, LooksAtBrightest, looking, peaks, small_swin
from torch import Tensor
from xai_bench_explainers.chefer_attribution import CheferAttribution, relevance

from xai_bench.classifiers.attention import read_attention
from xai_bench.classifiers.small_attention import SmallAttention
from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.testing import tiny_batch


def plain_twin(attention: Tensor, gradient: Tensor) -> Tensor:
    """Chefer et al. 2021: A = E_h((dA * A)+), R = R + A R, entry by entry for one picture (blocks, heads, t, t)."""
    blocks, heads, tokens, _ = attention.shape
    R = [[float(i == j) for j in range(tokens)] for i in range(tokens)]
    for n in range(blocks):
        A = [[0.0] * tokens for _ in range(tokens)]
        for i in range(tokens):
            for j in range(tokens):
                A[i][j] = sum(max(float(gradient[n, h, i, j] * attention[n, h, i, j]), 0) for h in range(heads)) / heads
        R = [[R[i][j] + sum(A[i][k] * R[k][j] for k in range(tokens)) for j in range(tokens)] for i in range(tokens)]
    return torch.tensor(R)


def test_equals_the_plain_twin() -> None:
    make = torch.Generator().manual_seed(0)
    attention = torch.rand(3, 2, 2, 4, 4, generator=make).softmax(-1)
    gradient = torch.randn(3, 2, 2, 4, 4, generator=make)
    found = relevance(attention, gradient)
    for i in range(2):
        torch.testing.assert_close(found[i], plain_twin(attention[:, i], gradient[:, i]))


def test_one_block_of_attention_is_attention_times_gradient() -> None:
    attention, gradient = torch.rand(1, 1, 1, 3, 3), torch.randn(1, 1, 1, 3, 3)
    expected = torch.eye(3) + (attention * gradient).clamp(min=0)[0, 0, 0]
    torch.testing.assert_close(relevance(attention, gradient)[0], expected)


def test_map_is_the_class_tokens_row() -> None:
    classifier = SmallAttention(width=4, attention_heads=2).build(HEADS, Input(Resize(32, 48)), seed=0).eval()
    batch = tiny_batch(classifier)
    maps = CheferAttribution()(classifier, batch)
    found = read_attention(classifier, batch.images, batch.targets)
    twin = plain_twin(torch.stack([w[2] for w in found.weights]), torch.stack([g[2] for g in found.gradients]))
    torch.testing.assert_close(maps[2], twin[0, 1:].reshape(4, 6), atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_points_at_the_patch_that_the_model_looks_at(prefix: int) -> None:
    assert peaks(CheferAttribution()(*looking(LooksAtBrightest(prefix)))) == BRIGHT


def test_windows_are_unfit() -> None:
    classifier = small_swin()
    with pytest.raises(Unfit, match="within windows"):
        CheferAttribution()(classifier, tiny_batch(classifier))
