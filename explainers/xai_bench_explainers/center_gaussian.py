"""A control: what always pointing at the middle of the film scores."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("center_gaussian")
@dataclass(frozen=True)
class CenterGaussian:
    """A Gaussian at the center of every picture, peak 1; `sigma` is a fraction of the height and of the width."""

    sigma: float = 0.25
    family: ClassVar[str] = "control"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise BadInput(
                f"center_gaussian: sigma is {self.sigma}; expected a positive fraction of the size, such as 0.25."
            )

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        b, _, h, w = batch.images.shape
        y, x = (((torch.arange(n) + 0.5) / n - 0.5) / self.sigma for n in (h, w))
        bump = torch.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2)
        return bump.to(batch.images.device).expand(b, h, w).clone()
