"""Occlusion: how much the score falls when a window slides over the picture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers import Zero
from xai_bench.perturbation import Score, evaluate_coalitions
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench_explainers._padding import each_picture


@explainer("occlusion", cite="Zeiler & Fergus 2014")
@dataclass(frozen=True)
class Occlusion:
    """Mean fall of the target's score over all windows that cover a cell; a cell that supports the target is positive.

    The picture is cut into `cells` x `cells`; a window of `window` x `window` cells slides by one cell and shows the
    imputer's pixels. Map on the grid of cells, in units of the score (Zeiler & Fergus 2014, section 4.2).
    """

    cells: int = 14
    window: int = 2
    imputer: Imputer = field(default_factory=Zero)
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        if not 1 <= self.window <= self.cells:
            raise BadInput(f"occlusion: window is {self.window}, cells {self.cells}; expected 1 <= window <= cells.")

    def fit(self, classifier: Classifier, training: TrainingData) -> Occlusion:
        """Fit the imputer, where it learns from training films."""
        learn = getattr(self.imputer, "fit", None)
        return self if learn is None else replace(self, imputer=learn(training))

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        _, _, h, w = batch.images.shape
        if min(h, w) < self.cells:
            raise BadInput(f"occlusion: {self.cells} cells do not fit into {h} x {w} pixels; use fewer cells.")
        images, hidden, targets = batch.images, self.imputer(batch), batch.targets
        labels = cell_labels(h, w, self.cells).to(images.device)[None]
        covered = windows(self.cells, self.window).to(images.device)
        keep = torch.cat([torch.ones_like(covered[:1]), ~covered])[None]  # the first coalition is the picture itself

        def explain(i: int) -> Tensor:
            one = slice(i, i + 1)
            scores = evaluate_coalitions(
                classifier, images[one], hidden[one], labels, keep, targets[one], score=self.score
            )[0]
            return spread(scores[0] - scores[1:], self.cells, self.window)

        return each_picture(batch, explain)

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates."""
        return (self.cells - self.window + 1) ** 2 + 1


def spread(falls: Float[Tensor, "m"], cells: int, window: int) -> Float[Tensor, "cells cells"]:
    """For each cell the mean over all windows that cover it.

    >>> spread(torch.tensor([1.0, 3.0, 1.0, 3.0]), 3, 2)[0].tolist()
    [1.0, 2.0, 3.0]
    """
    steps, kernel = cells - window + 1, torch.ones(1, 1, window, window, device=falls.device)
    grid = falls.view(1, 1, steps, steps)
    return (F.conv_transpose2d(grid, kernel) / F.conv_transpose2d(torch.ones_like(grid), kernel))[0, 0]


def windows(cells: int, window: int) -> Bool[Tensor, "m players"]:
    """Which cells each position of the window covers, row by row.

    >>> windows(3, 2).int().tolist()[0]
    [1, 1, 0, 1, 1, 0, 0, 0, 0]
    """
    steps = cells - window + 1
    covered = torch.zeros(steps, steps, cells, cells, dtype=torch.bool)
    for row in range(steps):
        for col in range(steps):
            covered[row, col, row : row + window, col : col + window] = True
    return covered.view(steps * steps, cells * cells)


def cell_labels(height: int, width: int, cells: int) -> Int[Tensor, "h w"]:
    """The cell of each pixel, numbered row by row; pixel centers decide, as in nearest upsampling.

    >>> cell_labels(2, 4, 2).tolist()
    [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    row, col = (((torch.arange(n) + 0.5) * cells / n).long() for n in (height, width))
    return row[:, None] * cells + col[None]
