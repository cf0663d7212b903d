"""Occlusion: how much the score falls when a window slides over the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import Scene, Score, evaluate_all, grid, with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer


@explainer("occlusion", cite="Zeiler & Fergus 2014")
@dataclass(frozen=True)
class Occlusion:
    """Mean fall of the target's score over all windows that cover a cell; a cell that supports the target is positive.

    The picture is cut into `cells` x `cells`; a window of `window` x `window` cells slides by one cell and shows the
    imputer's pixels. Map on the grid of cells, in units of the score (Zeiler & Fergus 2014, section 4.2). A picture
    whose scores are not finite gets a map of NaN.
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
        return with_fitted_imputer(self, training)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        b, _, h, w = batch.images.shape
        if min(h, w) < self.cells:
            raise BadInput(f"occlusion: {self.cells} cells do not fit into {h} x {w} pixels; use fewer cells.")
        scene = Scene.of(batch, grid(h, w, self.cells).expand(b, -1, -1), self.imputer)
        covered = windows(self.cells, self.window)
        keep = torch.cat([torch.ones_like(covered[:1]), ~covered])  # the first coalition is the picture itself
        scores = evaluate_all(classifier, scene, keep.expand(b, -1, -1), self.score)
        maps = spread(scores[:, :1] - scores[:, 1:], self.cells, self.window)
        return maps.masked_fill(~scores.isfinite().all(1)[:, None, None], torch.nan)

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates."""
        return (self.cells - self.window + 1) ** 2 + 1


def spread(falls: Float[Tensor, "b m"], cells: int, window: int) -> Float[Tensor, "b cells cells"]:
    """For each cell the mean over all windows that cover it.

    >>> spread(torch.tensor([[1.0, 3.0, 1.0, 3.0]]), 3, 2)[0, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    steps, edge = cells - window + 1, [window - 1] * 4
    found = falls.view(-1, steps, steps)
    total, count = (F.avg_pool2d(F.pad(part, edge), window, stride=1) for part in (found, torch.ones_like(found)))
    return total / count


def windows(cells: int, window: int) -> Bool[Tensor, "m players"]:
    """Which cells each position of the window covers, row by row.

    >>> windows(3, 2).int().tolist()[0]
    [1, 1, 0, 1, 1, 0, 0, 0, 0]
    """
    offset = torch.arange(cells) - torch.arange(cells - window + 1)[:, None]
    inside = (offset >= 0) & (offset < window)
    return (inside[:, None, :, None] & inside[None, :, None, :]).reshape(-1, cells * cells)
