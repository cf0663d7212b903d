"""Deletion and insertion: does the score follow the pixels that the map calls relevant?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.protocols import Better, Case, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import BAD_MODEL, conclude
from xai_bench_metrics._removal import Pass, PixelRemoval, Walk

MIN_DROP = 0.05
NO_DROP = Reason("excluded", "scores of picture and imputed picture differ by less than 0.05")


@dataclass(frozen=True)
class OneWay(PixelRemoval):
    """What deletion and insertion share: the area under one pass, raw and normalized, and its curve."""

    curve: ClassVar[str]

    @property
    def removes(self) -> bool:
        """Whether pixels leave the picture, most relevant first, or are put into the imputed one."""
        return self.passes == ("morf",)

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The raw area, and the area on a scale where f(imputed) is 0 and f(picture) is 1, not clipped."""
        inf = float("inf")
        better: Better = "lower" if self.removes else "higher"
        low, high = (0.0, 1.0) if self.score == "probability" else (-inf, inf)
        raw = ScoreInfo(better, low, high, headline=True)
        return {self.curve: raw, f"{self.curve}_normalized": ScoreInfo(better, -inf, inf)}

    def together(self, cases: Sequence[Case]) -> list[Result]:
        """Areas and curve of each picture. x is the fraction of content removed (deletion) or shown (insertion)."""
        return [self._one(walk) for walk in self.walks(cases)]

    def _one(self, walk: Walk) -> Result:
        (way,) = self.passes
        y, area = walk.y[way], walk.area(way)
        whole, gone = y[:, 0], y[:, -1]
        scores = {self.curve: area, f"{self.curve}_normalized": (area - gone) / (whole - gone)}
        broken, small = (~y.isfinite().all(1), BAD_MODEL), ((whole - gone).abs() < MIN_DROP, NO_DROP)
        own = {self.curve: (broken,), f"{self.curve}_normalized": (broken, small)}
        x = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64, device=y.device)
        return conclude(walk.found, scores, own, {self.curve: y if self.removes else y.flip(1)}, x)


@metric("deletion", cite="Petsiuk et al. 2018")
@dataclass(frozen=True)
class Deletion(OneWay):
    """Area under the score while the most relevant pixels are removed first; low where the map is faithful.

    Raw, and normalized by f(picture) and f(imputed): excluded where they differ by less than 0.05, not clipped.
    """

    curve: ClassVar[str] = "deletion"
    passes: ClassVar[tuple[Pass, ...]] = ("morf",)


@metric("insertion", cite="Petsiuk et al. 2018")
@dataclass(frozen=True)
class Insertion(OneWay):
    """Area under the score while the most relevant pixels are put into the imputed picture first; high where faithful.

    The same pictures as removing the least relevant first, read backwards. Raw, and normalized by f(picture) and
    f(imputed): excluded where they differ by less than 0.05, not clipped.
    """

    curve: ClassVar[str] = "insertion"
    passes: ClassVar[tuple[Pass, ...]] = ("lerf",)
