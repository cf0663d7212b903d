"""Completeness: does the map of a method that promises it add up to what the score rose from its baseline?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import untouched
from xai_bench.protocols import Case, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import BAD_MODEL, Polarity, check, conclude

NO_PROMISE = Reason("excluded", "method promises no completeness")
SMALLEST = 0.05
NO_RISE = Reason("excluded", "scores of picture and baseline differ by less than 0.05")


@metric("completeness", cite="Sundararajan et al. 2017")
@dataclass(frozen=True)
class Completeness:
    """|sum(a) - (f(x) - f(b))|: what a map leaves unexplained, or makes up, of the rise from its baseline b.

    `completeness_gap` in units of f, which is the explained logit, or the explainer's field `score`;
    `completeness_gap_relative` as a share of |f(x) - f(b)|, excluded where that is below 0.05. Only for explainers that
    promise it by a method `baselines(batch)` (pictures b; f(b) is the mean over them); others are excluded. It tells
    whether a method computed what it says (enough steps, rules for every layer), not whether that is a good
    explanation: any map can be shifted to have the right sum. The map counts at the picture's size, inside content. One
    model evaluation of the picture and one of each of its baselines.
    """

    family: ClassVar[str] = "faithfulness"
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"
    scale_invariant: ClassVar[bool] = False

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The gap, as a share of the rise and by itself."""
        return {
            "completeness_gap_relative": ScoreInfo("lower", 0.0, float("inf"), headline=True),
            "completeness_gap": ScoreInfo("lower", 0.0, float("inf")),
        }

    def __call__(self, case: Case) -> Result:
        """One value a picture and score."""
        found = check(case, self.polarity, needs_region=False)
        baselines = getattr(case.explainer, "baselines", None)
        if baselines is None:
            nothing = torch.full_like(found.constant, torch.nan, dtype=torch.float64)
            silent = ((torch.ones_like(found.constant), NO_PROMISE),)
            return conclude(found, dict.fromkeys(self.scores, nothing), dict.fromkeys(self.scores, silent))
        total, count = torch.zeros_like(found.saliency[:, 0, 0], dtype=torch.float64), 0
        for pictures in baselines(case.batch):
            total, count = total + _score(case, pictures), count + 1
        rise = _score(case, case.batch.images) - total / count
        gap = (found.saliency.double().sum((1, 2)) - rise).abs()
        broken, small = (~rise.isfinite(), BAD_MODEL), (rise.abs() < SMALLEST, NO_RISE)
        scores = {"completeness_gap_relative": gap / rise.abs(), "completeness_gap": gap}
        return conclude(found, scores, {"completeness_gap_relative": (broken, small), "completeness_gap": (broken,)})


def _score(case: Case, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """What the explainer explains of its targets: the logit, or its field `score`; in float32, as gradients are."""
    with torch.inference_mode(), untouched(case.classifier):
        logits = case.classifier(images)
        asked = getattr(case.explainer, "score", "logit")
        found = case.classifier.probabilities(logits) if asked == "probability" else logits
    return found.gather(1, case.batch.targets[:, None])[:, 0].double()
