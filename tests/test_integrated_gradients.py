"""Integrated gradients: exact on linear models, complete, captum's numbers, evidence where the gradient is 0."""

import numpy as np
import pytest
import torch
from cam_cases import BELOW, LEFT, RIGHT, both
from gradient_cases import Shared, bright, colored, dim, either, linear, network, target_logits
from xai_bench_explainers.integrated_gradients import IntegratedGradients

from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.noisy_linear import NoisyLinear
from xai_bench.imputers.telea import Telea
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.spec import state_of, with_state
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier, tiny_training


@pytest.mark.parametrize("imputer", [Zero(), Blur()])
def test_exact_on_a_linear_model_with_any_number_of_steps(imputer):
    classifier = linear(3)
    batch = colored(dim(classifier))
    maps = IntegratedGradients(1, imputer)(classifier, batch)
    weights = classifier.model.weight.detach()[batch.targets]
    assert torch.allclose(maps, (weights * (batch.images - imputer(batch))).sum(1), atol=1e-6)


def plain_twin(method, classifier, batch, n):
    """Equation 1 by the quadrature's own nodes, a gradient at a time."""
    x, b = batch.images[n : n + 1], next(method.baselines(batch))[n : n + 1]
    nodes, weights = np.polynomial.legendre.leggauss(method.steps)
    total = torch.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        here = (b + (1 + float(node)) / 2 * (x - b)).requires_grad_()
        classifier(here)[0, batch.targets[n]].backward()
        total += float(weight) / 2 * here.grad
    return ((x - b) * total)[0].sum(0)


def test_equals_the_plain_twin_and_captum_in_one_batch():
    from captum.attr import IntegratedGradients as Captum

    classifier, method = network(Shared(), mean=(0.5,), std=(0.25,)), IntegratedGradients(7, Blur())
    batch = tiny_batch(classifier)
    ours = method(classifier, batch)
    theirs = Captum(classifier).attribute(batch.images, next(method.baselines(batch)), target=batch.targets, n_steps=7)
    twin = torch.stack([plain_twin(method, classifier, batch, n) for n in range(len(batch))])
    scale = float(ours.abs().max())
    assert torch.allclose(ours, theirs.detach().sum(1), rtol=0, atol=1e-5 * scale)
    assert torch.allclose(ours, twin, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("imputer", [Zero(), Blur(), NoisyLinear(), Telea()])
def test_a_map_sums_to_the_rise_from_the_baseline_and_more_steps_come_nearer(imputer):
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    (start,) = IntegratedGradients(imputer=imputer).baselines(batch)
    assert torch.equal(start[~batch.content[:, None]], batch.images[~batch.content[:, None]])
    rise = target_logits(classifier, batch.images, batch.targets) - target_logits(classifier, start, batch.targets)
    gaps = [
        (IntegratedGradients(steps, imputer)(classifier, batch).sum((1, 2)) - rise).abs().max() for steps in (3, 300)
    ]
    assert gaps[1] < 0.01 * rise.abs().max() and gaps[1] < gaps[0]


def test_and_both_patches_share_the_score_below_does_not():
    classifier, batch = both(), bright(LEFT, RIGHT, BELOW)
    maps = IntegratedGradients(200)(classifier, batch)[0]
    assert maps[LEFT].sum().item() == pytest.approx(maps[RIGHT].sum().item(), rel=1e-4)
    assert maps.sum().item() == pytest.approx(0.8, abs=0.02) and not maps[BELOW].any()
    assert not IntegratedGradients()(classifier, bright(LEFT, BELOW)).any()


def test_or_a_saturated_score_s_evidence_is_found_in_equal_parts():
    maps = IntegratedGradients(200)(either(), bright(LEFT, RIGHT))[0]
    assert maps[LEFT].sum().item() == pytest.approx(0.4, abs=0.02)
    assert maps[RIGHT].sum().item() == pytest.approx(0.4, abs=0.02)


def test_memory_is_bounded_by_the_batch_and_every_call_has_its_shape():
    classifier = tiny_classifier()
    shapes, forward = [], classifier.model.forward
    classifier.model.forward = lambda x: (shapes.append(tuple(x.shape)), forward(x))[1]
    method = IntegratedGradients(9)
    method(classifier, tiny_batch(classifier))
    assert set(shapes) == {(4, 1, 32, 48)} and len(shapes) == method.evaluations == 9


def test_a_learned_baseline_travels_and_the_contract_holds():
    classifier, method = tiny_classifier(), IntegratedGradients(5, TrainingMean())
    ready = method.fit(classifier, tiny_training(classifier))
    batch = tiny_batch(classifier)
    assert torch.equal(ready(classifier, batch), with_state(method, state_of(ready))(classifier, batch))
    check_explainer(method)


def test_no_steps_are_refused():
    with pytest.raises(BadInput, match="steps is 0; expected"):
        IntegratedGradients(0)
