"""The gradient and its absolute maximum: the weights of a linear model, captum's numbers, and 0 where saturated."""

import torch
from cam_cases import BELOW, LEFT, RIGHT, both
from gradient_cases import bright, colored, either, linear
from xai_bench_explainers.saliency import Saliency, SaliencyAbsolute

from xai_bench.testing import tiny_batch, tiny_classifier


def test_a_linear_model_s_map_is_its_weights():
    classifier = linear(3)
    batch = colored(tiny_batch(classifier))
    weights = classifier.model.weight.detach()[batch.targets]
    assert torch.allclose(Saliency()(classifier, batch), weights.sum(1), atol=1e-6)
    assert torch.allclose(SaliencyAbsolute()(classifier, batch), weights.abs().amax(1), atol=1e-6)


def test_equal_to_captum_and_to_one_backward_pass_a_picture():
    from captum.attr import Saliency as Captum

    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    images = batch.images.clone().requires_grad_()
    theirs = Captum(classifier).attribute(images, target=batch.targets, abs=False)
    ours = Saliency()(classifier, batch)
    assert torch.equal(ours, theirs.sum(1))
    assert torch.equal(SaliencyAbsolute()(classifier, batch), theirs.sum(1).abs())
    for n in range(len(batch)):
        one = batch.images[n : n + 1].clone().requires_grad_()
        classifier(one)[0, batch.targets[n]].backward()
        assert torch.allclose(ours[n], one.grad.sum((0, 1)), rtol=1e-4, atol=1e-6)


def test_and_both_patches_count_below_does_not():
    maps = Saliency()(both(), bright(LEFT, RIGHT, BELOW))[0]
    assert (maps[LEFT] > 0).all() and (maps[RIGHT] > 0).all() and not maps[BELOW].any()
    against = Saliency()(both(), bright(LEFT, RIGHT, BELOW, target=0))[0]
    assert torch.equal(against, -maps)


def test_known_failure_a_saturated_score_has_no_gradient_where_there_is_evidence():
    assert not Saliency()(either(), bright(LEFT, RIGHT)).any()
