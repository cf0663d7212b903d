"""What replaces removed pixels: one small class each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, TrainingData
from xai_bench.registry import imputer


@imputer("zero", cite="Zeiler & Fergus 2014")
@dataclass(frozen=True)
class Zero:
    """Black."""

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        return torch.zeros_like(batch.images)


@imputer("training_mean", cite="Petsiuk et al. 2018")
@dataclass(frozen=True)
class TrainingMean:
    """The mean film of the training patients, one picture for all."""

    state: Mapping[str, Tensor] | None = field(default=None, repr=False)

    def fit(self, training: TrainingData) -> TrainingMean:
        """Average every training film."""
        total, count = None, 0
        for batch, _ in training:
            part = batch.images.sum(0)
            total, count = part if total is None else total + part, count + len(batch)
        if total is None:
            raise BadInput("imputer 'training_mean' needs training films, and there are none; use 'blur' or 'zero'.")
        return replace(self, state={"mean": total / count})

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        if self.state is None:
            raise BadInput("imputer 'training_mean' was not fitted; run it in a study, or call fit(training) first.")
        mean = self.state["mean"].to(batch.images.device)
        if mean.shape[-2:] != batch.images.shape[-2:]:
            raise BadInput(
                f"imputer 'training_mean' was fitted on {tuple(mean.shape[-2:])}, "
                f"the pictures are {tuple(batch.images.shape[-2:])}."
            )
        if len(mean) > batch.images.shape[1]:  # gray films where some training films are in color
            mean = mean.mean(0, keepdim=True)
        return mean.expand_as(batch.images)


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
