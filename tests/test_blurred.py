"""Blurred maps of another explainer, and what a wrapper takes over from it."""

from dataclasses import replace

import pytest
import torch
from scipy.ndimage import gaussian_filter
from xai_bench_explainers.attention_rollout import AttentionRollout
from xai_bench_explainers.blurred import Blurred
from xai_bench_explainers.grad_cam import GradCAM
from xai_bench_explainers.kernel_shap import KernelShap
from xai_bench_explainers.lime import Lime
from xai_bench_explainers.mean_region import MeanRegion
from xai_bench_explainers.occlusion import Occlusion
from xai_bench_explainers.random_map import RandomMap

from xai_bench.errors import BadInput
from xai_bench.protocols import Traits
from xai_bench.spec import build, spec_of, state_of, with_state
from xai_bench.study import Study, seeded
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier, tiny_training


def test_equals_scipy_s_gaussian_of_the_map() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    plain, found = RandomMap(2)(classifier, batch), Blurred(RandomMap(2), sigma=0.05)(classifier, batch)
    expected = gaussian_filter(plain[0].double().numpy(), 1.6, mode="nearest", radius=5)
    assert torch.allclose(found[0].double(), torch.from_numpy(expected), atol=1e-5)


def test_a_constant_map_stays_and_one_that_is_unusable_stays_so() -> None:
    class Broken:
        def __call__(self, classifier: object, batch: object) -> torch.Tensor:
            maps = torch.ones(4, 8, 12)
            maps[2, 3, 3] = torch.nan
            return maps

    found = Blurred(Broken())(tiny_classifier(), tiny_batch(tiny_classifier()))
    assert torch.allclose(found[[0, 1, 3]], torch.ones(3, 8, 12))
    assert found[2].isnan().any()


def test_traits_cost_and_fit_are_those_of_the_explainer_inside_but_for_the_family() -> None:
    for inner in (GradCAM(), Lime(samples=70), AttentionRollout()):
        own, outer = Traits.of(inner), Traits.of(Blurred(inner))
        assert outer == replace(own, family="control")
        assert Blurred(inner).evaluations == getattr(inner, "evaluations", 1)
    assert not hasattr(Blurred(GradCAM()), "fit"), "else a classifier without training films could not be explained"
    assert hasattr(Blurred(KernelShap()), "fit")


def test_what_the_explainer_inside_learned_goes_through_the_store() -> None:
    classifier, wrapped = tiny_classifier(), Blurred(MeanRegion())
    fitted = wrapped.fit(classifier, tiny_training(classifier))
    assert spec_of(fitted) == spec_of(wrapped)
    assert set(state_of(fitted)) == {"explainer.mean"}
    again = with_state(wrapped, state_of(fitted))
    batch = tiny_batch(classifier)
    assert torch.equal(again(classifier, batch), fitted(classifier, batch))


def test_a_study_names_it_by_name_or_table_with_another_explainer_inside() -> None:
    nested = {"name": "blurred", "sigma": 0.2, "explainer": {"name": "lime", "samples": 30}}
    assert build("explainer", nested) == Blurred(Lime(samples=30), 0.2)
    classifiers = [{"name": "c", "architecture": "small_cnn"}]
    study = Study("s", "phantom", classifiers, [nested, "blurred", "grad_cam"])
    assert [c.label for c in study.explainers] == ["blurred(lime)", "blurred(grad_cam)", "grad_cam"]
    assert Study.of(study.spec()).key == study.key
    assert seeded(Blurred(Lime())) and not seeded(Blurred())


def test_the_contract_holds_around_a_signed_explainer() -> None:
    check_explainer(Blurred(Occlusion(cells=4)))


@pytest.mark.parametrize("sigma", [0.0, 1.5, float("nan")])
def test_an_impossible_width_is_one_sentence(sigma: float) -> None:
    with pytest.raises(BadInput, match=r"blurred: sigma is .* expected a share"):
        Blurred(sigma=sigma)
