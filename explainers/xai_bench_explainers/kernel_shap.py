"""Kernel SHAP: Shapley values of superpixels, by a weighted regression on random coalitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import comb
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.perturbation import Scene, Score, evaluate, with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench.seeding import generator
from xai_bench_explainers._players import check_segmentation, paint, players


@explainer("kernel_shap", cite="Lundberg & Lee 2017")
@dataclass(frozen=True)
class KernelShap:
    """The Shapley value of each player, painted on its pixels; signed, in units of the score.

    The players' values sum to f(x) - f(all hidden), and solve the least squares of Lundberg & Lee 2017 (theorem 2)
    under that constraint. The values are exact where a picture's proper coalitions, 2^players - 2, number at most
    `samples`. Else coalitions are drawn from the Shapley kernel, each with its complement (Covert & Lee 2021); the
    values are then exact for a score without interactions of three or more players, given enough samples to determine
    them. With fewer pairs than players it is the solution nearest to equal values. A picture whose scores are not
    finite gets a map of NaN.
    """

    samples: int = 1000
    seed: int = 0
    segmentation: str = "quickshift"
    imputer: Imputer = field(default_factory=Blur)
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        check_segmentation("kernel_shap", self.segmentation)
        if self.samples < 2:
            raise BadInput(f"kernel_shap: samples is {self.samples}; expected 2 or more, such as 1000.")

    @property
    def needs_players(self) -> bool:
        """Whether batches must carry anatomical players."""
        return self.segmentation == "anatomy"

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates; the picture itself and the hidden one come on top of samples."""
        return self.samples + 2

    def fit(self, classifier: Classifier, training: TrainingData) -> KernelShap:
        """Fit the imputer, where it learns from training films."""
        return with_fitted_imputer(self, training)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        labels = players(batch, self.segmentation)
        counts = (labels.flatten(1).amax(1) + 1).tolist()
        plans = [
            coalitions(count, self.samples, generator(self.seed, name))
            for count, name in zip(counts, batch.ids, strict=True)
        ]
        keep = torch.cat([F.pad(rows, (0, max(counts) - rows.shape[1])) for rows, _ in plans])
        owner = torch.arange(len(batch)).repeat_interleave(torch.tensor([len(rows) for rows, _ in plans]))
        scores = evaluate(classifier, Scene.of(batch, labels, self.imputer), owner, keep, self.score).double().cpu()
        parts = torch.split(scores, [len(rows) for rows, _ in plans])
        # Picture by picture: solved together, a picture's last bits would depend on the players of the others.
        values = [shapley_values(*plan, part) for plan, part in zip(plans, parts, strict=True)]
        return paint(torch.nn.utils.rnn.pad_sequence(values, batch_first=True).to(batch.images), labels)


def coalitions(count: int, samples: int, random: torch.Generator) -> tuple[Bool[Tensor, "m players"], Float[Tensor, m]]:
    """Coalitions to ask and their weights in the regression; the first two are everybody and nobody, of weight 0.

    All coalitions with the Shapley kernel as weight where `samples` suffices, else drawn from that kernel in pairs.
    """
    if 2**count - 2 <= samples:
        drawn = torch.arange(1, 2**count - 1)[:, None] >> torch.arange(count) & 1 > 0
        kernel = [0.0, *((count - 1) / (comb(count, s) * s * (count - s)) for s in range(1, count))]
        weights = torch.tensor(kernel, dtype=torch.float64)[drawn.sum(1)]
    else:
        size = torch.arange(1, count)
        chance = 1 / (size * (count - size)).double()  # the kernel summed over all coalitions of this size
        sizes = size[torch.multinomial(chance, samples // 2, replacement=True, generator=random)]
        rank = torch.rand(samples // 2, count, generator=random).argsort(1).argsort(1)
        drawn = rank < sizes[:, None]
        drawn = torch.cat([drawn, ~drawn])
        weights = torch.ones(len(drawn), dtype=torch.float64)
    ends = torch.tensor([[True], [False]]).expand(2, count)
    return torch.cat([ends, drawn]), F.pad(weights, (2, 0))


def shapley_values(
    keep: Bool[Tensor, "m players"], weights: Float[Tensor, m], scores: Float[Tensor, m]
) -> Float[Tensor, players]:
    """Least squares in closed form under the constraint that the values sum to scores[0] - scores[1].

    Equal values fulfill the constraint; what they leave is fitted by values that sum to 0, as the centered rows do.

    >>> keep, weights = coalitions(2, 2, torch.Generator())
    >>> shapley_values(keep, weights, torch.tensor([6.0, 0.0, 1.0, 3.0], dtype=torch.float64)).tolist()
    [2.0, 4.0]
    """
    if not scores.isfinite().all():
        return scores.new_full((keep.shape[1],), torch.nan)
    shown = keep.double()
    equal = (scores[0] - scores[1]) / keep.shape[1]
    left = scores - scores[1] - equal * shown.sum(1)
    rows = shown - shown.mean(1, keepdim=True)
    normal = rows.T @ (weights[:, None] * rows)
    # Centered rows know nothing of equal values: that eigenvalue is 0 but for rounding, which must not be inverted.
    inverse = torch.linalg.pinv(normal, rtol=1e-12, hermitian=True)
    found: Tensor = inverse @ (rows.T @ (weights * left))
    return equal + found
