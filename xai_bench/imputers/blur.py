"""Removed pixels show the blurred picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xai_bench.protocols import Batch
from xai_bench.registry import imputer


@imputer("blur", cite="Fong & Vedaldi 2017")
@dataclass(frozen=True)
class Blur:
    """The picture itself, blurred by a Gaussian; `sigma` in pixels at 224 px, scaled with the picture."""

    sigma: float = 10.0

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        return gaussian_blur(batch.images, self.sigma * batch.images.shape[-1] / 224)


def gaussian_blur(images: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Separable Gaussian, truncated at 3 sigma, edges replicated."""
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    b, c, h, w = images.shape
    flat = F.pad(images.reshape(b * c, 1, h, w), (radius, radius, radius, radius), mode="replicate")
    flat = F.conv2d(F.conv2d(flat, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return flat.view(b, c, h, w)
