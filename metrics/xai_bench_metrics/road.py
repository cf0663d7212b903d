"""ROAD: remove and debias. How much of the score, and of the prediction, survives when a share of the pixels goes?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.imputers.noisy_linear import NoisyLinear
from xai_bench.protocols import Case, Imputer, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import BAD_MODEL, Checked, conclude
from xai_bench_metrics._removal import Pass, PixelRemoval

NO_CLASS = Reason("excluded", "the target's head predicts no class")


@metric("road", cite="Rong et al. 2022")
@dataclass(frozen=True)
class Road(PixelRemoval):
    """Half the gap between the score with the least and with the most relevant pixels removed, at nine shares.

    1/steps, 2/steps ... of the content are removed (10, 20 ... 90 %), never none or all. `road_morf` and `road_lerf`
    are the target's mean score over these shares, `road` = (LeRF - MoRF) / 2, in [-0.5, 0.5] for probabilities;
    `road_accuracy*` is the same of whether the target is still the class that its head predicts, as in the paper.
    """

    imputer: Imputer = field(default_factory=NoisyLinear)
    steps: int = 10
    passes: ClassVar[tuple[Pass, ...]] = ("morf", "lerf")

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The gap and both means, of the score and of being predicted."""
        inf = float("inf")
        low, high, span = (0.0, 1.0, 0.5) if self.score == "probability" else (-inf, inf, inf)
        return {
            "road": ScoreInfo("higher", -span, span, headline=True),
            "road_morf": ScoreInfo("lower", low, high),
            "road_lerf": ScoreInfo("higher", low, high),
            "road_accuracy": ScoreInfo("higher", -0.5, 0.5),
            "road_accuracy_morf": ScoreInfo("lower"),
            "road_accuracy_lerf": ScoreInfo("higher"),
        }

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture and map."""
        return 2 * (self.steps - 1)

    def together(self, cases: Sequence[Case]) -> list[Result]:
        """Means and curves of each picture. x is the fraction of content removed."""
        parts = self.divide(cases)
        told = self.ask(cases[0], [question for _, question, _ in parts], (self.score, "predicted"))
        raw = _raw(cases[0])
        return [self._one(found, y, raw) for (found, _, _), y in zip(parts, told, strict=True)]

    def _one(self, found: Checked, y: Float[Tensor, "outcomes b m"], raw: Bool[Tensor, "b"]) -> Result:
        broken, scores, curves = (~y[0].isfinite().all(1), BAD_MODEL), {}, {}
        for kind, values in zip(("road", "road_accuracy"), y, strict=True):
            for way, along in self.by_pass(values):
                curves[f"{kind}_{way}"], scores[f"{kind}_{way}"] = along, along.mean(1)
            scores[kind] = (scores[f"{kind}_lerf"] - scores[f"{kind}_morf"]) / 2
        own = {name: (broken, (raw, NO_CLASS)) if "accuracy" in name else (broken,) for name in scores}
        x = torch.arange(1, self.steps, dtype=torch.float64, device=y.device) / self.steps
        return conclude(found, scores, own, curves, x)


def _raw(case: Case) -> Bool[Tensor, "b"]:
    """Whether the target is a raw output, which is no class."""
    links = [head.link == "identity" for head in case.classifier.heads for _ in head.classes]
    return torch.tensor(links, device=case.batch.targets.device)[case.batch.targets]
