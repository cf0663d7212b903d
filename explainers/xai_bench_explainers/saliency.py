"""The gradient of the target's logit with respect to the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch
from xai_bench.protocols import Saliency as Maps
from xai_bench.registry import explainer
from xai_bench_explainers._gradients import explaining, picture_gradient, to_map


@explainer("saliency", cite="Simonyan et al. 2014")
@dataclass(frozen=True)
class Saliency:
    """The gradient of the target's logit, summed over channels; signed: where brighter pixels raise the logit.

    In logits per unit of intensity (Simonyan et al. 2014, section 3, before the absolute value), by captum's Saliency.
    It is the slope at the picture, not what the pixel contributed: 0 where the logit is saturated. See
    `saliency_absolute` for the map of the paper. Raises Unfit for a classifier without gradients.
    """

    family: ClassVar[str] = "gradient"
    needs_gradients: ClassVar[bool] = True

    def __call__(self, classifier: Classifier, batch: Batch) -> Maps:
        with explaining(self, classifier) as logits:
            return to_map(picture_gradient(logits, batch), batch.images)


@explainer("saliency_absolute", cite="Simonyan et al. 2014")
@dataclass(frozen=True)
class SaliencyAbsolute:
    """The absolute gradient of the target's logit, its maximum over channels; 0 or more: where the logit is sensitive.

    In logits per unit of intensity (Simonyan et al. 2014, section 3.1), by captum's Saliency. Of a gray film, in
    however many channels, the absolute sum over channels: they cannot change apart. Raises Unfit for a classifier
    without gradients.
    """

    family: ClassVar[str] = "gradient"
    needs_gradients: ClassVar[bool] = True
    signed: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Maps:
        with explaining(self, classifier) as logits:
            gradient = picture_gradient(logits, batch)
        return to_map(largest(gradient, batch.images)[:, None], batch.images)


def largest(gradient: Float[Tensor, "b c h w"], images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """The largest absolute gradient of a pixel's channels; of gray pictures the absolute sum.

    >>> largest(torch.tensor([1.0, -3.0]).view(1, 2, 1, 1), torch.tensor([0.2, 0.4]).view(1, 2, 1, 1)).item()
    3.0
    >>> largest(torch.tensor([1.0, -3.0]).view(1, 2, 1, 1), torch.tensor([0.2, 0.2]).view(1, 2, 1, 1)).item()
    2.0
    """
    gray = (images == images[:, :1]).flatten(1).all(1)[:, None, None]
    return torch.where(gray, gradient.sum(1).abs(), gradient.abs().amax(1))
