"""Layer-wise relevance propagation: the logit, handed back layer by layer to what made it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import Unfit
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench.seeding import generator
from xai_bench_explainers._functions import Function, Ruled, with_slope
from xai_bench_explainers._gradients import Logits, explaining, to_map

LOST = 0.01
"""What may be missing in a map's sum without biases, as a share of its absolute sum; rounding leaves far less."""
LEAST = 1e-6
"""Positive contributions below this share of the value are none: such a value hands nothing on, as a ReLU sees to."""


@explainer("lrp", cite="Bach et al. 2015")
@dataclass(frozen=True)
class LRP:
    """The target's logit, redistributed from layer to layer in proportion to what each input contributed; in logits.

    Convolutions hand on by the z+ rule (alpha 1, beta 0: only positive contributions count, biases take nothing), a
    batch norm is part of the convolution before it, all else by the epsilon rule with epsilon to 0, in which biases
    take their share: the composite that Kohlbrenner et al. 2020 call EpsilonPlus (rules: Bach et al. 2015; Montavon et
    al. 2019). Max pooling hands on to the maximum. Relevance is that of the normalized picture, summed over channels.

    Computed as activation times modified gradient (Montavon et al. 2019, section 10.3.2), which carries relevance
    through sums, shared modules and poolings of degree 1 too. Without biases a map must sum to the logit, which is
    tried on one picture of noise. Raises Unfit where it does not, as in networks with attention, gates, layer norm or
    GELU, and for a classifier without gradients.
    """

    family: ClassVar[str] = "gradient"
    needs_gradients: ClassVar[bool] = True
    works_with: ClassVar[str] = "CNNs with ReLUs, without gates; no transformers"

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        with explaining(self, classifier) as logits:
            _check(classifier, logits, batch)
            with Ruled(Rules(biases=True).table):
                maps, _ = relevance(classifier, logits, batch.images, batch.targets)
        return to_map(maps[:, None], batch.images)


def _check(classifier: Classifier, logits: Logits, batch: Batch) -> None:
    """Raises Unfit where relevance gets lost in a network without biases."""
    noise = torch.rand(1, *batch.images.shape[1:], generator=generator(0, "lrp")).to(batch.images)
    with Ruled(Rules(biases=False).table):
        maps, score = relevance(classifier, logits, noise, batch.targets[:1] * 0)
    if (maps.sum() - score).abs() > LOST * torch.maximum(maps.abs().sum(), score.abs()):
        raise Unfit(
            f"lrp has no rule for a part of {classifier.architecture}: without biases its relevance sums to "
            f"{float(maps.sum()):.3g} where the logit is {float(score):.3g}; use 'integrated_gradients'."
        )


def relevance(
    classifier: Classifier, logits: Logits, images: Float[Tensor, "b c h w"], targets: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, " b"]]:
    """Normalized picture times gradient, summed over channels; and the targets' logits.

    It is the gradient with respect to a factor of 1 on each pixel of the normalized picture.
    """
    factor = torch.ones_like(images[:, :1]).requires_grad_()
    seen = classifier.normalize(images) * factor
    scores = logits(seen * classifier.std + classifier.mean).gather(1, targets[:, None])[:, 0]
    return torch.autograd.grad(scores.sum(), factor)[0][:, 0], scores.detach()


class Rules:
    """What convolutions, dense layers and batch norms do, with the model's values and the rules' slopes.

    Without `biases` nothing is added anywhere: what a network without biases would compute.
    """

    def __init__(self, biases: bool) -> None:
        self.biases = biases
        self.last: tuple[Tensor, Tensor, Tensor, tuple[Any, ...], dict[str, Any]] | None = None

    @property
    def table(self) -> dict[Function, Function]:
        """Which function each rule stands for."""
        return {torch.conv2d: self.convolution, F.linear: self.dense, F.batch_norm: self.batch_norm}

    def convolution(
        self,
        input: Tensor,  # noqa: A002 - torch's name
        weight: Tensor,
        bias: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """z+; the call is kept, as a batch norm may follow."""
        value = torch.conv2d(input.detach(), weight, bias if self.biases else None, *args, **kwargs)
        found = _positive(value, input, weight, args, kwargs)
        self.last = (found, input, weight, args, kwargs)
        return found

    def dense(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 - torch's name
        """Plain: activation times gradient is the epsilon rule."""
        return F.linear(input, weight, bias if self.biases else None)

    def batch_norm(
        self,
        input: Tensor,  # noqa: A002 - torch's name
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Part of the convolution whose output it gets, else plain; with the arguments of `F.batch_norm`."""
        if training or running_mean is None or running_var is None:  # it normalizes by the batch: no rule
            return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
        if not self.biases:
            running_mean, bias = torch.zeros_like(running_mean), None
        value = F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        if self.last is None or self.last[0] is not input:
            return value
        _, before, kernel, args, kwargs = self.last
        scale = (running_var + eps).rsqrt() * (1 if weight is None else weight)
        return _positive(value.detach(), before, kernel * scale[:, None, None, None], args, kwargs)


def _positive(value: Tensor, x: Tensor, weight: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """`value`, handed back in proportion to the positive contributions x_i w_ij."""
    parts = (x.clamp(min=0), weight.clamp(min=0)), (x.clamp(max=0), weight.clamp(max=0))
    total = sum(torch.conv2d(part, kernel, None, *args, **kwargs) for part, kernel in parts)
    assert isinstance(total, Tensor)  # the sum of two
    known = total.detach() > LEAST * value.abs()
    return with_slope(value, total, torch.where(known, value / torch.where(known, total, 1), 0))
