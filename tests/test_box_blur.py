"""The box filter: equal to OpenCV's, at the borders, for even and odd boxes, and for boxes beyond the picture."""

import cv2
import numpy as np
import pytest
import torch

from xai_bench.errors import BadInput
from xai_bench.imputers.box_blur import BoxBlur
from xai_bench.protocols import Batch


def batch(images):
    b, _, h, w = images.shape
    content = torch.ones(b, h, w, dtype=torch.bool)
    return Batch(images, torch.zeros(b, dtype=torch.long), ("a",) * b, content, None, torch.full((b, 2), torch.nan))


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (5, 8), (1, 4), (3, 1), (1, 1), (40, 70), (16, 31)])
@pytest.mark.parametrize("size", [(32, 48), (17, 16), (1, 9), (1, 1)])
def test_equals_opencv(rows, columns, size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = BoxBlur(rows, columns)(batch(images))
    for image, blurred in zip(images.numpy(), found.numpy(), strict=True):
        for channel, ours in zip(image, blurred, strict=True):
            assert np.abs(cv2.blur(channel.astype(np.float64), (columns, rows)) - ours).max() < 1e-6


@pytest.mark.parametrize("fields", [(0, 16), (16, -1)])
def test_a_box_without_pixels_is_refused(fields):
    with pytest.raises(BadInput, match="expected 1 or more each"):
        BoxBlur(*fields)
