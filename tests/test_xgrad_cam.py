"""XGrad-CAM and Respond-CAM: equal to a plain twin; each channel's part keeps the sum of gradient times activation."""

import pytest
import torch
from cam_cases import no_inplace
from cam_peer import close
from xai_bench_explainers._cam import CAM
from xai_bench_explainers.hires_cam import HiResCAM
from xai_bench_explainers.xgrad_cam import RespondCAM, XGradCAM

from xai_bench.testing import tiny_batch, tiny_classifier


def plain_twin(activation, gradient):
    """Word for word, channel by channel: weight = sum of (A / sum of A) times g; a channel of zeros has none."""
    cam = torch.zeros(activation.shape[1:])
    for channel, slope in zip(activation, gradient, strict=True):
        if channel.sum() != 0:
            cam += (channel / channel.sum() * slope).sum() * channel
    return cam


@pytest.mark.parametrize("layer", ["4", "2"])
def test_equals_the_plain_twin(layer):
    classifier = no_inplace(tiny_classifier())
    with torch.no_grad():
        classifier.model[3].bias[0] = -100  # a channel that is never active
    batch = tiny_batch(classifier)
    activation, gradient = CAM(layer).activation_and_gradient(classifier, batch)
    twin = torch.stack([plain_twin(*pair) for pair in zip(activation, gradient, strict=True)])
    assert close(RespondCAM(layer)(classifier, batch), twin, 1e-5)
    assert close(XGradCAM(layer)(classifier, batch), twin.clamp(min=0), 1e-5)


def test_the_signed_map_has_the_sum_of_gradient_times_activation():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    bias = classifier.model[-1].bias.detach()[batch.targets]
    with torch.no_grad():
        logits = classifier(batch.images).gather(1, batch.targets[:, None])[:, 0]
    sums = RespondCAM()(classifier, batch).sum((1, 2))
    assert torch.allclose(sums, logits - bias, atol=1e-4)
    assert torch.allclose(sums, HiResCAM(signed=True)(classifier, batch).sum((1, 2)), atol=1e-4)


def test_respond_cam_is_xgrad_cam_with_its_sign():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    assert torch.equal(RespondCAM()(classifier, batch), XGradCAM(signed=True)(classifier, batch))
    assert (RespondCAM().xai_bench_name, XGradCAM().xai_bench_name) == ("respond_cam", "xgrad_cam")
