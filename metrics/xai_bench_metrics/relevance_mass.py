"""Relevance mass: how much of the positive relevance lies inside the region."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Polarity, conclude
from xai_bench_metrics._localization import POLARITY, view


@metric("relevance_mass", cite="Wang et al. 2020 (energy-based pointing game); Arras et al. 2022")
@dataclass(frozen=True)
class RelevanceMass:
    """Share of the positive relevance that lies inside the region, 0 to 1; only pixels inside content.

    A map without positive relevance scores the region's share of the content, its chance value, and is marked.
    """

    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = POLARITY

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """One score."""
        return {"relevance_mass": ScoreInfo("higher", headline=True)}

    def __call__(self, case: Case) -> Result:
        """One value a picture."""
        found = view(case).found
        # A constant map weighs all pixels alike, whatever its constant: the area fraction.
        weights = torch.where(found.constant[:, None, None], found.content.to(found.saliency.dtype), found.saliency)
        inside, total = (w.sum((1, 2), dtype=torch.float64) for w in (weights.masked_fill(~found.region, 0), weights))
        return conclude(found, {"relevance_mass": inside / total})
