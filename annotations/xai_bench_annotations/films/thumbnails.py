"""A small picture of a film, for worklists."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from xai_bench_annotations.server.tables import Image

LONGEST = 160
"""Pixels along the longer side, in a worklist."""


def thumbnail(pixels: NDArray[np.uint16], image: Image, longest: int = LONGEST) -> bytes:
    """A PNG of a film as it is first shown: in its own window, or without its darkest and brightest percent.

    `longest`: pixels along its longer side, at most.
    """
    height, width = pixels.shape
    scale = min(1.0, longest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Picture.fromarray(pixels.astype(np.float32)).resize(size, Picture.Resampling.BOX))
    low, high = _window(small, image)
    gray = np.clip((small - low) / max(high - low, 1e-6), 0, 1)
    gray = 1 - gray if image.photometric == "MONOCHROME1" else gray
    file = io.BytesIO()
    Picture.fromarray((gray * 255).round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _window(small: NDArray[np.float32], image: Image) -> tuple[float, float]:
    """The darkest and brightest pixel value that are told apart; a stored window is in units after the rescale."""
    if image.window_center is None or image.window_width is None or image.slope == 0:
        low, high = np.percentile(small, (1, 99))
        return float(low), float(high)
    ends = (image.window_center + sign * image.window_width / 2 for sign in (-1, 1))
    low, high = sorted((end - image.intercept) / image.slope for end in ends)
    return low, high
