"""Attention rollout: equal to a plain twin, and pointing where a hand-built transformer looks."""

import pytest
import torch
from attention_cases import BRIGHT, LooksAtBrightest, looking, peaks
from xai_bench_explainers.attention_rollout import AttentionRollout, rollout

from xai_bench.classifiers.attention import read_attention
from xai_bench.errors import BadInput, Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.registry import CLASSIFIERS
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier


@pytest.fixture(scope="module")
def transformer():
    design = CLASSIFIERS["small_attention"].factory(width=4, blocks=3, attention_heads=2)
    return design.build((Head("finding", ("a", "b", "c")),), Input(Resize(32, 48)), seed=0).eval()


def plain_twin(classifier, image, residual):
    """Abnar & Zuidema 2020, section 3: A = 0.5 W + 0.5 I, rows normalized, multiplied from the last block on."""
    found = read_attention(classifier, image[None])
    total = None
    for weights in found.weights:
        mean = sum(weights[0, head] for head in range(weights.shape[1])) / weights.shape[1]
        mixed = (1 - residual) * mean + residual * torch.eye(len(mean))
        mixed = mixed / mixed.sum(1, keepdim=True)
        total = mixed if total is None else mixed @ total
    rows, columns = found.grid
    return total[0, 1:].reshape(rows, columns)


@pytest.mark.parametrize("residual", [0.5, 0.0, 0.25])
def test_equals_the_plain_twin(transformer, residual):
    batch = tiny_batch(transformer)
    maps = AttentionRollout(residual)(transformer, batch)
    assert maps.shape == (4, 4, 6)
    for i in range(4):
        assert torch.allclose(maps[i], plain_twin(transformer, batch.images[i], residual), atol=1e-6)


def test_all_residual_sees_no_patch(transformer):
    assert not AttentionRollout(1.0)(transformer, tiny_batch(transformer)).any()


def test_rows_sum_to_one(transformer):
    found = read_attention(transformer, tiny_batch(transformer).images)
    joint = rollout(torch.stack([w.mean(1) for w in found.weights]), 0.5)
    assert torch.allclose(joint.sum(-1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_points_at_the_patch_that_the_model_looks_at(prefix):
    classifier, batch = looking(LooksAtBrightest(prefix))
    maps = AttentionRollout()(classifier, batch)
    assert peaks(maps) == BRIGHT
    assert maps.amax((1, 2)).min() > 0.45  # half of it is the residual


def test_a_cnn_is_unfit():
    classifier = tiny_classifier()
    with pytest.raises(Unfit, match="attention"):
        AttentionRollout()(classifier, tiny_batch(classifier))


def test_residual_outside_its_range():
    with pytest.raises(BadInput, match="residual is 2"):
        AttentionRollout(2.0)
