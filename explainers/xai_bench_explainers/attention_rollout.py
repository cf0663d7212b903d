"""Attention rollout: how much of each patch reaches the output through all attention layers."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.attention import read_attention
from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("attention_rollout", cite="Abnar & Zuidema 2020")
@dataclass(frozen=True)
class AttentionRollout:
    """Share of each patch in the tokens that make the logits, on the grid of patches, in [0, 1].

    These are the class token, class and distillation token (DeiT), or all patches; the mean of them. The product over
    the blocks of (1 - residual) times the mean attention over heads plus `residual` times the identity (Abnar & Zuidema
    2020, section 3; residual 0.5). It does not depend on the target. Raises Unfit for a classifier without attention
    from every token to every token.
    """

    residual: float = 0.5
    family: ClassVar[str] = "attention"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False
    works_with: ClassVar[str] = "transformers in which every token attends to every other"

    def __post_init__(self) -> None:
        if not 0 <= self.residual <= 1:
            raise BadInput(f"attention_rollout: residual is {self.residual}; expected a share in [0, 1], such as 0.5.")

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        found = read_attention(classifier, batch.images)
        return found.to_patches(rollout(torch.stack([block.mean(1) for block in found.weights]), self.residual))


def rollout(attention: Float[Tensor, "blocks b t t"], residual: float) -> Float[Tensor, "b t t"]:
    """How much of each input token (column) is in each output token (row), first block first; rows sum to 1.

    >>> rollout(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]), 0.5)
    tensor([[[0.5000, 0.5000],
             [0.5000, 0.5000]]])
    """
    identity = torch.eye(attention.shape[-1], device=attention.device, dtype=attention.dtype)
    joint = identity.expand_as(attention[0])
    for block in attention:
        joint = ((1 - residual) * block + residual * identity) @ joint
    return joint
