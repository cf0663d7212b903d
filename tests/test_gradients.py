"""What the gradient methods share: gray and color, padding, NaN, classifiers without gradients, nothing left behind."""

from dataclasses import replace

import pytest
import torch
from gradient_cases import HEADS, Shared, colored, linear, network
from torch import nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Traits
from xai_bench.registry import EXPLAINERS
from xai_bench.spec import build
from xai_bench.testing import tiny_batch, tiny_classifier, tiny_training

OWN = {
    "saliency", "saliency_absolute", "input_x_gradient", "integrated_gradients", "expected_gradients", "smooth_grad",
    "var_grad", "guided_backprop", "deep_lift", "lrp",
}  # fmt: skip
# Any method of captum is another file, with tests of its own.
METHODS = [
    name for name in sorted(set(EXPLAINERS) - {"captum"}) if Traits.of(build("explainer", name)).family == "gradient"
]


def make(name, classifier):
    """The method with few samples, fitted."""
    few = {"samples": 4, "steps": 4}
    fields = {k: v for k, v in few.items() if k in EXPLAINERS[name].factory.__dataclass_fields__}
    method = EXPLAINERS[name].factory(**fields)
    return method.fit(classifier, tiny_training(classifier)) if hasattr(method, "fit") else method


def test_the_family_is_complete():
    assert set(METHODS) >= OWN


@pytest.mark.parametrize("name", METHODS)
def test_a_network_with_shared_modules_work_in_place_and_functions_is_explained_and_left_alone(name):
    classifier = network(Shared(), mean=(0.5,), std=(0.25,))
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    batch = tiny_batch(classifier)
    maps = make(name, classifier)(classifier, batch)
    assert maps.shape == batch.content.shape and maps.any() and not maps.requires_grad
    assert all(p.grad is None and p.requires_grad for p in classifier.parameters())
    assert all(torch.equal(v, before[k]) for k, v in classifier.state_dict().items())
    hooks = [m._forward_hooks | m._forward_pre_hooks | m._backward_hooks for m in classifier.modules()]
    assert not any(hooks)


@pytest.mark.parametrize("name", METHODS)
def test_a_gray_film_has_the_same_map_in_one_channel_and_in_three(name):
    """A batch that holds one color film expands all others."""
    classifier = network(Shared(), mean=(0.5,), std=(0.25,))
    batch, method = tiny_batch(classifier), make(name, classifier)
    three = replace(batch, images=batch.images.expand(-1, 3, -1, -1))
    gray, expanded = method(classifier, batch), method(classifier, three)
    assert torch.allclose(gray, expanded, rtol=0, atol=1e-4 * float(gray.abs().max()))


@pytest.mark.parametrize("name", METHODS)
def test_color_films_and_one_film_alone(name):
    parts = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)]
    classifier = network(nn.Sequential(*parts), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    batch = colored(tiny_batch(classifier, count=1))
    maps = make(name, classifier)(classifier, batch)
    assert maps.shape == (1, 32, 48) and maps.isfinite().all() and maps.any()


@pytest.mark.parametrize("name", METHODS)
def test_nan_stays_in_its_picture(name):
    classifier = tiny_classifier()
    batch, method = tiny_batch(classifier), make(name, classifier)
    whole = method(classifier, batch)
    images = batch.images.clone()
    images[1, 0, 4, 4] = torch.nan
    maps = method(classifier, replace(batch, images=images))
    assert maps[1].isnan().any()
    assert torch.equal(maps[[0, 2, 3]], whole[[0, 2, 3]])


@pytest.mark.parametrize("name", ["integrated_gradients", "expected_gradients", "deep_lift"])
def test_padding_is_its_own_baseline_and_gets_nothing(name):
    classifier = linear()
    batch = tiny_batch(classifier)
    bright = replace(batch, images=torch.where(batch.content[:, None], batch.images + 0.1, 0.7))
    maps = make(name, classifier)(classifier, bright)
    assert not maps[~batch.content].any() and maps[batch.content].all()


class Constant(nn.Module):
    """Logits that the picture does not reach: it is read as whole numbers."""

    def forward(self, x):
        return torch.stack([x.long().float().mean((1, 2, 3))] * 3, 1)


@pytest.mark.parametrize("name", METHODS)
def test_classifiers_without_gradients_are_unfit(name):
    classifier = tiny_classifier()
    method, batch = make(name, classifier), tiny_batch(classifier)
    inner = "saliency" if name in ("smooth_grad", "var_grad") else name
    classifier.differentiable = False
    with pytest.raises(Unfit, match=f"{inner} needs gradients"):
        method(classifier, batch)
    with pytest.raises(Unfit, match=f"{inner} needs gradients, and those of Constant do not reach"):
        method(Classifier(Constant(), HEADS, reader=Input(Resize(32, 48))).eval(), batch)
