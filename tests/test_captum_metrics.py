"""captum's infidelity and sensitivity: analytic cases, and captum itself asked directly."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from xai_bench_explainers.edge_map import EdgeMap
from xai_bench_explainers.random_map import RandomMap
from xai_bench_metrics.captum_metrics import CaptumInfidelity, CaptumSensitivity
from xai_bench_metrics.sensitivity import Sensitivity

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Case
from xai_bench.samples import Head
from xai_bench.seeding import generator
from xai_bench.testing import tiny_batch, tiny_classifier
from xai_bench.testing.metrics import Slope

captum = pytest.importorskip("captum.metrics", reason="the package captum is not installed")


class Linear(nn.Module):
    """Logits (-z, z), z a weighted sum of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32, 48, generator=torch.Generator().manual_seed(0)) / 50)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = (x * self.weight).sum((1, 2, 3))
        return torch.stack([-z, z], 1)


def case_of(classifier: Classifier, explainer: object) -> Case:
    batch = tiny_batch(classifier)
    maps = explainer(classifier, batch)
    return Case(classifier, batch, explainer, maps, None, ("not_read",) * 4)


@pytest.fixture(scope="module")
def linear() -> Classifier:
    return Classifier(Linear(), [Head("h", ("a", "b"))], reader=Input(Resize(32, 48))).eval()


def test_the_gradient_of_a_linear_model_is_faithful_and_its_scale_and_sign_do_not_count(linear: Classifier) -> None:
    case = case_of(linear, Slope())
    for scale in (1, -7):
        found = CaptumInfidelity()(replace(case, saliency=scale * case.saliency)).scores["captum_infidelity"]
        assert found.max() < 1e-10
    noise = replace(case, saliency=RandomMap()(linear, case.batch))
    assert CaptumInfidelity()(noise).scores["captum_infidelity"].min() > 1e-5


def test_infidelity_equals_captum_asked_directly() -> None:
    classifier = tiny_classifier()
    case, metric = case_of(classifier, Slope()), CaptumInfidelity(samples=12, noise=0.1, seed=2)
    found = metric(case).scores["captum_infidelity"]
    for i in (0, 3):
        source = generator(2, case.batch.ids[i])
        noise = torch.stack([torch.randn(1, 32, 48, generator=source) for _ in range(12)]) * 0.1 * case.batch.content[i]
        expected = captum.infidelity(
            classifier, lambda rows, noise=noise: (-noise, rows + noise), case.batch.images[i : i + 1],
            case.saliency[i : i + 1, None], target=int(case.batch.targets[i]), n_perturb_samples=12, normalize=True,
        )  # fmt: skip
        assert found[i].item() == pytest.approx(float(expected), rel=1e-3)


def test_a_color_picture_gives_the_map_s_evidence_to_all_channels_alike(linear: Classifier) -> None:
    case = case_of(linear, Slope())
    color = replace(case, batch=replace(case.batch, images=case.batch.images.expand(-1, 3, -1, -1).clone()))
    assert CaptumInfidelity()(color).scores["captum_infidelity"].max() < 1e-10


def test_sensitivity_is_that_of_ours_where_the_map_has_the_picture_s_size() -> None:
    case = case_of(tiny_classifier(), Slope())
    found = CaptumSensitivity(samples=20, seed=1)(case).scores["captum_sensitivity"]
    ours = Sensitivity(samples=20, seed=1)(case).scores["max_sensitivity"]
    # Ours cuts to [0, 1], where tiny pictures often are.
    assert torch.allclose(found, ours, rtol=0.5)
    assert (found > 0.01).all()


def test_a_map_that_ignores_the_picture_does_not_move_and_the_id_stays() -> None:
    found = CaptumSensitivity(samples=3)(case_of(tiny_classifier(), RandomMap(5))).scores["captum_sensitivity"]
    assert found.tolist() == [0.0] * 4
    assert CaptumSensitivity(samples=3)(case_of(tiny_classifier(), EdgeMap())).scores["captum_sensitivity"].min() > 0


def test_more_noise_moves_the_map_further() -> None:
    case = case_of(tiny_classifier(), EdgeMap())
    small, large = (CaptumSensitivity(radius=r)(case).scores["captum_sensitivity"] for r in (0.01, 0.1))
    assert (small < large).all()


def test_no_model_call_is_larger_than_a_few_copies() -> None:
    classifier, sizes = tiny_classifier(), []
    case = case_of(classifier, Slope())
    handle = classifier.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    CaptumInfidelity(samples=50)(case)
    CaptumSensitivity(samples=50)(case)
    handle.remove()
    assert max(sizes) == 16


@pytest.mark.parametrize(
    "make",
    [
        lambda: CaptumInfidelity(samples=0),
        lambda: CaptumInfidelity(noise=0.0),
        lambda: CaptumSensitivity(radius=float("nan")),
        lambda: CaptumSensitivity(samples=-1),
    ],
)
def test_wrong_fields_are_one_sentence(make: object) -> None:
    with pytest.raises(BadInput, match=r"use 1 sample or more and a (noise|radius) in \(0, 1\]"):
        make()
