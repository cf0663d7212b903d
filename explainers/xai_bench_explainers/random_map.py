"""A control: what a map that knows nothing scores."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench.seeding import generator


@explainer("random_map")
@dataclass(frozen=True)
class RandomMap:
    """Independent uniform noise in [0, 1) for each pixel, by (seed, picture id)."""

    seed: int = 0
    family: ClassVar[str] = "control"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        size = batch.images.shape[2:]
        return torch.stack([torch.rand(size, generator=generator(self.seed, i)) for i in batch.ids]).to(
            batch.images.device
        )
