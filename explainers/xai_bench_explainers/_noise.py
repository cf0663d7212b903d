"""What SmoothGrad and VarGrad share: another explainer's maps of a picture under Gaussian noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Explainer, Saliency, Traits
from xai_bench.seeding import generator
from xai_bench_explainers._gradients import name_of
from xai_bench_explainers._padding import distinct, each_copy, refilled
from xai_bench_explainers._wrapped import Remade
from xai_bench_explainers.saliency import Saliency as Gradient


@dataclass(frozen=True)
class Noise(Remade):
    """A wrapper around any explainer: its maps of `samples` copies of the picture, each with its own Gaussian noise.

    `sigma` is the noise's standard deviation in shares of the picture's own intensity range inside content, where it is
    added; one number a pixel for all channels, so that gray stays gray, and nothing is cut to [0, 1]. The noise depends
    on (seed, picture id); the wrapped explainer's own chance, if any, is the same in all copies.
    """

    explainer: Explainer = field(default_factory=Gradient)
    samples: int = 50
    sigma: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.sigma < float("inf"):
            raise BadInput(
                f"{name_of(self)}(samples={self.samples}, sigma={self.sigma}): expected 1 sample or more and sigma of "
                "0 or more, such as 50 and 0.15."
            )

    @property
    def family(self) -> str:  # type: ignore[override]  # a control has one of its own
        """The wrapped explainer's."""
        return Traits.of(self.explainer).family

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates."""
        return self.samples * super().evaluations

    def mean_and_variance(self, classifier: Classifier, batch: Batch) -> tuple[Saliency, Saliency]:
        """Of the maps, over the copies (Welford's update, so that a variance is never negative)."""
        mean = spread = torch.zeros(())
        few, explain = distinct(batch), partial(self.explainer, classifier)
        for n, maps in enumerate(each_copy(few, len(batch), self._copies(few), explain), 1):
            apart = maps - mean.to(maps)
            mean = mean.to(maps) + apart / n
            spread = spread.to(maps) + apart**2 * ((n - 1) / n)
        return refilled(mean, len(batch)), refilled(spread / self.samples, len(batch))

    def _copies(self, batch: Batch) -> Iterator[Float[Tensor, "b c h w"]]:
        draws = [generator(self.seed, name) for name in batch.ids]
        strength = self.sigma * intensity_range(batch)[:, None, None, None] * batch.content[:, None]
        for _ in range(self.samples):
            noise = torch.stack([torch.randn(1, *batch.images.shape[2:], generator=draw) for draw in draws])
            yield batch.images + strength * noise.to(batch.images)


def intensity_range(batch: Batch) -> Float[Tensor, " b"]:
    """Each picture's largest minus smallest intensity inside its content; 0 where it has none."""
    outside, inf = ~batch.content[:, None], torch.inf
    low = batch.images.masked_fill(outside, inf).flatten(1).amin(1)
    high = batch.images.masked_fill(outside, -inf).flatten(1).amax(1)
    return torch.where(batch.content.flatten(1).any(1), high - low, 0)
