"""HiResCAM: equal to a plain twin; its signed map adds up to the logit where Grad-CAM's does not."""

import pytest
import torch
from cam_cases import LEFT, RIGHT, no_inplace, opposing, patches_batch
from cam_peer import close
from torch import nn
from xai_bench_explainers.grad_cam import GradCAM
from xai_bench_explainers.hires_cam import HiResCAM

from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier


@pytest.mark.parametrize("layer", ["3", "4"])
def test_equals_the_plain_twin_on_any_layer(layer):
    """Word for word: the sum over channels of d y / d A times A, by finite differences of the head."""
    classifier = no_inplace(tiny_classifier())
    batch = tiny_batch(classifier, count=1)
    head, trunk = classifier.model.double()[int(layer) + 1 :], classifier.model[: int(layer) + 1]
    with torch.no_grad():
        maps = trunk(classifier.normalize(batch.images).double())
        steps = 1e-6 * torch.eye(maps.numel(), dtype=torch.float64).view(-1, *maps.shape[1:])
        up, down = (head(maps + sign * steps)[:, batch.targets[0]] for sign in (1, -1))
        slopes = ((up - down) / 2e-6).view_as(maps)
    ours = HiResCAM(layer, signed=True)(tiny_layer(layer), batch)
    assert close(ours.double(), (slopes * maps).sum(1), 1e-3)


def tiny_layer(layer):
    classifier = no_inplace(tiny_classifier())
    classifier.cam_layer = layer
    return classifier


def test_the_signed_map_adds_up_to_the_logit_without_its_bias():
    """Any linear layer on the map, here one with a weight for each place; Grad-CAM's map does not add up."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = [nn.Conv2d(1, 3, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 24, 2)]
        model = nn.Sequential(*parts)
    head = Head("finding", ("a", "b"))
    classifier = Classifier(model, [head], reader=Input(Resize(32, 48)), cam_layer="1").eval()
    batch = tiny_batch(classifier)
    with torch.no_grad():
        wanted = (classifier(batch.images) - model[3].bias).gather(1, batch.targets[:, None])[:, 0]
    assert torch.allclose(HiResCAM(signed=True)(classifier, batch).sum((1, 2)), wanted, atol=1e-5)
    assert not torch.allclose(GradCAM(signed=True)(classifier, batch).sum((1, 2)), wanted, atol=1e-2)


def test_shows_evidence_against_where_grad_cam_shows_nothing():
    batch = patches_batch(LEFT, RIGHT)
    signed = HiResCAM(signed=True)(opposing(), batch)[0]
    assert torch.equal(signed[LEFT], -signed[RIGHT]) and signed[LEFT].min() > 0
    assert GradCAM(signed=True)(opposing(), batch).abs().max() < 1e-6 * signed.max()
