"""Integrated gradients: the gradient, averaged on the way from a baseline to the picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench_explainers._gradients import baseline, explaining, picture_gradient, to_map
from xai_bench_explainers._padding import distinct, each_copy, refilled


@explainer("integrated_gradients", cite="Sundararajan et al. 2017")
@dataclass(frozen=True)
class IntegratedGradients:
    """(x - b) times the mean gradient on the straight line from baseline b to picture x; signed, in logits.

    At `steps` points of Gauss-Legendre (Sundararajan et al. 2017, equation 1), as captum does it, summed over
    channels. A map sums to f(x) - f(b), the target's logits, as nearly as the steps allow: the metric
    `completeness` tells. The baseline is the picture with its content hidden by `imputer` (the paper's is black). What
    equals its baseline gets nothing. Raises Unfit for a classifier without gradients.
    """

    steps: int = 50
    imputer: Imputer = field(default_factory=Zero)
    family: ClassVar[str] = "gradient"
    needs_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInput(f"integrated_gradients: steps is {self.steps}; expected 1 or more, such as 50.")

    @property
    def evaluations(self) -> int:
        """Gradients a picture, for estimates."""
        return self.steps

    def fit(self, classifier: Classifier, training: TrainingData) -> IntegratedGradients:
        """Fit the imputer, where it learns from training films."""
        return with_fitted_imputer(self, training)

    def baselines(self, batch: Batch) -> Iterator[Float[Tensor, "b c h w"]]:
        """The pictures from whose score a map adds up to the picture's."""
        yield baseline(batch, self.imputer)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)
        few = distinct(batch)
        start = baseline(batch, self.imputer)[: len(few)]
        way, total = few.images - start, torch.zeros_like(start)
        points = (start + (1 + node) / 2 * way for node in nodes.tolist())
        with explaining(self, classifier) as logits:
            slope = partial(picture_gradient, logits)
            for weight, found in zip(weights.tolist(), each_copy(few, len(batch), points, slope), strict=True):
                total += weight / 2 * found * way
        return refilled(to_map(total, few.images), len(batch))
