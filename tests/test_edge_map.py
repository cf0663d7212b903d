"""The edge detector: equal to scikit-image's Sobel filter, silent in the padding."""

import numpy as np
import torch
from xai_bench_explainers.edge_map import EdgeMap

from xai_bench.testing import tiny_batch, tiny_classifier


def test_equals_scikit_image_up_to_its_normalization():
    from skimage.filters import sobel

    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    ours = EdgeMap()(classifier, batch)[0]
    theirs = (
        sobel(batch.images[0, 0].double().numpy(), mode="nearest") * 4 * np.sqrt(2)
    )  # it divides by 4 and by sqrt(2)
    assert torch.allclose(ours, torch.from_numpy(theirs).float(), atol=1e-5)


def test_a_step_is_an_edge_and_a_flat_picture_is_none():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=2)
    batch.content[:] = True
    batch.images[:] = 0.3
    batch.images[0, :, :, 20:] = 0.8
    step, flat = EdgeMap()(classifier, batch)
    assert torch.allclose(step[:, 19:21], torch.tensor(4 * 0.5), atol=1e-5)
    assert step[:, :19].max() < 1e-5 > step[:, 21:].max()
    assert not flat.any()


def test_the_letterbox_itself_is_no_edge():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=1)  # its last picture is letterboxed
    batch.images[:] = batch.content[:, None].float()
    assert not EdgeMap()(classifier, batch).any()
