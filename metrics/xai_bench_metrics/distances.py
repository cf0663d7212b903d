"""Distances: how far from the region does the map point?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import NO_SPACING, Checked, Polarity, check, conclude, millimeters
from xai_bench_metrics.pointing_game import row_gap

CHUNK = 1 << 10  # peaks at a time, so that their candidates stay in cache: a constant map has as many as pixels


@metric("distances")
@dataclass(frozen=True)
class Distances:
    """How far the positive part's center of mass and peak are from the region; 0 is best.

    `centroid_distance`: from the center of mass to the region's centroid. `peak_distance`: from the largest pixel to
    the nearest pixel of the region, 0 inside; the mean over tied maxima. Euclidean, between pixel centers; `_px` in
    pixels of a picture that is 224 wide, `_mm` by the spacing of rows and columns, where it is known. A constant map's
    center is that of the content and all its pixels are peaks: chance.
    """

    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = "positive"

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Two distances, in pixels and in millimeters."""
        px, mm = (ScoreInfo("lower", 0.0, float("inf"), unit) for unit in ("px", "mm"))
        return {
            "centroid_distance_px": replace(px, headline=True),
            "centroid_distance_mm": mm,
            "peak_distance_px": px,
            "peak_distance_mm": mm,
        }

    def __call__(self, case: Case) -> Result:
        """One value a picture, distance and unit."""
        found = check(case, self.polarity)
        spacing, known = millimeters(case.batch.spacing_mm)
        units = torch.stack([torch.full_like(spacing, 224 / found.region.shape[2]), spacing], 1)
        values = torch.cat([_centroid_distance(found, units), _peak_distance(found, units)], 1)
        scores = dict(zip(self.scores, values.unbind(1), strict=True))
        return conclude(found, scores, {name: ((~known, NO_SPACING),) for name in scores if name.endswith("mm")})


def _centroid_distance(found: Checked, units: Float[Tensor, "b u 2"]) -> Float[Tensor, "b u"]:
    """From the relevance's center of mass to the region's, where a pixel's height and width are one of `units`."""
    weights = torch.where(found.constant[:, None, None], found.content.double(), found.saliency.double())
    away = (_center(weights) - _center(found.region.double()))[:, None] * units
    return (away**2).sum(2).sqrt()


def _center(weights: Float[Tensor, "b h w"]) -> Float[Tensor, "b 2"]:
    sides = [weights.sum(2), weights.sum(1)]
    at = [(side * torch.arange(side.shape[1], device=side.device)).sum(1) for side in sides]
    return torch.stack(at, 1) / weights.sum((1, 2))[:, None]


def _peak_distance(found: Checked, units: Float[Tensor, "b u 2"]) -> Float[Tensor, "b u"]:
    """From the largest pixels to the region's nearest one, the mean over ties; infinite where there is no region.

    The nearest pixel is the nearest of every row's nearest: as many candidates as rows, and only for the peaks. At 224
    px a picture takes 2 ms on one core, a constant map 80 ms.
    """
    values = found.saliency.masked_fill(~found.content, -1)
    peaks = values == values.amax((1, 2), keepdim=True)
    gap = row_gap(found.region)
    gap = gap.float().masked_fill(gap >= gap.shape[2], torch.inf)  # rows without region
    gap = gap.transpose(1, 2).contiguous()  # a peak's candidates side by side
    every, squares = torch.arange(gap.shape[2], device=gap.device), units**2
    nearest = []
    for n, row, column in (some.unbind(1) for some in torch.split(peaks.nonzero(), CHUNK)):
        rows, columns = (row[:, None] - every).double() ** 2, gap[n, column].double() ** 2
        away = [(rows * unit[:, :1]).addcmul_(columns, unit[:, 1:]).amin(1) for unit in squares[n].unbind(1)]
        nearest.append(torch.stack(away, 1).sqrt())
    # Summed as a picture and not scattered, which would add in any order on a GPU.
    empty = torch.zeros(peaks.shape, dtype=torch.float64, device=gap.device)
    total = [empty.masked_scatter(peaks, each).sum((1, 2)) for each in torch.cat(nearest).unbind(1)]
    return torch.stack(total, 1) / peaks.sum((1, 2))[:, None]
