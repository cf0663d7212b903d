"""pytorch-grad-cam's methods by name: the package's maps before their scaling, and none of its traces."""

import pytest
import torch
from cam_cases import known, no_inplace, tiny_vit
from cam_peer import close, raw_map
from xai_bench_explainers.grad_cam import GradCAM
from xai_bench_explainers.gradcam_adapter import PytorchGradCAM, methods
from xai_bench_explainers.layer_cam import LayerCAM

from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Traits
from xai_bench.spec import build, spec_of
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier
from xai_bench.testing.watch import left_alone

pytest.importorskip("pytorch_grad_cam", reason="the package grad-cam is not installed")


def test_the_methods_of_the_package_that_look_at_one_layer_are_offered() -> None:
    assert {"GradCAM", "LayerCAM", "EigenCAM", "AblationCAM", "ScoreCAM", "FullGrad", "ShapleyCAM"} <= set(methods())
    assert not {"BaseCAM", "FinerCAM", "DeepFeatureFactorization"} & set(methods())


@pytest.mark.parametrize("name", ["GradCAM", "LayerCAM", "EigenCAM", "GradCAMPlusPlus", "AblationCAM", "FEM"])
def test_equals_the_package_s_map_before_scaling(name: str) -> None:
    classifier, batch = no_inplace(tiny_classifier()), tiny_batch(tiny_classifier())
    found = PytorchGradCAM(name)(classifier, batch)
    assert found.shape == (4, 8, 12)
    assert close(found, raw_map(name, classifier, batch).relu())


@pytest.mark.parametrize(("name", "ours"), [("GradCAM", GradCAM()), ("LayerCAM", LayerCAM())])
@pytest.mark.parametrize("model", [tiny_classifier, tiny_vit])
def test_equals_our_own_method_on_networks_and_transformers(name: str, ours: object, model: object) -> None:
    classifier, batch = model(), tiny_batch(model())
    assert close(PytorchGradCAM(name)(classifier, batch), ours(classifier, batch))


def test_full_grad_alone_is_the_package_s_scaled_sum() -> None:
    classifier = tiny_classifier()
    found = PytorchGradCAM("FullGrad")(classifier, tiny_batch(classifier))
    assert found.shape == (4, 32, 48)
    assert found.amin((1, 2)).abs().max() == 0
    assert torch.allclose(found.amax((1, 2)), torch.ones(4), atol=1e-4)


@pytest.mark.parametrize("name", ["RandomCAM", "KPCA_CAM", "ShapleyCAM", "ScoreCAM"])
def test_the_contract_holds_for_random_second_order_and_gradient_free_methods(name: str) -> None:
    check_explainer(PytorchGradCAM(name))


def test_no_parameter_keeps_a_gradient_and_a_layer_that_was_exchanged_comes_back() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    for name in ("GradCAM", "ShapleyCAM", "AblationCAM"):
        PytorchGradCAM(name)(classifier, batch)
        assert all(p.grad is None for p in classifier.parameters())
    vit, batch = tiny_vit(), tiny_batch(tiny_vit())
    before = dict(vit.named_modules())
    with left_alone("gradcam", vit, batch), pytest.raises(Unfit, match=r"AblationCAM does not work with .*IndexError"):
        PytorchGradCAM("AblationCAM")(vit, batch)
    assert dict(vit.named_modules()) == before


def test_f11_a_score_of_zero_gives_zeros_and_a_model_that_fails_nan() -> None:
    batch = tiny_batch(tiny_classifier(), count=2)
    silent = known([], lambda maps: 0 * maps.mean((1, 2, 3)))
    assert not raw_map("AblationCAM", silent, batch).isfinite().any(), "the package has mended its fault"
    assert not PytorchGradCAM("AblationCAM")(silent, batch).any()
    broken = known([], lambda maps: maps.mean((1, 2, 3)) * torch.nan)
    assert PytorchGradCAM("AblationCAM")(broken, batch).isnan().all()


def test_traits_and_the_layer_by_name() -> None:
    assert Traits.of(PytorchGradCAM()) == Traits.of(build("explainer", "gradcam:LayerCAM"))
    assert not PytorchGradCAM("EigenCAM").class_specific
    assert not PytorchGradCAM("ScoreCAM").needs_gradients
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    assert PytorchGradCAM(layer="0")(classifier, batch).shape == (4, 16, 24)
    made = build("explainer", {"name": "gradcam", "method": "EigenCAM", "layer": "3"})
    assert (made.label, build("explainer", spec_of(made))) == ("gradcam:EigenCAM", made)


def test_what_does_not_fit_or_is_not_known_is_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"method 'LayerCam' is not offered; choose .*Did you mean 'LayerCAM'"):
        PytorchGradCAM("LayerCam")
    classifier = box_classifier(slice(4, 20), slice(8, 32))
    with pytest.raises(Unfit, match="knows no layer"):
        PytorchGradCAM()(classifier, tiny_batch(classifier))
    classifier.differentiable = False
    with pytest.raises(Unfit, match="gradcam:GradCAM needs gradients"):
        PytorchGradCAM()(classifier, tiny_batch(classifier))
    with pytest.raises(BadInput, match="Did you mean"):
        PytorchGradCAM(layer="33")(tiny_classifier(), tiny_batch(tiny_classifier()))
