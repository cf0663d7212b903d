"""SmoothGrad: a plain twin, any wrapped explainer, noise inside content by (seed, id), exact on linear models."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from gradient_cases import colored, linear
from xai_bench_explainers.expected_gradients import ExpectedGradients
from xai_bench_explainers.occlusion import Occlusion
from xai_bench_explainers.saliency import Saliency, SaliencyAbsolute
from xai_bench_explainers.smooth_grad import SmoothGrad

from xai_bench.errors import BadInput
from xai_bench.protocols import Traits
from xai_bench.seeding import generator
from xai_bench.spec import build, spec_of, state_of, with_state
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier, tiny_training


def noisy_copies(method, batch, n):
    """One copy of one picture after the other: noise of sigma times its own range, on its content."""
    image, draw = batch.images[n], generator(method.seed, batch.ids[n])
    inside = image[:, batch.content[n]]
    for _ in range(method.samples):
        noise = torch.randn(1, *image.shape[1:], generator=draw) * method.sigma * (inside.max() - inside.min())
        yield torch.where(batch.content[n], image + noise, image)


def gradient(classifier, image, target):
    here = image[None].clone().requires_grad_()
    classifier(here)[0, target].backward()
    return here.grad[0].sum(0)


def test_equals_the_plain_twin():
    classifier, method = tiny_classifier(), SmoothGrad(samples=5, sigma=0.3, seed=2)
    batch = colored(tiny_batch(classifier))
    maps = method(classifier, batch)
    for n in range(len(batch)):
        copies = [gradient(classifier, copy, batch.targets[n]) for copy in noisy_copies(method, batch, n)]
        assert torch.allclose(maps[n], torch.stack(copies).mean(0), rtol=1e-4, atol=1e-6)


@dataclass(frozen=True)
class Seen:
    """Keeps the batches that it is given."""

    seen: list
    upsampling: ClassVar[str] = "nearest"
    family: ClassVar[str] = "perturbation"

    def __call__(self, classifier, batch):
        self.seen.append(batch)
        return batch.images.mean(1)


def test_every_copy_has_the_batch_s_shape_and_noise_of_the_stated_size_on_content_only():
    seen, batch = [], tiny_batch(tiny_classifier())
    batch = replace(batch, images=torch.where(batch.content[:, None], 0.5 * batch.images, 0.9))
    SmoothGrad(Seen(seen), samples=30, sigma=0.2)(tiny_classifier(), batch)
    assert {one.images.shape for one in seen} == {batch.images.shape} and len(seen) == 30
    apart = torch.stack([one.images - batch.images for one in seen])[:, :, 0]
    assert not apart[:, ~batch.content].any()
    for n in range(len(batch)):
        inside = batch.images[n, 0][batch.content[n]]
        size = apart[:, n][:, batch.content[n]].std() / (inside.max() - inside.min())
        assert size.item() == pytest.approx(0.2, rel=0.03)
    assert all(one.ids == batch.ids for one in seen)


def test_gray_stays_gray():
    seen, batch = [], tiny_batch(tiny_classifier())
    SmoothGrad(Seen(seen), samples=1)(tiny_classifier(), replace(batch, images=batch.images.expand(-1, 3, -1, -1)))
    assert all(torch.equal(seen[0].images[:, 0], seen[0].images[:, c]) for c in (1, 2))


def test_a_linear_model_s_gradient_is_not_changed():
    classifier = linear()
    batch = tiny_batch(classifier)
    assert torch.allclose(SmoothGrad()(classifier, batch), Saliency()(classifier, batch), atol=1e-6)


def test_without_noise_it_is_the_wrapped_explainer():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    assert torch.equal(SmoothGrad(samples=1, sigma=0.0)(classifier, batch), Saliency()(classifier, batch))


def test_the_traits_are_those_of_the_wrapped_explainer():
    assert Traits.of(SmoothGrad()) == Traits("gradient", needs_gradients=True)
    assert Traits.of(SmoothGrad(SaliencyAbsolute())) == Traits("gradient", signed=False, needs_gradients=True)
    assert Traits.of(SmoothGrad(Seen([]))) == Traits("perturbation", upsampling="nearest")
    assert SmoothGrad(Occlusion(cells=4), samples=3).evaluations == 3 * 10
    assert SmoothGrad().evaluations == 50


@pytest.mark.parametrize("inner", [Occlusion(cells=4), SaliencyAbsolute(), SmoothGrad(samples=2)])
def test_the_contract_holds_around_other_explainers(inner):
    check_explainer(SmoothGrad(inner, samples=3))


def test_it_is_built_from_a_table_and_learns_as_the_wrapped_explainer_does():
    table = {"name": "smooth_grad", "samples": 2, "explainer": {"name": "expected_gradients", "samples": 3}}
    method, classifier = build("explainer", table), tiny_classifier()
    assert method == SmoothGrad(ExpectedGradients(3), 2)
    ready, batch = method.fit(classifier, tiny_training(classifier)), tiny_batch(classifier)
    assert spec_of(ready) == spec_of(method) and set(state_of(ready)) == {"explainer.imputer.films"}
    assert torch.equal(ready(classifier, batch), with_state(method, state_of(ready))(classifier, batch))
    assert not hasattr(SmoothGrad(), "fit")


@pytest.mark.parametrize("fields", [{"samples": 0}, {"sigma": -0.1}, {"sigma": float("nan")}])
def test_impossible_numbers_are_refused(fields):
    with pytest.raises(BadInput, match=r"smooth_grad\(.*expected 1 sample or more"):
        SmoothGrad(**fields)
