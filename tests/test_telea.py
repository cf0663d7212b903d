"""Telea's inpainting: OpenCV's numbers without rounding, no padding, all hidden, color, rows by themselves."""

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from xai_bench.errors import BadInput
from xai_bench.imputers.telea import Telea
from xai_bench.protocols import Batch


def smooth(c, h, w, seed=0):
    """A smooth film in [0, 1]."""
    found = gaussian_filter(np.random.default_rng(seed).random((c, h, w)), (0, 4, 4))
    return torch.from_numpy((found - found.min()) / np.ptp(found)).float()


def blob(h, w, share, seed=0):
    found = gaussian_filter(np.random.default_rng(seed).random((h, w)), 3)
    return torch.from_numpy(found >= np.quantile(found, 1 - share))


def fill(images, hidden, content=None, radius=3):
    content = torch.ones_like(hidden) if content is None else content
    return Telea(radius).fill(images, torch.zeros_like(images), ~hidden, content)


@pytest.mark.parametrize("radius", [1, 3, 7])
@pytest.mark.parametrize("c", [1, 3])
def test_equals_opencv_on_each_channel(c, radius):
    images = torch.stack([smooth(c, 40, 31, i) for i in range(4)])
    hidden = torch.stack([blob(40, 31, share, i) for i, share in enumerate((0.1, 0.5, 0.9, 0))])
    found = fill(images, hidden, radius=radius)
    assert found.dtype == torch.float32
    for image, mask, ours in zip(images.numpy(), hidden.numpy(), found.numpy(), strict=True):
        for channel, result in zip(image, ours, strict=True):
            large = cv2.inpaint(channel * np.float32(1e6), mask.astype(np.uint8), radius, cv2.INPAINT_TELEA) / 1e6
            assert np.abs(result - large).max() < 2e-5
            levels = cv2.inpaint(channel * np.float32(255), mask.astype(np.uint8), radius, cv2.INPAINT_TELEA) / 255
            assert np.abs(result - levels).max() < 0.05 and np.abs(result - levels).mean() < 0.01
            assert np.array_equal(result[~mask], channel[~mask])
            if mask.any():
                assert channel[~mask].min() - 1e-4 < result.min() and result.max() < channel[~mask].max() + 1e-4


def test_opencv_needs_the_unit():
    """In [0, 1] its slope of length 1 is as large as the picture: the reason for `UNIT`."""
    film, hidden = smooth(1, 40, 31), blob(40, 31, 0.9)
    plain = cv2.inpaint(film[0].numpy(), hidden.byte().numpy(), 3, cv2.INPAINT_TELEA)
    assert plain.min() < -0.3 or plain.max() > 1.3


def test_is_what_whole_gray_levels_give_without_their_rounding():
    levels = (smooth(1, 60, 60) * 255).round()
    hidden = torch.zeros(1, 60, 60, dtype=torch.bool)
    hidden[:, 20:32, 15:40] = True
    whole = cv2.inpaint(levels[0].byte().numpy(), hidden[0].byte().numpy(), 3, cv2.INPAINT_TELEA)
    found = fill(levels[None] / 255, hidden)[0, 0].numpy()
    assert np.abs(found * 255 - whole).max() < 6
    inside = found[hidden[0].numpy()] * 255
    assert np.abs(inside - inside.round()).max() > 0.2  # not cast to whole numbers


def test_a_plain_film_stays_plain_and_is_not_truncated():
    hidden = blob(30, 40, 0.6)[None]
    for value in (0.0, 0.3, 0.9999, 1.0):
        plain = torch.full((1, 1, 30, 40), value)
        assert torch.allclose(fill(plain, hidden), plain, atol=1e-5)


def test_padding_is_neither_read_nor_written():
    content = torch.zeros(1, 40, 40, dtype=torch.bool)
    content[:, 6:30, 3:36] = True
    content[:, 6:9, 30:] = False  # what is padding need not be a frame
    image, hidden = smooth(1, 40, 40)[None], blob(40, 40, 0.7)[None]
    found = fill(image, hidden, content)
    for other in (0.0, 1.0, float("nan")):
        padded = torch.where(content[:, None], image, other)
        again = fill(padded, hidden | ~content, content)
        assert torch.equal(again[content[:, None]], found[content[:, None]])
        assert torch.equal(again[~content[:, None]].nan_to_num(2), padded[~content[:, None]].nan_to_num(2))
    content[:, 6:9, 30:36] = True
    part = fill(image[..., 6:30, 3:36], hidden[:, 6:30, 3:36])
    assert torch.equal(fill(image, hidden, content)[..., 6:30, 3:36], part)


def test_what_was_under_the_hidden_pixels_is_forgotten():
    image, hidden = smooth(1, 24, 20)[None], blob(24, 20, 0.5)[None]
    for other in (0.0, 1.0, float("nan")):
        assert torch.equal(fill(torch.where(hidden[:, None], other, image), hidden), fill(image, hidden))


def test_rows_do_not_depend_on_companions():
    images = torch.stack([smooth(1, 30, 30, i) for i in range(5)])
    hidden = torch.stack([blob(30, 30, 0.2 * i, i) for i in range(5)])
    among = fill(images, hidden)
    assert torch.equal(fill(images.flip(0), hidden.flip(0)).flip(0), among)
    for i in range(5):
        assert torch.equal(fill(images[i : i + 1], hidden[i : i + 1])[0], among[i])
    assert fill(images[:0], hidden[:0]).shape == (0, 1, 30, 30)


def test_the_pictures_are_left_as_they_were_and_the_background_is_unused():
    images, hidden = smooth(1, 20, 20)[None], blob(20, 20, 0.5)[None]
    before = images.clone()
    found = fill(images, hidden)
    assert torch.equal(images, before)
    batch = Batch(images, torch.zeros(1, dtype=torch.long), ("a",), ~hidden | True, None, torch.ones(1, 2))
    assert not Telea()(batch).any()
    other = Telea().fill(images, torch.ones_like(images), ~hidden, torch.ones_like(hidden))
    assert torch.equal(other, found)


@pytest.mark.parametrize("radius", [0, 101])
def test_a_radius_that_opencv_would_clip_is_refused(radius):
    with pytest.raises(BadInput, match="expected 1 to 100 pixels"):
        Telea(radius)
