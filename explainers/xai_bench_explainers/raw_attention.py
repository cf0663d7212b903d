"""Raw attention: what the last block of a transformer looks at."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.classifiers.attention import read_last_attention
from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("raw_attention", cite="Vaswani et al. 2017; as an explanation: Abnar & Zuidema 2020, section 2")
@dataclass(frozen=True)
class RawAttention:
    """Mean attention over the heads of the last block, from the tokens that make the logits to the patches, in [0, 1].

    These tokens are the class token (DeiT: mean of class and distillation token) or else all patches. Where blocks
    attend within windows (Swin, TinyViT) or among strided patches (MobileViT), every token of a window counts, and the
    last block of each way to cut the last grid up (Swin: windows and shifted windows) is put back to its pixels and
    averaged. It does not depend on the target. Raises Unfit for a classifier without such attention.
    """

    family: ClassVar[str] = "attention"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False
    works_with: ClassVar[str] = "transformers, also with windows"

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        found = read_last_attention(classifier, batch.images)
        return torch.stack([last.on_grid() for last in found]).mean(0)
