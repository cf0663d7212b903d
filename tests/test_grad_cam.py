"""Grad-CAM: equal to a plain twin, and to what is known by hand. What all CAM methods share is in test_cam.py."""

import warnings

import numpy as np
import pytest
import torch
from cam_cases import no_inplace
from torch import nn
from xai_bench_explainers.grad_cam import GradCAM

from xai_bench.classifiers.classifier import Classifier
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier


def plain_twin(classifier, batch):
    """Word for word: alpha_k = mean over pixels of d y_c / d A_k; L = ReLU(sum over k of alpha_k A_k)."""
    kept = {}
    handle = classifier.layer().register_forward_hook(lambda _m, _i, out: kept.update(a=out) or out.retain_grad())
    maps = []
    for i in range(len(batch)):
        classifier(batch.images[i : i + 1])[0, batch.targets[i]].backward()
        activation, gradient = kept["a"][0].detach(), kept["a"].grad[0]
        cam = torch.zeros(activation.shape[1:])
        for k in range(len(activation)):
            cam += gradient[k].mean() * activation[k]
        maps.append(cam.clamp(min=0))
    handle.remove()
    classifier.zero_grad()
    return torch.stack(maps)


@pytest.mark.parametrize("layer", ["3", "4", "0"])
def test_equals_the_plain_twin_on_any_layer(layer):
    classifier = no_inplace(tiny_classifier())
    classifier.cam_layer = layer
    batch = tiny_batch(classifier)
    assert torch.allclose(GradCAM()(classifier, batch), plain_twin(classifier, batch), atol=1e-6)


def test_works_before_a_layer_that_overwrites_its_input():
    classifier = tiny_classifier()
    classifier.cam_layer = "3"  # an in-place ReLU follows
    batch = tiny_batch(classifier)
    assert torch.equal(GradCAM()(classifier, batch), GradCAM()(no_inplace(classifier), batch))


class Blob(nn.Module):
    """Class 1 is the amount of very bright pixels: the evidence lies where they are."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
        with torch.no_grad():
            self.features[0].weight.fill_(1.0)
            self.features[0].bias.fill_(-0.8)

    def forward(self, x):
        z = self.features(x).mean((1, 2, 3))
        return torch.stack([-z, z], 1)


def test_points_at_the_evidence_and_only_for_its_class():
    classifier = Classifier(Blob(), [Head("finding", ("none", "blob"))], cam_layer="features").eval()
    batch = tiny_batch(tiny_classifier(), count=2)
    batch.images[:] = 0.5
    batch.images[:, :, 5:9, 30:34] = 1.0
    batch.targets[:] = torch.tensor([0, 1])
    against, in_favor = GradCAM()(classifier, batch)
    assert not against.any()
    assert (in_favor > 0).nonzero().amin(0).tolist() == [5, 30]
    assert (in_favor > 0).nonzero().amax(0).tolist() == [8, 33]
    assert in_favor.max().item() == pytest.approx(0.2 / (32 * 48), rel=1e-4)  # gradient 1 / pixels, times activation


def test_map_scales_with_the_logit():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    once = GradCAM()(classifier, batch)
    with torch.no_grad():
        classifier.model[-1].weight.mul_(3)
    assert torch.allclose(GradCAM()(classifier, batch), 3 * once, rtol=1e-4)


def test_f11_the_package_gives_nan_where_the_score_is_zero_and_ours_is_a_map_of_zeros():
    """Ablation CAM divides by the score, and one NaN weight takes the whole map."""
    peer = pytest.importorskip("pytorch_grad_cam", reason="the peer grad-cam is not installed")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    classifier = Classifier(Blob(), [Head("finding", ("none", "blob"))], cam_layer="features").eval()
    batch = tiny_batch(tiny_classifier(), count=1)
    batch.images[:] = 0.5  # nothing bright: both logits are 0
    batch.targets[:] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with peer.AblationCAM(classifier, [classifier.layer()]) as method:
            theirs = method(batch.images, [targets.ClassifierOutputTarget(1)])
    assert np.isnan(theirs).all()
    ours = GradCAM()(classifier, batch)
    assert ours.isfinite().all() and not ours.any()


def test_f11_the_package_leaves_gradients_on_the_parameters_and_ours_does_not():
    peer = pytest.importorskip("pytorch_grad_cam", reason="the peer grad-cam is not installed")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    classifier = no_inplace(tiny_classifier())
    batch = tiny_batch(classifier)
    GradCAM()(classifier, batch)
    assert all(p.grad is None for p in classifier.parameters())
    with peer.GradCAM(classifier, [classifier.layer()]) as method:
        method(batch.images, [targets.ClassifierOutputTarget(int(t)) for t in batch.targets])
    assert all(p.grad is not None and p.grad.any() for p in classifier.model[-1].parameters())
