"""Guided backpropagation: captum's numbers, a plain twin, and its failure: it hardly looks at the later layers."""

import warnings

import pytest
import torch
from gradient_cases import Apart, Shared, drawn, linear, network, sequential
from torch import nn
from xai_bench_explainers.guided_backprop import GuidedBackprop
from xai_bench_explainers.saliency import Saliency

from xai_bench.errors import Unfit
from xai_bench.saliency import spearman
from xai_bench.testing import tiny_batch


def captum_map(classifier, batch):
    from captum.attr import GuidedBackprop as Captum

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that it sets hooks
        return Captum(classifier).attribute(batch.images.clone().requires_grad_(), target=batch.targets).detach().sum(1)


def test_equals_captum_where_every_relu_is_a_module_of_its_own():
    for model in (sequential(), Apart()):
        classifier = network(model)
        batch = tiny_batch(classifier)
        theirs = captum_map(classifier, batch)
        assert theirs.any() and torch.allclose(GuidedBackprop()(classifier, batch), theirs, rtol=1e-4, atol=1e-6)


def test_shared_relus_and_functions_are_guided_alike_and_captum_misses_the_functions():
    shared, apart = network(Shared()), network(Apart())
    batch = tiny_batch(shared)
    wanted = captum_map(apart, batch)
    assert torch.allclose(GuidedBackprop()(shared, batch), wanted, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(Saliency()(shared, batch), wanted, rtol=1e-2, atol=1e-3)


def test_equals_the_plain_twin_of_two_layers():
    """Equation by equation: R = (z > 0) (R' > 0) R' at each ReLU, in matrices."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(32 * 48, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    classifier = network(model)
    batch = tiny_batch(classifier)
    first, second, third = (layer.weight.detach() for layer in (model[1], model[3], model[5]))
    for n, maps in enumerate(GuidedBackprop()(classifier, batch)):
        with torch.no_grad():
            z1 = model[1](batch.images[n].flatten())
            z2 = model[3](z1.relu())
        back = third[batch.targets[n]]
        back = second.T @ ((z2 > 0) * back.clamp(min=0))
        back = first.T @ ((z1 > 0) * back.clamp(min=0))
        assert torch.allclose(maps.flatten(), back, rtol=1e-4, atol=1e-6)


def deep():
    """Twelve convolutions, then a dense layer."""
    parts = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
    for _ in range(11):
        parts += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))


def test_known_failure_other_weights_in_the_later_layers_hardly_change_the_map():
    """Adebayo et al. 2018 and Sixt et al. 2020: the first layers decide; the gradient itself does change."""
    methods, alike = (GuidedBackprop(), Saliency()), []
    for seed in range(3):
        model, other = network(deep(), seed), network(deep(), seed)
        drawn(other.model[-9:], seed=100)  # the last three convolutions and the dense layer
        batch = tiny_batch(model, count=2)
        alike.append([spearman(m(model, batch), m(other, batch), batch.content).mean() for m in methods])
    guided, gradient = torch.tensor(alike).mean(0).tolist()
    assert guided > 0.8
    assert abs(gradient) < 0.3


def test_without_a_relu_it_is_unfit():
    classifier = linear()
    with pytest.raises(Unfit, match="needs ReLUs, and Weighted calls none"):
        GuidedBackprop()(classifier, tiny_batch(classifier))
