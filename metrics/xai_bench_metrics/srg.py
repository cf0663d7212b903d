"""Symmetric relevance gain: removing the least relevant pixels first against removing the most relevant first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import BAD_MODEL, conclude
from xai_bench_metrics._removal import Pass, PixelRemoval, Walk


@metric("srg", cite="Bluecher et al. 2024")
@dataclass(frozen=True)
class SymmetricRelevanceGain(PixelRemoval):
    """Area under the score with the least relevant pixels removed first, minus that with the most relevant first.

    In [-1, 1] for probabilities, about 0 for a random order: what any removal costs cancels, which makes rankings
    depend less on the imputer (Bluecher et al. 2024). Both passes use one order, the second backwards: `srg_morf` is
    `deletion`, `srg_lerf` is `insertion`, asked with the same coalitions.
    """

    passes: ClassVar[tuple[Pass, ...]] = ("morf", "lerf")

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The difference, and both areas."""
        inf = float("inf")
        low, high, span = (0.0, 1.0, 1.0) if self.score == "probability" else (-inf, inf, inf)
        return {
            "srg": ScoreInfo("higher", -span, span, headline=True),
            "srg_morf": ScoreInfo("lower", low, high),
            "srg_lerf": ScoreInfo("higher", low, high),
        }

    def together(self, cases: Sequence[Case]) -> list[Result]:
        """Areas and both curves of each picture. x is the fraction of content removed."""
        return [self._one(walk) for walk in self.walks(cases)]

    def _one(self, walk: Walk) -> Result:
        morf, lerf = walk.area("morf"), walk.area("lerf")
        scores = {"srg": lerf - morf, "srg_morf": morf, "srg_lerf": lerf}
        curves = {f"srg_{way}": y for way, y in walk.y.items()}
        broken = (~torch.cat(list(curves.values()), 1).isfinite().all(1), BAD_MODEL)
        x = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64, device=morf.device)
        return conclude(walk.found, scores, dict.fromkeys(scores, (broken,)), curves, x)
