"""LayerCAM: equal to a plain twin on early and late layers; fine where the layer is fine."""

import pytest
import torch
from cam_cases import no_inplace
from cam_peer import close
from xai_bench_explainers._cam import CAM
from xai_bench_explainers.hires_cam import HiResCAM
from xai_bench_explainers.layer_cam import LayerCAM

from xai_bench.testing import tiny_batch, tiny_classifier


@pytest.mark.parametrize(("layer", "grid"), [("2", (16, 24)), ("4", (8, 12)), ("3", (8, 12))])
def test_equals_the_plain_twin(layer, grid):
    """Word for word: weights relu(g) place by place, M = relu(sum of weight times A)."""
    classifier = no_inplace(tiny_classifier())
    batch = tiny_batch(classifier)
    activation, gradient = CAM(layer).activation_and_gradient(classifier, batch)
    twin = torch.zeros(4, *grid)
    for k in range(activation.shape[1]):
        twin += torch.where(gradient[:, k] > 0, gradient[:, k] * activation[:, k], 0)
    assert close(LayerCAM(layer)(classifier, batch), twin.clamp(min=0), 1e-5)


def test_is_never_below_hires_cam_after_a_relu():
    """Without negative gradients nothing is subtracted."""
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    more = LayerCAM()(classifier, batch) - HiResCAM(signed=True)(classifier, batch)
    assert (more >= -1e-6).all() and (more > 1e-3).any()
