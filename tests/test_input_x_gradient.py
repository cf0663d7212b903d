"""Input times gradient: exact on a linear model, captum's numbers, nothing on black."""

import torch
from gradient_cases import colored, linear
from xai_bench_explainers.input_x_gradient import InputXGradient
from xai_bench_explainers.saliency import Saliency

from xai_bench.testing import tiny_batch, tiny_classifier


def test_a_linear_model_s_map_is_what_each_pixel_adds_to_the_logit():
    classifier = linear(3)
    batch = colored(tiny_batch(classifier))
    maps = InputXGradient()(classifier, batch)
    assert torch.allclose(maps, (classifier.model.weight.detach()[batch.targets] * batch.images).sum(1), atol=1e-6)
    with torch.no_grad():
        logits = classifier(batch.images).gather(1, batch.targets[:, None])[:, 0]
    assert torch.allclose(maps.sum((1, 2)), logits - 1, atol=1e-4)


def test_equal_to_captum_and_to_the_product():
    from captum.attr import InputXGradient as Captum

    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    ours = InputXGradient()(classifier, batch)
    theirs = Captum(classifier).attribute(batch.images.clone().requires_grad_(), target=batch.targets)
    assert torch.equal(ours, theirs.sum(1))
    assert torch.allclose(ours, batch.images[:, 0] * Saliency()(classifier, batch), atol=1e-7)
    assert not ours[batch.images[:, 0] == 0].any()
