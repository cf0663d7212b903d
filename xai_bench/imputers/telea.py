"""Removed pixels are inpainted from their edge inwards: Telea's fast marching."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch
from xai_bench.registry import imputer

UNIT = 2.0**20
"""What 1 is to OpenCV. To every pixel it adds up to 1.4, along a slope that it divides by its own length and that may
be one of rounding errors or of hidden pixels (Jx, Jy in inpaint.cpp): little in 8 bits, but all of a film in [0, 1].
"""


@imputer("telea", cite="Telea 2004")
@dataclass(frozen=True)
class Telea:
    """Each hidden pixel, from the edge inwards, is a weighted mean of what is known about it; OpenCV's `inpaint`.

    `radius` in pixels, 1 to 100: how far a pixel looks for known ones. Padding is not looked at. A picture that shows
    nothing gets the mean of its content. In float32, on the CPU, a channel at a time: unlike the package shap's
    `inpaint_telea`, nothing is cast to whole numbers. Telea's slopes are left out, as OpenCV's are none (see `UNIT`):
    what OpenCV makes of an 8-bit picture differs by some gray levels.
    """

    radius: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.radius <= 100:
            raise BadInput(f"telea: radius {self.radius}; expected 1 to 100 pixels, such as 3.")

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        """Nothing: what is shown depends on what is hidden."""
        return torch.zeros_like(batch.images)

    def fill(
        self,
        images: Float[Tensor, "n c h w"],
        background: Float[Tensor, "n c h w"],
        shown: Bool[Tensor, "n h w"],
        content: Bool[Tensor, "n h w"],
    ) -> Float[Tensor, "n c h w"]:
        """Pictures with their hidden pixels inpainted, pictures in parallel."""
        host, seen, inside = (part.cpu().numpy() for part in (images.float(), shown, content))
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            rows = list(pool.map(inpainted, host, seen, inside, repeat(self.radius)))
        return torch.from_numpy(np.stack(rows) if rows else host).to(images)


def inpainted(
    image: Float[NDArray[np.float32], "c h w"],
    shown: Bool[NDArray[np.bool_], "h w"],
    content: Bool[NDArray[np.bool_], "h w"],
    radius: int,
) -> Float[NDArray[np.float32], "c h w"]:
    """A copy of one picture with its hidden content filled."""
    import cv2

    out, hidden = image.copy(), content & ~shown
    if not hidden.any():
        return out
    if not (content & shown).any():
        out[:, hidden] = image[:, content].mean(1, keepdims=True)
        return out
    rows, columns = (slice(at.min(), at.max() + 1) for at in np.nonzero(content))
    box, unknown = hidden[rows, columns], (hidden | ~content)[rows, columns].astype(np.uint8)
    for channel, result in zip(image, out, strict=True):
        known = np.where(unknown, 0, channel[rows, columns] * UNIT).astype(np.float32)
        result[rows, columns][box] = cv2.inpaint(known, unknown, radius, cv2.INPAINT_TELEA)[box] / UNIT
    return out
