"""Guided backpropagation: gradients that every ReLU lets through only where they are positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import Unfit
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._functions import Ruled, named
from xai_bench_explainers._gradients import explaining, picture_gradient, to_map

RELUS = named("relu", "relu_")


@explainer("guided_backprop", cite="Springenberg et al. 2015")
@dataclass(frozen=True)
class GuidedBackprop:
    """The gradient of the target's logit, where every ReLU passes back positive gradients only; summed over channels.

    Signed, in logits per unit of intensity (Springenberg et al. 2015); only ReLUs are guided, as modules or functions.
    A known failure, here so that it can be shown: the map is nearly that of an edge detector and hardly depends on the
    class or on the weights of later layers (Adebayo et al. 2018; Sixt et al. 2020 prove that it converges to a map that
    does not). Raises Unfit for a classifier without gradients or without a ReLU.
    """

    family: ClassVar[str] = "gradient"
    needs_gradients: ClassVar[bool] = True
    works_with: ClassVar[str] = "networks with ReLUs"

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        with explaining(self, classifier) as logits, Ruled(dict.fromkeys(RELUS, guided)) as ruled:
            gradient = picture_gradient(logits, batch)
        if not ruled.calls:
            raise Unfit(f"guided_backprop needs ReLUs, and {classifier.architecture} calls none; use 'saliency'.")
        return to_map(gradient, batch.images)


def guided(x: Float[Tensor, "..."], inplace: bool = False) -> Float[Tensor, "..."]:
    """A ReLU, never in place, that is guided on the way back."""
    found = F.relu(x)
    if found.requires_grad:
        found.register_hook(torch.relu)  # type: ignore[no-untyped-call]  # torch's
    return found
