"""Removed pixels show the mean of the pixels about them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch
from xai_bench.registry import imputer


@imputer("box_blur", cite="Lundberg & Lee 2017")
@dataclass(frozen=True)
class BoxBlur:
    """The picture itself, blurred by a box filter of `rows` x `columns` pixels, at any size of the picture.

    The package shap's `blur(columns,rows)`, which is OpenCV's `blur`: the picture is mirrored at its edges without
    repeating them, and an even box reaches one pixel further up and to the left.
    """

    rows: int = 16
    columns: int = 16

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise BadInput(
                f"box_blur: a box of {self.rows} x {self.columns} pixels; expected 1 or more each, such as 16 x 16."
            )

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        _, _, h, w = batch.images.shape
        row, column = (mirrored(*size).to(batch.images.device) for size in ((h, self.rows), (w, self.columns)))
        tall = F.avg_pool2d(batch.images[:, :, row], (self.rows, 1), stride=1)
        return F.avg_pool2d(tall[..., column], (1, self.columns), stride=1)


def mirrored(size: int, box: int) -> Int[Tensor, "reach"]:
    """Which pixel of a line each place under a sliding box is, beyond the ends too.

    >>> mirrored(3, 4).tolist()
    [2, 1, 0, 1, 2, 1]
    """
    period = max(2 * (size - 1), 1)
    place = (torch.arange(size + box - 1) - box // 2) % period
    return torch.minimum(place, period - place) if size > 1 else torch.zeros_like(place)
