"""What infidelity and mu-fidelity share: cells of a grid are hidden, and the map foretells how the score falls."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.perturbation import Scene, Score, evaluate_all, with_fitted_imputer
from xai_bench.protocols import Case, Imputer, Reason, Result, TrainingData
from xai_bench_metrics._contract import Checked, Polarity, check

NO_FALL = Reason("excluded", "zero norm: the score stays the same whatever is hidden")
NO_SUM = Reason("excluded", "zero norm: the map sums to 0 wherever something is hidden")

SMALLEST_FALL = 1e-6
"""Falls below this share of max(1, |f(x)|) are the rounding of a float32 score."""
SMALLEST_SUM = 1e-12
"""Sums below this share of the map's absolute sum are the rounding of a float64 sum."""


@dataclass(frozen=True)
class Falls:
    """What does not depend on the map: each pixel's cell, the cells hidden in each sample, and the fall of the score.

    Padding is the last cell and never hidden. Falls that differ by less than `rounding` are equal.
    """

    labels: Int[Tensor, "b h w"]
    hidden: Bool[Tensor, "b m cells"]
    fall: Float[Tensor, "b m"]
    rounding: Float[Tensor, "b"]


@dataclass(frozen=True)
class HiddenCells(ABC):
    """What infidelity and mu-fidelity share: cells of a grid are hidden, and the map foretells how the score falls.

    The grid has `cells` x `cells` cells over the content. What is hidden depends on (seed, picture id) alone, so that
    all maps of a batch are judged by the same answers of the model, asked once. `imputer` fills what is hidden; `score`
    is the target's probability or logit.
    """

    samples: int = 200
    cells: int = 14
    imputer: Imputer = field(default_factory=Blur)
    score: Score = "probability"
    seed: int = 0
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"

    def __post_init__(self) -> None:
        if self.samples < 3 or self.cells < 2:
            raise BadInput(
                f"{type(self).__name__}(samples={self.samples}, cells={self.cells}): use 3 samples and 2 cells or more."
            )

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, however many maps there are of it."""
        return self.samples + 1

    def fit(self, classifier: Classifier, training: TrainingData) -> "HiddenCells":
        """Fit the imputer on training films, where it learns from them."""
        return with_fitted_imputer(self, training)

    def __call__(self, case: Case) -> Result:
        """Scores of each picture."""
        return self.many([case])[0]

    def many(self, cases: Sequence[Case]) -> list[Result]:
        """The same for many maps; the model answers once for all maps of a batch."""
        known: dict[tuple[int, int], Falls] = {}
        for case in cases:
            if _key(case) not in known:
                known[_key(case)] = self._ask(case)
        return [self._one(case, known[_key(case)]) for case in cases]

    @abstractmethod
    def hide(self, labels: Int[Tensor, "b h w"], ids: Sequence[str]) -> Bool[Tensor, "b m cells"]:
        """The cells that each sample hides; labels and result on the CPU."""

    @abstractmethod
    def judge(self, found: Checked, told: Float[Tensor, "b m"], falls: Falls) -> Result:
        """The scores, from what the map told (its sum over what is hidden) and how the score fell."""

    def _ask(self, case: Case) -> Falls:
        batch = case.batch
        labels = cells_of(batch.content, self.cells)
        hidden = self.hide(labels.cpu(), batch.ids)
        b, m, players = hidden.shape
        keep = torch.ones(b, m + 1, players + 1, dtype=torch.bool)  # the first shows all; padding always shows
        keep[:, 1:, :-1] = ~hidden
        y = evaluate_all(case.classifier, Scene.of(batch, labels, self.imputer), keep, self.score).double()
        rounding = SMALLEST_FALL * y[:, 0].abs().clamp(min=1)
        return Falls(labels, hidden.to(y.device), y[:, :1] - y[:, 1:], rounding)

    def _one(self, case: Case, falls: Falls) -> Result:
        found = check(case, self.polarity, needs_region=False)
        b, _, cells = falls.hidden.shape
        sums = torch.zeros(b, cells + 1, dtype=torch.float64, device=falls.fall.device)
        sums = sums.scatter_add(1, falls.labels.flatten(1), found.saliency.flatten(1).double())[:, :-1]
        return self.judge(found, (falls.hidden.double() @ sums[:, :, None])[:, :, 0], falls)


def _key(case: Case) -> tuple[int, int]:
    return id(case.classifier), id(case.batch)


def cells_of(content: Bool[Tensor, "b h w"], cells: int) -> Int[Tensor, "b h w"]:
    """Each pixel's cell in a grid over the box around the content, numbered row by row; padding is `cells ** 2`.

    >>> cells_of(torch.tensor([[[False, True, True, True, True]] * 2]), 2).tolist()
    [[[4, 0, 0, 1, 1], [4, 2, 2, 3, 3]]]
    """
    row, column = _along(content.any(2), cells), _along(content.any(1), cells)
    return (row[:, :, None] * cells + column[:, None, :]).masked_fill(~content, cells**2)


def _along(used: Bool[Tensor, "b n"], cells: int) -> Int[Tensor, "b n"]:
    place = (used.cumsum(1) - 1).clamp(min=0)
    return ((2 * place + 1) * cells) // (2 * used.sum(1, keepdim=True)).clamp(min=1)  # pixel centers decide


def nothing_told(told: Float[Tensor, "b m"], found: Checked) -> Bool[Tensor, "b"]:
    """Whether the values are all 0 apart from rounding, against the map's absolute sum."""
    size = found.saliency.double().abs().sum((1, 2))
    return told.abs().amax(1) <= SMALLEST_SUM * size
