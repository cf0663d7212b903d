"""Gradient-weighted attention: what the last block looks at, where that raises the target's logit."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.classifiers.attention import read_last_attention
from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("gradient_attention", cite="Barkan et al. 2021 (Grad-SAM)")
@dataclass(frozen=True)
class GradientAttention:
    """Attention of the last block times the positive gradient of the target's logit with respect to it.

    Mean over heads, from the tokens that make the logits to the patches (the product of Barkan et al. 2021, last block
    only); in logits, 0 or more. Windows and strided patches (Swin, TinyViT, MobileViT) are put back to their pixels as
    in raw_attention. Raises Unfit for a classifier without such attention or without gradients.
    """

    family: ClassVar[str] = "attention"
    signed: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = True
    works_with: ClassVar[str] = "transformers, also with windows"

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        found = read_last_attention(classifier, batch.images, batch.targets)
        return torch.stack([last.on_grid() for last in found]).mean(0)
