"""Chefer's relevance for attention models: relevance of the patches carried through all self-attention layers."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.attention import read_attention
from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("chefer_attribution", cite="Chefer et al. 2021 (ICCV)")
@dataclass(frozen=True)
class CheferAttribution:
    """Relevance of each patch for the tokens that make the logits, on the grid of patches, 0 or more.

    R starts as the identity; each block adds the mean over heads of the positive part of gradient times attention,
    multiplied by R (Chefer et al. 2021, "Generic attention-model explainability", equations 5 and 6, for self-attention
    encoders). Raises Unfit for a classifier without attention from every token to every token, or without gradients.
    """

    family: ClassVar[str] = "attention"
    signed: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = True
    works_with: ClassVar[str] = "transformers in which every token attends to every other"

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        found = read_attention(classifier, batch.images, batch.targets)
        return found.to_patches(relevance(torch.stack(found.weights), torch.stack(found.gradients)))


def relevance(
    attention: Float[Tensor, "blocks b heads t t"], gradient: Float[Tensor, "blocks b heads t t"]
) -> Float[Tensor, "b t t"]:
    """Relevance of each input token (column) for each output token (row), first block first.

    >>> relevance(torch.tensor([[[[[0.0, 1.0], [1.0, 0.0]]]]]), torch.tensor([[[[[0.0, 2.0], [-1.0, 0.0]]]]]))
    tensor([[[1., 2.],
             [0., 1.]]])
    """
    joint = torch.eye(attention.shape[-1], device=attention.device, dtype=attention.dtype).expand_as(attention[0, :, 0])
    for block, slope in zip(attention, gradient, strict=True):
        joint = joint + (slope * block).relu().mean(1) @ joint
    return joint
