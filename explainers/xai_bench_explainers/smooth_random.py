"""A control: what smooth blobs that know nothing score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import gaussian_blur
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench.seeding import generator


@explainer("smooth_random")
@dataclass(frozen=True)
class SmoothRandom:
    """Blurred uniform noise, stretched to [0, 1], by (seed, picture id): blobs as smooth as those of CAM methods.

    `sigma` of the Gaussian is a share of the picture's shorter side. `random_map` has the finest noise; a method that
    beats only that may owe it to its smoothness.
    """

    sigma: float = 0.05
    seed: int = 0
    family: ClassVar[str] = "control"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 1:
            raise BadInput(
                f"smooth_random: sigma is {self.sigma}; expected a share of the shorter side in (0, 1], such as 0.05."
            )

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        size = batch.images.shape[2:]
        noise = torch.stack([torch.rand(1, *size, generator=generator(self.seed, i)) for i in batch.ids])
        blobs = gaussian_blur(noise, self.sigma * min(size))[:, 0]
        low, high = blobs.amin((1, 2), keepdim=True), blobs.amax((1, 2), keepdim=True)
        return ((blobs - low) / (high - low).clamp(min=torch.finfo(blobs.dtype).tiny)).to(batch.images.device)
