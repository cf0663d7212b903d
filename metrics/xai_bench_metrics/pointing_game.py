"""Pointing game: does the map's peak lie on, or near, the region?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Case, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Mark, Polarity, check, conclude

FAR = 16_000  # columns: more than a picture has, and twice as many still fit the fast int16
NO_SPACING = Reason("excluded", "no spacing")


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
    polarity: ClassVar[Polarity] = "positive"

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
        found = check(case, self.polarity)
        values = found.saliency.masked_fill(~found.content, -1)
        peaks = values == values.amax((1, 2), keepdim=True)
        gap = row_gap(found.region)
        pixels = torch.full_like(case.batch.spacing_mm, 224 / found.region.shape[2], dtype=torch.float64)
        scores = {
            "hit_rate": _share(peaks, found.region),
            self._near_px: _share(peaks, near(gap, pixels, self.tolerance_px)),
        }
        own: dict[str, tuple[Mark, ...]] = {}
        if self.tolerance_mm is not None:
            spacing = case.batch.spacing_mm.double()
            known = (spacing.isfinite() & (spacing > 0)).all(1)
            units = torch.where(known[:, None], spacing, torch.inf)
            scores[self._near_mm] = _share(peaks, near(gap, units, self.tolerance_mm))
            own = {self._near_mm: ((~known, NO_SPACING),)}
        return conclude(found, scores, own)


def _share(peaks: Bool[Tensor, "b h w"], hit: Bool[Tensor, "b h w"]) -> Float[Tensor, "b"]:
    return (peaks & hit).sum((1, 2)).double() / peaks.sum((1, 2))


def near(gap: Int[Tensor, "b h w"], units: Float[Tensor, "b 2"], tolerance: float) -> Bool[Tensor, "b h w"]:
    """Pixels whose center is at most `tolerance` from that of a pixel of the region; `units`: a pixel's height, width.

    Exact and Euclidean: the region's `row_gap`, shifted by every row within reach. Infinite units reach nothing else.

    >>> gap = row_gap(torch.tensor([[[True, False, False, False]]]))
    >>> near(gap, torch.tensor([[1.0, 0.5]]), 1.0).tolist()
    [[[True, True, True, False]]]
    """
    reach = tolerance * (1 + 1e-6)  # a spacing such as 0.1 is not exact: 150 pixels of it are 15 mm
    height = gap.shape[1]
    rows = min(height - 1, int((reach / units[:, 0]).max()))
    padded = F.pad(gap, (0, 0, rows, rows), value=FAR)
    found = gap == 0
    for shift in range(-rows, rows + 1):
        drop = shift * units[:, 0] if shift else torch.zeros_like(units[:, 0])  # 0 times infinite units would be NaN
        left = reach**2 - drop**2
        columns = torch.where(left < 0, -1, (left.clamp(min=0).sqrt() / units[:, 1]).clamp(max=gap.shape[2]).floor())
        found |= padded[:, rows + shift : rows + shift + height] <= columns.to(gap.dtype)[:, None, None]
    return found


def row_gap(region: Bool[Tensor, "b h w"]) -> Int[Tensor, "b h w"]:
    """Columns from each pixel to the nearest pixel of the region in its row; about 16,000 in rows that have none."""
    columns = torch.arange(region.shape[2], dtype=torch.int16, device=region.device).expand(region.shape)
    before = columns.masked_fill(~region, -FAR).cummax(2).values
    after = columns.masked_fill(~region, FAR).flip(2).cummin(2).values.flip(2)
    return torch.minimum(columns - before, after - columns)
