"""Pointing game: does the map's peak lie on, or near, the region?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import NO_SPACING, Mark, Polarity, conclude, millimeters
from xai_bench_metrics._localization import POLARITY, view

FAR = 16_000  # columns: more than a picture has, and twice as many still fit the fast int16


@metric("pointing_game", cite="Zhang et al. 2018; hit rate: Saporta et al. 2022")
@dataclass(frozen=True)
class PointingGame:
    """Whether the peak of the positive part lies in the region (`hit_rate`) or within a tolerance of it; 0 to 1.

    `tolerance_px` is stated at 224 px and scaled with the picture's width, `tolerance_mm` needs spacing (None: no such
    score). Distances are between pixel centers. Tied maxima score their share of hits; a constant map has all pixels
    tied, which is the analytic chance: area of the dilated region inside content / content area.
    """

    tolerance_px: float = 15.0
    tolerance_mm: float | None = 10.0
    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = POLARITY

    def __post_init__(self) -> None:
        for value in (self.tolerance_px, self.tolerance_mm):
            if value is not None and not 0 <= value < float("inf"):
                raise BadInput(f"PointingGame: a tolerance of {value} is not a distance; use a number of 0 or more.")

    @property
    def _near_px(self) -> str:
        return f"pointing_{self.tolerance_px:g}px"

    @property
    def _near_mm(self) -> str:
        return f"pointing_{self.tolerance_mm:g}mm"

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """`hit_rate`, `pointing_15px` and `pointing_10mm`, by the tolerances."""
        found = {
            "hit_rate": ScoreInfo("higher", headline=True, binary=True),
            self._near_px: ScoreInfo("higher", binary=True),
        }
        return found if self.tolerance_mm is None else found | {self._near_mm: ScoreInfo("higher", binary=True)}

    def __call__(self, case: Case) -> Result:
        """One value a picture and tolerance."""
        found = view(case).found
        peaks = ((found.saliency == found.saliency.amax((1, 2), keepdim=True)) & found.content).nonzero()
        pixels = torch.full_like(case.batch.spacing_mm, 224 / found.region.shape[2], dtype=torch.float64)
        scores = {
            "hit_rate": _share(peaks, found.region[peaks.unbind(1)], len(pixels)),
            self._near_px: _share(peaks, near(found.region, peaks, pixels, self.tolerance_px), len(pixels)),
        }
        own: dict[str, tuple[Mark, ...]] = {}
        if self.tolerance_mm is not None:
            spacing, known = millimeters(case.batch.spacing_mm)
            units = spacing.where(known[:, None], torch.inf)
            scores[self._near_mm] = _share(peaks, near(found.region, peaks, units, self.tolerance_mm), len(pixels))
            own = {self._near_mm: ((~known, NO_SPACING),)}
        return conclude(found, scores, own)


def _share(peaks: Int[Tensor, "p 3"], hit: Bool[Tensor, "p"], pictures: int) -> Float[Tensor, "b"]:
    """The share of each picture's peaks that hit."""
    hits, total = (torch.bincount(picture, minlength=pictures) for picture in (peaks[hit, 0], peaks[:, 0]))
    return hits.double() / total


def near(
    region: Bool[Tensor, "b h w"], peaks: Int[Tensor, "p 3"], units: Float[Tensor, "b 2"], tolerance: float
) -> Bool[Tensor, "p"]:
    """Whether a pixel of the region is at most `tolerance` from each peak (picture, row, column), center to center.

    `units` are a pixel's height and width; infinite ones reach nothing else. Exact and Euclidean: in every row within
    reach, some columns to either side. A few peaks look them up; for many, as in a constant map, the region is dilated.

    >>> region = torch.tensor([[[True, False, False, False]]])
    >>> near(region, torch.tensor([[0, 0, 2], [0, 0, 3]]), torch.tensor([[1.0, 0.5]]), 1.0).tolist()
    [True, False]
    """
    columns = _columns(units, tolerance, region.shape[1:])
    if len(columns) * len(peaks) > region.numel():
        return dilated(region, columns)[peaks.unbind(1)]
    (picture, row, column), (height, width) = peaks.unbind(1), region.shape[1:]
    line = row + torch.arange(len(columns), device=row.device)[:, None] - len(columns) // 2
    side = columns[:, picture].long().masked_fill((line < 0) | (line >= height), -1)
    line, first = line.clamp(0, height - 1), (column - side).clamp(0, width - 1)
    last = (column + side).clamp(0, width - 1)
    counts = region.cumsum(2, dtype=torch.int16)
    more = counts[picture, line, last] > counts[picture, line, first]
    return ((more | region[picture, line, first]) & (side >= 0)).any(0)


def _columns(units: Float[Tensor, "b 2"], tolerance: float, size: tuple[int, ...]) -> Int[Tensor, "shifts b"]:
    """How many columns to either side are within the tolerance, that many rows up or down; -1 where none is."""
    reach = tolerance * (1 + 1e-6)  # a spacing such as 0.1 is not exact: 150 pixels of it are 15 mm
    rows = min(size[0] - 1, int((reach / units[:, 0]).max()))
    shift = torch.arange(-rows, rows + 1, device=units.device)[:, None]
    drop = (shift * units[:, 0]).masked_fill(shift == 0, 0)  # 0 times infinite units would be NaN
    left = (reach**2 - drop**2).double()
    columns = (left.clamp(min=0).sqrt() / units[:, 1]).clamp(max=size[1]).floor()
    return columns.masked_fill(left < 0, -1).to(torch.int16)


def dilated(region: Bool[Tensor, "b h w"], columns: Int[Tensor, "shifts b"]) -> Bool[Tensor, "b h w"]:
    """The region and all pixels within so many columns of it, for each shift by rows up and down."""
    height, rows = region.shape[1], len(columns) // 2
    gap = F.pad(row_gap(region), (0, 0, rows, rows), value=FAR)
    found = region.clone()
    for shift, reached in enumerate(columns):
        found |= gap[:, shift : shift + height] <= reached[:, None, None]
    return found


def row_gap(region: Bool[Tensor, "b h w"]) -> Int[Tensor, "b h w"]:
    """Columns from each pixel to the nearest pixel of the region in its row; about 16,000 in rows that have none."""
    columns = torch.arange(region.shape[2], dtype=torch.int16, device=region.device).expand(region.shape)
    before = columns.masked_fill(~region, -FAR).cummax(2).values
    after = columns.masked_fill(~region, FAR).flip(2).cummin(2).values.flip(2)
    return torch.minimum(columns - before, after - columns)
