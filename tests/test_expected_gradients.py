"""Expected gradients: a plain twin, exact on linear models, completeness in the limit, draws by (seed, id)."""

from dataclasses import replace

import pytest
import torch
from gradient_cases import colored, linear, target_logits
from xai_bench_explainers.expected_gradients import ExpectedGradients
from xai_bench_explainers.integrated_gradients import IntegratedGradients

from xai_bench.errors import BadInput
from xai_bench.imputers.other_patient import OtherPatient
from xai_bench.imputers.zero import Zero
from xai_bench.seeding import derive, generator
from xai_bench.spec import state_of, with_state
from xai_bench.testing import tiny_batch, tiny_classifier, tiny_training


def ready(classifier, samples=6, **fields):
    return ExpectedGradients(samples, **fields).fit(classifier, tiny_training(classifier))


def plain_twin(method, classifier, batch, n):
    """Equation 2, one draw of one picture at a time: a film, a point, a gradient."""
    x, total = batch.images[n], torch.zeros_like(batch.images[n, 0])
    films = method.imputer.state["films"]
    points = torch.rand(method.samples, generator=generator(method.seed, batch.ids[n]))
    for k in range(method.samples):
        film = films[derive(method.imputer.seed, f"{batch.ids[n]} {method.seed} {k}") % len(films)]
        start = torch.where(batch.content[n], film, x)
        here = (start + points[k] * (x - start))[None].requires_grad_()
        classifier(here)[0, batch.targets[n]].backward()
        total += ((x - start) * here.grad[0]).sum(0)
    return total / method.samples


def test_equals_the_plain_twin():
    classifier = tiny_classifier()
    batch, method = tiny_batch(classifier), ready(classifier, seed=3)
    assert len(method.imputer.state["films"]) == 4  # all there are: ids repeat
    ours = method(classifier, batch)
    twin = torch.stack([plain_twin(method, classifier, batch, n) for n in range(len(batch))])
    assert torch.allclose(ours, twin, rtol=0, atol=1e-5 * float(twin.abs().max()))


def test_exact_on_a_linear_model_given_its_films():
    classifier = linear(3)
    batch, method = colored(tiny_batch(classifier)), ready(classifier)
    mean = torch.stack(list(method.baselines(batch))).mean(0)
    wanted = (classifier.model.weight.detach()[batch.targets] * (batch.images - mean)).sum(1)
    assert torch.allclose(method(classifier, batch), wanted, atol=1e-5)


def test_a_map_sums_to_the_rise_from_the_films_with_an_error_that_falls_with_the_samples():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    gaps = []
    for samples in (4, 100):
        method = ready(classifier, samples)
        starts = torch.stack([target_logits(classifier, b, batch.targets) for b in method.baselines(batch)])
        rise = target_logits(classifier, batch.images, batch.targets) - starts.mean(0)
        gaps.append((method(classifier, batch).sum((1, 2)) - rise).abs().mean())
    assert gaps[1] < gaps[0] / 2


def test_with_a_fixed_baseline_it_converges_to_integrated_gradients():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    exact = IntegratedGradients(100)(classifier, batch)
    rough, fine = (ExpectedGradients(n, imputer=Zero())(classifier, batch) - exact for n in (4, 150))
    assert fine.norm() < rough.norm() / 3
    assert fine.norm() < 0.2 * exact.norm()


def test_draws_depend_on_seed_and_id_only_and_the_films_travel():
    classifier = tiny_classifier()
    batch, method = tiny_batch(classifier), ready(classifier)
    maps = method(classifier, batch)
    assert torch.equal(maps, with_state(ExpectedGradients(6), state_of(method))(classifier, batch))
    assert not torch.equal(maps, replace(method, seed=1)(classifier, batch))
    assert not torch.equal(maps, method(classifier, replace(batch, ids=tuple("abcd"))))
    assert method.evaluations == 6 and method.imputer == OtherPatient(64, state=method.imputer.state)


def test_unfitted_or_without_samples_it_says_so():
    classifier = tiny_classifier()
    with pytest.raises(BadInput, match="was not fitted"):
        ExpectedGradients()(classifier, tiny_batch(classifier))
    with pytest.raises(BadInput, match="samples is 0; expected"):
        ExpectedGradients(0)
