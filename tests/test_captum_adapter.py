"""captum's methods by name: captum's own numbers, whatever the model and the batch."""

import math

import pytest
import torch
from cam_cases import tiny_vit
from torch import nn
from xai_bench_explainers.captum_adapter import Captum, methods

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.perturbation import grid
from xai_bench.protocols import Traits
from xai_bench.samples import Head
from xai_bench.spec import build, spec_of
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier
from xai_bench.testing.watch import left_alone

attr = pytest.importorskip("captum.attr", reason="the package captum is not installed")


def test_every_method_that_explains_a_picture_is_offered_and_no_other() -> None:
    offered = set(methods())
    assert {
        "Saliency",
        "IntegratedGradients",
        "GradientShap",
        "Occlusion",
        "KernelShap",
        "LayerGradCam",
        "LRP",
    } <= offered
    assert not offered & {
        "NoiseTunnel",
        "LimeBase",
        "FeaturePermutation",
        "NeuronGradient",
        "LLMAttribution",
        "Attribution",
    }


def direct(name: str, classifier: Classifier, **options: object) -> torch.Tensor:
    """captum's attributions of all pictures at once."""
    batch = tiny_batch(classifier)
    images = batch.images.clone().requires_grad_()
    for module in classifier.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    found = getattr(attr, name)(classifier).attribute(images, target=batch.targets, **options)
    return found.detach().sum(1)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("Saliency", {"abs": False}, {"abs": False}),
        ("InputXGradient", {}, {}),
        ("GuidedBackprop", {}, {}),
        ("DeepLift", {"baselines": 0.5}, {"baselines": 0.5}),
        (
            "IntegratedGradients",
            {"n_steps": 20, "method": "riemann_trapezoid"},
            {"n_steps": 20, "method": "riemann_trapezoid"},
        ),
        ("FeatureAblation", {}, {"feature_mask": grid(32, 48, 4)[None, None]}),
        ("Occlusion", {}, {"sliding_window_shapes": (1, 8, 12), "strides": (1, 8, 12)}),
        (
            "Occlusion",
            {"sliding_window_shapes": [1, 5, 5], "strides": 3},
            {"sliding_window_shapes": (1, 5, 5), "strides": 3},
        ),
    ],
)
def test_equals_the_package_on_the_whole_batch(name: str, arguments: dict, options: dict) -> None:
    classifier = tiny_classifier()
    found = Captum(name, arguments=arguments, cells=4)(classifier, tiny_batch(classifier))
    theirs = direct(name, tiny_classifier(), **options)
    assert torch.allclose(found, theirs, atol=1e-5 * float(theirs.abs().max()))


def test_a_layer_s_map_is_on_its_grid_and_equals_the_package() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    found = Captum("LayerGradCam", layer="3")(classifier, batch)
    theirs = attr.LayerGradCam(classifier, classifier.layer("3"))
    images = batch.images.clone().requires_grad_()
    assert found.shape == (4, 8, 12)
    assert torch.allclose(found, theirs.attribute(images, target=batch.targets).detach()[:, 0], atol=1e-5)
    assert torch.equal(Captum("LayerGradCam")(classifier, batch), Captum("LayerGradCam", layer="4")(classifier, batch))


def test_tokens_become_a_grid_and_a_method_that_would_mix_them_up_is_unfit() -> None:
    vit, batch = tiny_vit(), tiny_batch(tiny_vit())
    assert Captum("LayerGradientXActivation")(vit, batch).shape == (4, 4, 6)
    with pytest.raises(Unfit, match="takes the second axis of a layer's output as channels"):
        Captum("LayerGradCam")(vit, batch)


@pytest.mark.parametrize("name", ["GradientShap", "KernelShap", "ShapleyValueSampling"])
def test_random_methods_draw_by_seed_and_picture(name: str) -> None:
    arguments = {"n_samples": 4} | ({"baselines": 0.2, "stdevs": 0.1} if name == "GradientShap" else {})
    check_explainer(Captum(name, arguments=arguments, cells=2))
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    one, other = (Captum(name, arguments=arguments, cells=3, seed=seed)(classifier, batch) for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["IntegratedGradients", "Occlusion"])
def test_no_model_call_is_larger_than_the_batch_size(name: str) -> None:
    classifier, sizes = tiny_classifier(), []
    handle = classifier.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    Captum(name, cells=6, batch_size=5)(classifier, tiny_batch(classifier))
    handle.remove()
    assert max(sizes) == 5


