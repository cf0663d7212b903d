"""A control: what an edge detector scores, which looks at the film and knows nothing of the model."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("edge_map", cite="Adebayo et al. 2018")
@dataclass(frozen=True)
class EdgeMap:
    """Sobel gradient magnitude of the gray picture; 0 in the padding and on the pixels that touch it."""

    family: ClassVar[str] = "control"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        gray = F.pad(batch.images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=gray.device, dtype=gray.dtype)
        slopes = F.conv2d(gray, torch.stack([across, across.T])[:, None])
        # A 3 x 3 maximum over the padding: the border of the film itself is an edge of the letterbox, not of the film.
        near_padding = F.max_pool2d((~batch.content)[:, None].to(gray.dtype), 3, stride=1, padding=1)[:, 0] > 0
        return slopes.square().sum(1).sqrt().masked_fill(near_padding, 0)
