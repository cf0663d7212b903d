"""DeepLIFT: how each pixel's difference from a baseline is carried through the network to the logit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import Unfit
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench_explainers._functions import Function, Ruled, named, with_slope
from xai_bench_explainers._gradients import baseline, explaining, leaf, to_map

ELEMENTWISE = named(
    "relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardtanh",
    "hardswish", "hardsigmoid", "sigmoid", "tanh", "clamp", "clamp_min", "pow", "__pow__", "square", "sqrt", "exp",
    "log",
)  # fmt: skip
SAME = 1e-4
"""Inputs that differ by a smaller share get the derivative: their quotient would be one of rounding errors."""
GAP = 0.01
"""What may be missing in a map's sum, as a share of its absolute sum."""
ROUNDING = 1e-4
"""The same as a share of the logits, which deep networks compute no better where picture and baseline say the same."""


@explainer("deep_lift", cite="Shrikumar et al. 2017")
@dataclass(frozen=True)
class DeepLift:
    """(x - b) times multipliers: gradients in which a nonlinearity's slope is its difference quotient; in logits.

    The rescale rule (Shrikumar et al. 2017, equation 10) at every function of one number, the difference of the maxima
    to one place at a max pooling, from baseline b to picture x; summed over channels, signed. b is the picture with its
    content hidden by `imputer`. A map sums to f(x) - f(b), the target's logits. Raises Unfit where it does not, as in
    networks that multiply activations (attention, gates) or normalize by them, for which there is no such rule, and for
    a classifier without gradients. Equal to captum's DeepLift where that is right; it fails on a module that is used
    twice, and is wrong where a function stands for a module, poolings overlap, or one nonlinearity follows another.
    """

    imputer: Imputer = field(default_factory=Zero)
    family: ClassVar[str] = "gradient"
    needs_gradients: ClassVar[bool] = True
    works_with: ClassVar[str] = "CNNs without gates; no transformers"

    def fit(self, classifier: Classifier, training: TrainingData) -> DeepLift:
        """Fit the imputer, where it learns from training films."""
        return with_fitted_imputer(self, training)

    def baselines(self, batch: Batch) -> Iterator[Float[Tensor, "b c h w"]]:
        """The pictures from whose score a map adds up to the picture's."""
        yield baseline(batch, self.imputer)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        count, start = len(batch), baseline(batch, self.imputer)
        both = leaf(torch.cat([batch.images, start]))
        rules: dict[Function, Function] = {f: partial(rescaled, f) for f in ELEMENTWISE}
        rules |= dict.fromkeys((F.max_pool2d, torch.max_pool2d), pooled)
        with explaining(self, classifier) as logits, Ruled(rules):
            scores = logits(both).gather(1, batch.targets.repeat(2)[:, None])[:, 0]
            multipliers = torch.autograd.grad(scores[:count].sum(), both)[0][:count]
        maps = to_map(multipliers * (batch.images - start), batch.images)
        _check(classifier, maps, *scores.detach().chunk(2))
        return maps


def _check(classifier: Classifier, maps: Saliency, fx: Float[Tensor, " b"], fb: Float[Tensor, " b"]) -> None:
    """Raises Unfit where a map does not sum to f(x) - f(b)."""
    total, rise, size = maps.sum((1, 2)), fx - fb, maps.abs().sum((1, 2))
    gap = (total - rise).abs() - GAP * torch.maximum(size, rise.abs()) - ROUNDING * (fx.abs() + fb.abs())
    worst = int(gap.nan_to_num(0).argmax())
    if gap[worst] > 0:
        raise Unfit(
            f"deep_lift has no rule for a part of {classifier.architecture}: a map sums to "
            f"{float(total[worst]):.3g} where the logit rose by {float(rise[worst]):.3g}; use "
            "'integrated_gradients'."
        )


def rescaled(function: Function, z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A function of each number by itself; z holds pictures, then baselines. The pictures' slope is the quotient."""
    more = any(isinstance(a, Tensor) for a in (*args, *kwargs.values()))
    if more or not isinstance(z, Tensor) or not z.requires_grad or len(z) % 2:
        return function(z, *args, **kwargs)  # type: ignore[no-any-return]  # every torch function here returns a tensor
    here = leaf(z)
    y = function(here.clone(), *args, **kwargs)
    derivative = torch.autograd.grad(y.sum(), here)[0].chunk(2)[0]
    (zx, zb), (yx, yb) = z.chunk(2), y.detach().chunk(2)
    apart = (zx - zb).detach()
    same = apart.abs() <= SAME * torch.maximum(zx.abs(), zb.abs())
    return torch.cat([with_slope(yx, zx, torch.where(same, derivative, (yx - yb) / torch.where(same, 1, apart))), yb])


def pooled(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Max pooling: the difference of the maxima goes to the place of the larger one, which is the picture's or not."""
    kwargs.pop("return_indices", None)  # False: it is another function that returns them
    y, place = F.max_pool2d_with_indices(z, *args, **kwargs)
    if not z.requires_grad or len(z) % 2:
        return y
    (zx, zb), (yx, yb), (px, pb) = (both.chunk(2) for both in (z, y.detach(), place))
    larger = torch.where(yx >= yb, px, pb).flatten(2)
    there, base = (half.flatten(2).gather(2, larger).view(yx.shape) for half in (zx, zb.detach()))
    apart = there.detach() - base
    same = apart == 0
    return torch.cat([with_slope(yx, there, torch.where(same, 1, (yx - yb) / torch.where(same, 1, apart))), yb])
