"""LRP: captum's numbers where captum is right, a plain twin, relevance kept, batch norms part of their convolutions."""

import warnings
from dataclasses import replace

import pytest
import torch
from cam_cases import tiny_vit
from gradient_cases import Shared, drawn, linear, network, sequential, target_logits
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from xai_bench_explainers.lrp import LRP

from xai_bench.classifiers.small_cnn import SmallCNN
from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.testing import tiny_batch, tiny_classifier


def test_equals_captum_with_the_same_rules_where_no_convolution_sees_negative_values():
    """captum's z+ takes positive weights only, which is the rule for positive inputs."""
    from captum.attr import LRP as CAPTUM
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule

    parts = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()]
    parts += [nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 3)]
    classifier = network(nn.Sequential(*parts))
    batch = tiny_batch(classifier)
    ours = LRP()(classifier, batch)
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d):
            module.rule = Alpha1_Beta0_Rule(set_bias_to_zero=True)
        elif isinstance(module, nn.Linear | nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.Flatten):
            module.rule = EpsilonRule()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = CAPTUM(classifier.model).attribute(batch.images.clone().requires_grad_(), target=batch.targets)
    theirs = theirs.detach().sum(1)
    assert theirs.any() and torch.allclose(ours, theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))


def plain_twin(model, image, target):
    """Neuron by neuron: dense by epsilon 0, convolution by z+, of Conv2d(k=4, stride 4), ReLU, Flatten, Linear."""
    conv, _, _, last = model
    with torch.no_grad():
        hidden = conv(image[None])[0].relu()
        logit = last(hidden.flatten()[None])[0, target]
        shares = last.weight[target] * hidden.flatten()
        relevance = (shares / logit * logit).view_as(hidden)
        found = torch.zeros_like(image)
        for k in range(hidden.shape[0]):
            for i in range(hidden.shape[1]):
                for j in range(hidden.shape[2]):
                    patch = image[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
                    parts = (patch * conv.weight[k]).clamp(min=0)
                    if parts.sum() > 0:
                        found[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] += parts / parts.sum() * relevance[k, i, j]
    return found.sum(0)


def test_equals_the_plain_twin_on_signed_pictures():
    model = nn.Sequential(nn.Conv2d(1, 3, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 8 * 12, 3))
    classifier = network(model, mean=(0.5,), std=(0.25,))
    batch = tiny_batch(classifier)
    maps = LRP()(classifier, batch)
    for n, image in enumerate(classifier.normalize(batch.images)):
        wanted = plain_twin(model, image, batch.targets[n])
        assert torch.allclose(maps[n], wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


def without_biases(model):
    for module in model.modules():
        if getattr(module, "bias", None) is not None:
            module.bias.data.zero_()
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
    return model


@pytest.mark.parametrize("model", [Shared, sequential])
def test_without_biases_a_map_sums_to_the_logit(model):
    classifier = network(model(), mean=(0.5,), std=(0.25,))
    without_biases(classifier.model)
    batch = tiny_batch(classifier)
    maps, logits = LRP()(classifier, batch), target_logits(classifier, batch.images, batch.targets)
    assert torch.allclose(maps.sum((1, 2)), logits, rtol=0, atol=2e-3 * float(maps.abs().sum((1, 2)).max()))


def test_a_batch_norm_is_part_of_the_convolution_before_it():
    parts = [nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    classifier = network(nn.Sequential(*parts, nn.Linear(24, 3)), mean=(0.5,), std=(0.25,))
    with torch.no_grad():
        classifier.model[1].weight[2] = -0.8
    batch = tiny_batch(classifier)
    apart = LRP()(classifier, batch)
    fused = fuse_conv_bn_eval(classifier.model[0], classifier.model[1])
    classifier.model = nn.Sequential(fused, *classifier.model[2:])
    assert torch.allclose(apart, LRP()(classifier, batch), rtol=0, atol=1e-5 * float(apart.abs().max()))


def test_a_batch_norm_of_its_own_and_a_pooling_of_powers_keep_relevance():
    parts = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    powers = SmallCNN(4).build(tiny_classifier().heads, Input(Resize(32, 48)), 0).model
    for model in (nn.Sequential(*parts, nn.Linear(24, 3)), powers):
        classifier = network(drawn(model))
        without_biases(classifier.model)
        batch = tiny_batch(classifier)
        maps, logits = LRP()(classifier, batch), target_logits(classifier, batch.images, batch.targets)
        assert torch.allclose(maps.sum((1, 2)), logits, rtol=0, atol=2e-3 * float(maps.abs().sum((1, 2)).max()))


def test_the_map_scales_with_the_logit_and_a_marker_gets_all_of_it():
    """A convolution that sees only very bright pixels."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    classifier = network(model)
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].bias.fill_(-0.8)
        model[-1].bias.zero_()
    batch = tiny_batch(classifier)
    images = torch.full_like(batch.images, 0.5)
    images[:, :, 5:9, 30:34] = 1
    batch = replace(batch, images=images)
    maps, logits = LRP()(classifier, batch), target_logits(classifier, images, batch.targets)
    assert torch.allclose(maps[:, 5:9, 30:34].sum((1, 2)), logits, rtol=1e-4)
    maps[:, 5:9, 30:34] = 0
    assert not maps.any()
    with torch.no_grad():
        model[-1].weight.mul_(3)
    assert torch.allclose(LRP()(classifier, batch).sum((1, 2)), 3 * logits, rtol=1e-4)


class Attention(nn.Module):
    def forward(self, x):
        return x * torch.softmax(x.flatten(2), 2).view_as(x) * 100


@pytest.mark.parametrize("kind", ["attention", "gelu", "layer_norm", "vit", "constant"])
def test_networks_without_rules_are_unfit(kind):
    middle = {"attention": Attention(), "gelu": nn.GELU(), "layer_norm": nn.GroupNorm(1, 5)}
    if kind in middle:
        parts = [nn.Conv2d(1, 5, 3), middle[kind], nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3)]
        classifier = network(nn.Sequential(*parts))
    else:
        classifier = tiny_vit() if kind == "vit" else linear()
    with pytest.raises(Unfit, match=r"lrp has no rule for a part of .*without biases its relevance sums to"):
        LRP()(classifier, tiny_batch(classifier))
