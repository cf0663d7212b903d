"""Occlusion of players: how much the score falls when one superpixel, vertebra or disc is hidden."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import Scene, Score, evaluate, with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench_explainers._players import check_segmentation, paint, players

USUAL = {"anatomy": 34}
"""Players of a film from T1 to L5; superpixels are about a hundred."""


@explainer("occlusion_players", cite="Zeiler & Fergus 2014")
@dataclass(frozen=True)
class OcclusionPlayers:
    """Fall of the target's score when a player is hidden alone, painted on its pixels; signed, in units of the score.

    Occlusion (Zeiler & Fergus 2014, section 4.2) whose windows are the players of the segmentation; hidden, a player
    shows the imputer's pixels. With `anatomy` these are the vertebrae, the discs, and all that is none of them. A
    picture whose scores are not finite gets a map of NaN.
    """

    segmentation: str = "quickshift"
    imputer: Imputer = field(default_factory=Zero)
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        check_segmentation("occlusion_players", self.segmentation)

    @property
    def needs_players(self) -> bool:
        """Whether batches must carry anatomical players."""
        return self.segmentation == "anatomy"

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates: a player each, and the picture itself; exact for a grid."""
        if self.segmentation.startswith("grid"):
            return int(self.segmentation[5:-1]) ** 2 + 1
        return USUAL.get(self.segmentation, 100) + 1

    def fit(self, classifier: Classifier, training: TrainingData) -> OcclusionPlayers:
        """Fit the imputer, where it learns from training films."""
        return with_fitted_imputer(self, training)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        labels = players(batch, self.segmentation)
        counts = (labels.flatten(1).amax(1) + 1).tolist()
        keep = torch.cat([F.pad(one_hidden(count), (0, max(counts) - count)) for count in counts])
        sizes = [count + 1 for count in counts]
        owner = torch.arange(len(batch)).repeat_interleave(torch.tensor(sizes))
        scores = evaluate(classifier, Scene.of(batch, labels, self.imputer), owner, keep, self.score)
        parts = torch.split(scores, sizes)
        falls = [one[0] - one[1:] if one.isfinite().all() else one[1:] * torch.nan for one in parts]
        return paint(torch.nn.utils.rnn.pad_sequence(falls, batch_first=True).to(batch.images), labels)


def one_hidden(count: int) -> Bool[Tensor, "m players"]:
    """Everybody, and then everybody but one player.

    >>> one_hidden(2).int().tolist()
    [[1, 1], [0, 1], [1, 0]]
    """
    return torch.cat([torch.ones(1, count, dtype=torch.bool), ~torch.eye(count, dtype=torch.bool)])
