"""Expected gradients: integrated gradients, averaged over the films of other patients as baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import tee
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.other_patient import OtherPatient
from xai_bench.perturbation import with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench.seeding import generator
from xai_bench_explainers._gradients import baseline, explaining, picture_gradient, to_map
from xai_bench_explainers._padding import distinct, each_copy, refilled


@explainer("expected_gradients", cite="Erion et al. 2021")
@dataclass(frozen=True)
class ExpectedGradients:
    """The mean of (x - b) times the gradient at a random point between baseline b and picture x; signed, in logits.

    Each of `samples` draws takes one training film as b and one point, uniformly (Erion et al. 2021, equation 2), by
    (seed, picture id); summed over channels. A map sums to f(x) - mean f(b) of the drawn films, the target's logits,
    but for the error of the drawn points, which falls with 1 / sqrt(samples): the metric `completeness` tells. Films
    are those that `imputer` puts in place of the content; one that draws by picture draws anew for each sample.
    captum's GradientShap is the same with global randomness. Raises Unfit for a classifier without gradients.
    """

    samples: int = 100
    seed: int = 0
    imputer: Imputer = field(default_factory=lambda: OtherPatient(films=64))
    family: ClassVar[str] = "gradient"
    needs_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise BadInput(f"expected_gradients: samples is {self.samples}; expected 1 or more, such as 100.")

    @property
    def evaluations(self) -> int:
        """Gradients a picture, for estimates."""
        return self.samples

    def fit(self, classifier: Classifier, training: TrainingData) -> ExpectedGradients:
        """Keep training films, or whatever the imputer learns from them."""
        return with_fitted_imputer(self, training)

    def baselines(self, batch: Batch) -> Iterator[Float[Tensor, "b c h w"]]:
        """The pictures from whose mean score a map adds up to the picture's: one for each sample."""
        for n in range(self.samples):
            names = tuple(f"{name} {self.seed} {n}" for name in batch.ids)
            yield baseline(replace(batch, ids=names), self.imputer)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        few = distinct(batch)
        draws = [torch.rand(self.samples, generator=generator(self.seed, name)) for name in few.ids]
        places = torch.stack(draws, 1).to(few.images)[..., None, None, None]
        total = torch.zeros_like(few.images)
        starts, again = tee(start[: len(few)].clone() for start in self.baselines(batch))
        points = (start + place * (few.images - start) for place, start in zip(places, starts, strict=True))
        with explaining(self, classifier) as logits:
            slope = partial(picture_gradient, logits)
            for start, found in zip(again, each_copy(few, len(batch), points, slope), strict=True):
                total += (few.images - start) * found
        return refilled(to_map(total / self.samples, few.images), len(batch))
