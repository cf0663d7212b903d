"""Grad-CAM: equal to pytorch-grad-cam before its scaling, to a plain twin, and to what is known by hand."""

import pytest
import torch
from torch import nn
from xai_bench_explainers.grad_cam import GradCAM, to_grid

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, Unfit
from xai_bench.samples import Head
from xai_bench.testing import box_classifier, tiny_batch, tiny_classifier


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


def no_inplace(classifier):
    """The twins read the activation after the fact, so nothing may overwrite it."""
    for module in classifier.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return classifier


@pytest.mark.parametrize("layer", ["3", "4", "0"])
def test_equals_the_plain_twin_on_any_layer(layer):
    classifier = no_inplace(tiny_classifier())
    classifier.cam_layer = layer
    batch = tiny_batch(classifier)
    assert torch.allclose(GradCAM()(classifier, batch), plain_twin(classifier, batch), atol=1e-6)


def test_equals_pytorch_grad_cam_before_its_scaling():
    from pytorch_grad_cam import GradCAM as Peer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classifier = no_inplace(tiny_classifier(seed=3))
    batch = tiny_batch(classifier)
    targets = [ClassifierOutputTarget(int(t)) for t in batch.targets]
    with Peer(classifier, [classifier.layer()]) as peer:
        peer(batch.images, targets)
        activation, gradient = (
            found[0].numpy() for found in (peer.activations_and_grads.activations, peer.activations_and_grads.gradients)
        )
        raw = peer.get_cam_image(batch.images, classifier.layer(), targets, activation, gradient)
    ours = GradCAM()(classifier, batch)
    assert ours.max() > 0
    assert torch.allclose(ours, torch.from_numpy(raw).clamp(min=0), atol=1e-4)


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


def test_tokens_become_a_grid_row_by_row_without_prefix():
    tokens = torch.arange(2 + 3 * 2).float().view(1, 8, 1)
    assert to_grid(tokens, (48, 32))[0, 0].tolist() == [[2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [("7", "is no grid"), ("nowhere", "does not exist")],
)
def test_a_layer_that_does_not_fit_is_one_clear_sentence(layer, expected):
    classifier = tiny_classifier()
    with pytest.raises(BadInput, match=expected):
        GradCAM(layer)(classifier, tiny_batch(classifier))


def test_layer_outside_the_forward_pass():
    classifier = tiny_classifier()
    classifier.model.unused = nn.Conv2d(1, 1, 1)
    classifier.model.forward = lambda x: nn.Sequential.forward(classifier.model[:8], x)
    with pytest.raises(BadInput, match="does not run"):
        GradCAM("unused")(classifier, tiny_batch(classifier))


def test_unfit_classifiers():
    batch = tiny_batch(tiny_classifier())
    with pytest.raises(Unfit, match="knows no layer"):
        GradCAM()(box_classifier(slice(0, 4), slice(0, 4)), batch)
    flat = tiny_classifier()
    flat.differentiable = False
    with pytest.raises(Unfit, match="needs gradients"):
        GradCAM()(flat, batch)


def test_nan_stays_nan_and_in_its_picture():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    batch.images[1, 0, 4, 4] = torch.nan
    maps = GradCAM()(classifier, batch)
    assert maps[1].isnan().any()
    assert maps[[0, 2, 3]].isfinite().all()