def test_integrated_gradients_sum_to_the_change_of_the_logit() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    found = Captum("IntegratedGradients", arguments={"n_steps": 200})(classifier, batch)
    with torch.no_grad():
        change = classifier(batch.images) - classifier(torch.zeros_like(batch.images))
    assert torch.allclose(found.sum((1, 2)), change.gather(1, batch.targets[:, None])[:, 0], atol=0.02)


def test_traits_follow_captum_s_classes() -> None:
    assert (Traits.of(Captum()).family, Captum().needs_gradients, Captum().signed) == ("gradient", True, False)
    assert Captum(arguments={"abs": False}).signed
    assert (Captum("Occlusion").family, Captum("Occlusion").needs_gradients) == ("perturbation", False)
    assert not Captum("LayerActivation").class_specific
    budgets = {"Saliency": 1, "IntegratedGradients": 50, "KernelShap": 25, "FeatureAblation": 16, "Occlusion": 16}
    for name, evaluations in budgets.items():
        assert Captum(name, cells=4).evaluations == evaluations
    assert Captum("ShapleyValueSampling", cells=4).evaluations == 25 * 16
    assert Captum("ShapleyValues", cells=2).evaluations == math.factorial(4) * 4


class Twice(nn.Module):
    """One ReLU used twice, which DeepLift's hooks do not survive."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.second(self.relu(self.first(x)))).mean((2, 3))


def test_where_captum_fails_the_method_is_unfit_in_its_words_and_the_classifier_is_as_it_was() -> None:
    made = Classifier(Twice(), [Head("h", ("a", "b"))], reader=Input(Resize(32, 48))).eval()
    batch = tiny_batch(made)
    with (
        left_alone("captum", made, batch),
        pytest.raises(Unfit, match=r"captum:DeepLift does not work with Twice \(.*\); use"),
    ):
        Captum("DeepLift")(made, batch)
    assert made.model.relu.inplace
    other = tiny_classifier()
    with left_alone("captum", other, batch), pytest.raises(Unfit, match=r"captum:LRP does not work with .*; use"):
        Captum("LRP")(other, batch)


def test_without_gradients_only_perturbation_methods_work() -> None:
    classifier = box_classifier(slice(4, 20), slice(8, 32))
    classifier.differentiable = False
    batch = tiny_batch(classifier)
    with pytest.raises(Unfit, match="captum:Saliency needs gradients"):
        Captum()(classifier, batch)
    found = Captum("FeatureAblation", arguments={"baselines": 0.5}, cells=8)(classifier, batch)
    assert not found[:, 20:].any() and not found[:, :, 36:].any()
    with pytest.raises(Unfit, match="knows no layer"):
        Captum("LayerActivation")(classifier, batch)


def test_a_name_or_a_table_stands_in_a_study() -> None:
    assert build("explainer", "captum:Occlusion") == Captum("Occlusion")
    table = {"name": "captum", "method": "Occlusion", "arguments": {"sliding_window_shapes": [1, 9, 9]}}
    made = build("explainer", table)
    assert made.label == "captum:Occlusion"
    assert build("explainer", spec_of(made)) == made


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "Salency"}, r"method 'Salency' is not offered; choose .*Did you mean 'Saliency'"),
        ({"method": "NoiseTunnel"}, r"method 'NoiseTunnel' is not offered"),
        ({"arguments": {"abz": True}}, r"Saliency has no argument 'abz' here; it has abs\..*Did you mean 'abs'"),
        ({"method": "InputXGradient", "arguments": {"target": 1}}, r"has no argument 'target' here; it has none"),
        ({"method": "ShapleyValues"}, r"14 x 14 cells never ends; use fewer cells"),
        ({"cells": 0}, r"captum\(cells=0, batch_size=16\): expected 1 or more"),
    ],
)
def test_a_wrong_field_is_one_sentence(fields: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Captum(**fields)
