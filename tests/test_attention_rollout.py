"""Attention rollout: equal to a plain twin, and pointing where a hand-built transformer looks."""

import pytest
import torch
from torch import nn
from xai_bench_explainers.attention_rollout import AttentionRollout, rollout

from xai_bench.classifiers.attention import read_attention
from xai_bench.classifiers.classifier import Classifier
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


class LooksAtBrightest(nn.Module):
    """Patches of 8 x 8; tokens are (is class token, brightness); every token attends to the brightest patch."""

    def __init__(self, class_token):
        super().__init__()
        self.patches = nn.Conv2d(1, 1, 8, stride=8)
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True, bias=False)
        self.class_token = class_token
        with torch.no_grad():
            self.patches.weight.fill_(1 / 64)
            self.patches.bias.zero_()
            query, key, value = torch.tensor([[30.0, 30], [0, 0]]), torch.tensor([[0.0, 1], [0, 0]]), torch.eye(2)
            self.attention.in_proj_weight.copy_(torch.cat([query, key, value]))

    def forward(self, x):
        brightness = self.patches(x).flatten(1)
        tokens = torch.stack([torch.zeros_like(brightness) + 1, brightness], 2)
        if self.class_token:
            tokens = torch.cat([torch.tensor([[[1.0, 0.0]]]).expand(len(x), -1, -1), tokens], 1)
        seen = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return seen[:, 0] if self.class_token else seen.mean(1)


@pytest.mark.parametrize("class_token", [True, False])
def test_points_at_the_patch_that_the_model_looks_at(class_token):
    classifier = Classifier(
        LooksAtBrightest(class_token), [Head("finding", ("a", "b"))], reader=Input(Resize(32, 48))
    ).eval()
    batch = tiny_batch(classifier, count=2)
    batch.images[:] = 0.1
    batch.images[0, :, 8:16, 32:40] = 0.9  # patch (1, 4)
    batch.images[1, :, 24:32, 0:8] = 0.9  # patch (3, 0)
    maps = AttentionRollout()(classifier, batch)
    assert [divmod(m.argmax().item(), 6) for m in maps] == [(1, 4), (3, 0)]
    assert maps.amax((1, 2)).min() > 0.45  # half of it is the residual


def test_a_cnn_is_unfit():
    classifier = tiny_classifier()
    with pytest.raises(Unfit, match="attention"):
        AttentionRollout()(classifier, tiny_batch(classifier))


def test_residual_outside_its_range():
    with pytest.raises(BadInput, match="residual is 2"):
        AttentionRollout(2.0)
