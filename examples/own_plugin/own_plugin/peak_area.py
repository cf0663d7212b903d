"""Peak area: a metric in one file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.protocols import Case, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench.saliency import constant, invalid, positive_part

BAD_MAP = Reason("invalid", "map holds NaN or infinite values")
CONSTANT = Reason("note", "constant map")


@metric("peak_area")
@dataclass(frozen=True)
class PeakArea:
    """Share of the film whose relevance is at least `share` of the peak's, in [0, 1]: how widely a map points.

    Neither direction is better. A constant map points everywhere: 1, and noted.
    """

    share: float = 0.5
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[str] = "positive"
    scores: ClassVar[Mapping[str, ScoreInfo]] = {"peak_area": ScoreInfo(better=None, headline=True)}

    def __call__(self, case: Case) -> Result:
        content, bad = case.batch.content, invalid(case.saliency)
        maps = positive_part(case.saliency).masked_fill(~content | bad[:, None, None], 0)
        peak = maps.flatten(1).amax(1)[:, None, None]
        wide = (maps >= self.share * peak) & content
        area = wide.flatten(1).sum(1) / content.flatten(1).sum(1)
        marks = zip(bad.tolist(), constant(maps, content).tolist(), strict=True)
        reasons = tuple(BAD_MAP if wrong else CONSTANT if flat else None for wrong, flat in marks)
        return Result({"peak_area": area.masked_fill(bad, torch.nan)}, reasons)
