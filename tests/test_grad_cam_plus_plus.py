"""Grad-CAM++: equal to the paper's derivatives of exp(logit), and to pytorch-grad-cam where gradients are large."""

import pytest
import torch
from cam_cases import MODELS, bright, no_inplace, patches_batch
from cam_peer import close, raw_map
from torch import nn
from xai_bench_explainers.grad_cam_plus_plus import GradCAMPlusPlus

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.layers import last_layers
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier


def louder(classifier, factor):
    """Logits and gradients times a factor."""
    with torch.no_grad():
        for layer in last_layers(classifier.model).values():
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
    return classifier


@pytest.mark.parametrize(("make", "reshape"), MODELS.values(), ids=list(MODELS))
def test_equal_to_pytorch_grad_cam_where_its_epsilon_is_small(make, reshape):
    classifier = louder(make(), 100)
    batch = tiny_batch(classifier)
    theirs = raw_map("GradCAMPlusPlus", classifier, batch, reshape).clamp(min=0)
    assert close(GradCAMPlusPlus()(classifier, batch), theirs)


def test_small_gradients_do_not_fade_as_they_do_in_pytorch_grad_cam():
    """A map of many places divides the logit's gradient by their number; the formula has no scale of its own there."""
    classifier = louder(no_inplace(tiny_classifier(seed=3)), 1e-3)
    batch = tiny_batch(classifier)
    ours, theirs = GradCAMPlusPlus()(classifier, batch), raw_map("GradCAMPlusPlus", classifier, batch)
    assert ours.max() > 0 and theirs.max() < 0.1 * ours.max()
    quieter = GradCAMPlusPlus()(louder(classifier, 1e-3), batch)
    assert close(1e3 * quieter, ours, 0.01)


class Small(nn.Module):
    """Maps of 2 x 3 places and a head with an interaction, so that places have different gradients."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 16, stride=16), nn.ReLU())
        nn.init.ones_(self.features[0].bias)  # active
        self.weight = nn.Parameter(torch.linspace(-1, 2, 24).view(12, 2).mT.contiguous())

    def head(self, maps):
        return torch.relu(maps.flatten(1) @ self.weight.mT + 0.3)

    def forward(self, x):
        return self.head(self.features(x))


def derivatives(head, maps, target):
    """First, second and third derivative of exp(logit) with respect to each value alone."""
    first, second, third = (torch.zeros(maps.numel()) for _ in range(3))
    for k in range(maps.numel()):
        leaf = maps.clone().requires_grad_()
        score = head(leaf)[0, target].exp()
        for found in (first, second, third):
            (grown,) = torch.autograd.grad(score, leaf, create_graph=True)
            score = grown.flatten()[k]
            found[k] = score.detach()
    return (d.view_as(maps) for d in (first, second, third))


def test_equal_to_the_paper_s_derivatives_of_the_exponential_score():
    """Word for word: alpha = Y'' / (2 Y'' + sum(A) Y'''), weights = sum(alpha relu(Y')), Y = exp(logit)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Small()
    classifier = Classifier(model, [Head("finding", ("a", "b"))], reader=Input(Resize(32, 48)), cam_layer="features")
    batch = tiny_batch(classifier.eval(), count=2)
    ours = GradCAMPlusPlus()(classifier, batch)
    with torch.no_grad():
        logits, maps = classifier(batch.images), model.features(batch.images)
    for i, target in enumerate(batch.targets.tolist()):
        one = maps[i : i + 1]
        first, second, third = derivatives(model.head, one, target)
        alpha = second / (2 * second + one.sum((2, 3), keepdim=True) * third)
        weights = (alpha.nan_to_num() * first.relu()).sum((2, 3), keepdim=True)
        paper = (weights * one).sum(1)[0].relu() / logits[i, target].exp()
        assert paper.max() > 0
        assert torch.allclose(ours[i], paper, rtol=1e-4, atol=1e-7)


def test_a_denominator_of_zero_is_no_division():
    """Activations whose sum times the gradient is -2."""
    classifier = bright()
    classifier.model.features.forward = lambda x: -torch.ones(len(x), 1, 1, 2)
    classifier.model.score = lambda maps: maps.sum((1, 2, 3))
    maps = GradCAMPlusPlus()(classifier, patches_batch())
    assert maps.isfinite().all() and not maps.any()
