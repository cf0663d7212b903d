"""Attention computed openly equals torch's own, is part of the graph, and nothing of it stays."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xai_bench.classifiers._recorder import Recorder


def heads(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.3},
        {"is_causal": True},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril(1)},
        {"attn_mask": torch.arange(25.0).view(5, 5) / 10},
        {"dropout_p": 0.0},
    ],
)
def test_fused_attention_is_computed_as_torch_does(options: dict[str, object]) -> None:
    query, key, value = heads(2, 4, 5, 3), heads(2, 4, 5, 3) * 2, heads(2, 4, 5, 6)
    expected = F.scaled_dot_product_attention(query, key, value, **options)
    with Recorder() as recorder:
        found = F.scaled_dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(recorder.seen[0].weights @ value, expected, atol=1e-6, rtol=1e-5)


def test_grouped_heads_share_keys_and_values() -> None:
    query, key, value = heads(2, 4, 5, 3), heads(2, 2, 5, 3), heads(2, 2, 5, 3)
    expected = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    with Recorder():
        found = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_torchs_multi_head_attention_returns_what_it_returned(asked: bool, average: bool, masked: bool) -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=masked).eval()
    x = heads(3, 5, 8)
    options = {"need_weights": asked, "average_attn_weights": average}
    if masked:
        options["key_padding_mask"] = torch.tensor([[False] * 4 + [True]] * 3)
    expected = attention(x, x, x, **options)
    with Recorder() as recorder:
        found = attention(x, x, x, **options)
    assert len(recorder.seen) == 1
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert (found[1] is None) == (not asked)


@pytest.mark.parametrize(
    "softmax",
    [lambda x: x.softmax(-1), lambda x: F.softmax(x, dim=-1), lambda x: torch.softmax(x, 3), nn.Softmax(dim=-1)],
)
def test_every_way_to_write_a_softmax_is_seen_once(softmax: object) -> None:
    scores = heads(2, 4, 5, 5)
    with Recorder() as recorder:
        found = softmax(scores)
    assert [s.weights is found for s in recorder.seen] == [True]


def test_other_softmaxes_are_not_attention() -> None:
    with Recorder() as recorder:
        heads(2, 5, 5).softmax(-1)
        heads(2, 4, 5, 5).softmax(1)
        F.softmax(heads(2, 3), dim=-1)
    assert not recorder.seen


def test_weights_are_in_the_graph_and_nothing_before_them_is() -> None:
    attention = nn.MultiheadAttention(4, 1, batch_first=True).requires_grad_(False).eval()
    x = heads(1, 3, 4)
    with Recorder() as recorder:
        once = attention(x, x, x, need_weights=False)[0]
        twice = attention(once, once, once, need_weights=True)[0]
    first, second = (s.weights for s in recorder.seen)
    assert first.is_leaf
    assert not second.is_leaf
    slopes = torch.autograd.grad(twice.sum(), [first, second])
    for weights, slope in zip((first, second), slopes, strict=True):
        assert slope.shape == weights.shape
        assert slope.any()
    assert all(p.grad is None for p in attention.parameters())


def test_gradient_is_the_values_of_a_single_attention() -> None:
    query, value = heads(1, 1, 3, 2), heads(1, 1, 3, 2)
    with Recorder() as recorder:
        out = F.scaled_dot_product_attention(query, query, value)
    (slope,) = torch.autograd.grad(out[0, 0, 1].sum(), recorder.seen[0].weights)
    expected = torch.zeros(1, 1, 3, 3)
    expected[0, 0, 1] = value[0, 0].sum(1)
    torch.testing.assert_close(slope, expected)


def test_torch_is_as_before_after_an_exception() -> None:
    class Stop(Exception):
        pass

    recorder = Recorder()
    with pytest.raises(Stop), recorder:
        raise Stop
    heads(2, 4, 5, 5).softmax(-1)
    attention = nn.MultiheadAttention(4, 1, batch_first=True).eval()
    with pytest.raises(Stop), recorder:
        attention.out_proj.register_forward_hook(lambda *_: None)
        attention(heads(1, 3, 4), heads(1, 3, 4), heads(1, 3, 4))
        raise Stop
    assert len(recorder.seen) == 1
    heads(2, 4, 5, 5).softmax(-1)
    assert len(recorder.seen) == 1


def test_other_threads_are_not_recorded() -> None:
    with Recorder() as recorder, ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: heads(2, 4, 5, 5).softmax(-1)).result()
        heads(2, 4, 3, 3).softmax(-1)
    assert [tuple(s.weights.shape) for s in recorder.seen] == [(2, 4, 3, 3)]
