"""Gradient-weighted attention rollout: what reaches the output through the attention that raises the target's logit."""

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
from xai_bench_explainers.attention_rollout import rollout


@explainer("gradient_attention_rollout", cite="Abnar & Zuidema 2020; weights after Chefer et al. 2021 (ICCV)")
@dataclass(frozen=True)
class GradientAttentionRollout:
    """Share of each patch in the tokens that make the logits, through attention that speaks for the target, in [0, 1].

    Rollout (Abnar & Zuidema 2020, section 3; residual 0.5) of attention times its positive gradient, averaged over
    heads (Chefer et al. 2021, equation 5), each token's row scaled to sum 1, so that the scale of the logits does not
    matter; a token whose row is 0 keeps what it has. Raises Unfit for a classifier without attention from every token
    to every token, or without gradients.
    """

    residual: float = 0.5
    family: ClassVar[str] = "attention"
    signed: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = True
    works_with: ClassVar[str] = "transformers in which every token attends to every other"

    def __post_init__(self) -> None:
        if not 0 <= self.residual <= 1:
            raise BadInput(
                f"gradient_attention_rollout: residual is {self.residual}; expected a share in [0, 1], such as 0.5."
            )

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        found = read_attention(classifier, batch.images, batch.targets)
        weighted = [(a * g.relu()).mean(1) for a, g in zip(found.weights, found.gradients, strict=True)]
        return found.to_patches(rollout(torch.stack([to_shares(w) for w in weighted]), self.residual))


def to_shares(attention: Float[Tensor, "b t t"]) -> Float[Tensor, "b t t"]:
    """Rows scaled to sum 1; a row of zeros becomes the token itself.

    >>> to_shares(torch.tensor([[[1.0, 3.0], [0.0, 0.0]]]))
    tensor([[[0.2500, 0.7500],
             [0.0000, 1.0000]]])
    """
    total = attention.sum(-1, keepdim=True)
    identity = torch.eye(attention.shape[-1], device=attention.device, dtype=attention.dtype)
    return torch.where(total > 0, attention / total.where(total > 0, 1), identity)
