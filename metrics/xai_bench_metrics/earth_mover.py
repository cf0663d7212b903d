"""Earth mover's distance: how far must the relevance be moved to cover the region evenly?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import NO_SPACING, Polarity, check, conclude, millimeters

STEPS = 10**8  # of the network simplex: more than any picture needs, so that the optimum is the optimum


@metric("earth_mover", cite="Clark et al. 2024 (XAI-TRIS)")
@dataclass(frozen=True)
class EarthMover:
    """How far the positive relevance lies from an even cover of the region, by optimal transport; 0 is best.

    Map and region, each with sum 1, are summed into `cells` x `cells` of the content (fewer along a side that has fewer
    pixels); the distance is Euclidean, between the cells' centers. `earth_mover` is in units of the content's diagonal,
    0 to 1; `earth_mover_mm` by the spacing of rows and columns, where it is known. A constant map is the content,
    evenly. The paper prints 1 - distance, of absolute relevance. Exact; pictures are solved one by one, on the CPU: 0.6
    ms a picture and unit with 14 x 14 cells, 7 ms with 28 x 28.
    """

    cells: int = 14
    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = "positive"

    def __post_init__(self) -> None:
        if self.cells < 2:
            raise BadInput(f"earth_mover: cells is {self.cells}; use 2 or more cells along a side, such as 14.")

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The distance as a share of the diagonal, and in millimeters."""
        return {"earth_mover": ScoreInfo("lower"), "earth_mover_mm": ScoreInfo("lower", 0.0, float("inf"), "mm")}

    def __call__(self, case: Case) -> Result:
        """One value a picture and unit."""
        found = check(case, self.polarity)
        weights = torch.where(found.constant[:, None, None], found.content.double(), found.saliency.double())
        rows, y, height = _bands(found.content.any(2), self.cells)
        columns, x, width = _bands(found.content.any(1), self.cells)
        parts = (weights, found.region.double())
        start, goal = (torch.einsum("brh,bhw,bcw->brc", rows, part, columns).flatten(1) for part in parts)
        at = torch.stack([y.repeat_interleave(self.cells, 1), x.repeat(1, self.cells)], 2)
        spacing, known = millimeters(case.batch.spacing_mm)
        diagonal = torch.hypot(height, width)
        scores = {
            "earth_mover": transport(start, goal, at / diagonal[:, None, None]),
            "earth_mover_mm": transport(start, goal, at * spacing[:, None]),
        }
        return conclude(found, scores, {"earth_mover_mm": ((~known, NO_SPACING),)})


def transport(
    start: Float[Tensor, "b n"], goal: Float[Tensor, "b n"], at: Float[Tensor, "b n 2"]
) -> Float[Tensor, "b"]:
    """The least mean distance that moves one distribution over points `at` into the other; NaN where one is empty.

    >>> at = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    >>> round(transport(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 2.0]]), at).item(), 6)
    3.333333
    """
    import ot  # here, because POT loads many other solvers

    found = []
    for a, b, points in zip(*(part.double().cpu().numpy() for part in (start, goal, at)), strict=True):
        from_a, to_b = a > 0, b > 0
        cost = cdist(points[from_a], points[to_b])
        known = from_a.any() and to_b.any()
        found.append(ot.emd2(a[from_a] / a.sum(), b[to_b] / b.sum(), cost, numItermax=STEPS) if known else np.nan)
    return torch.tensor(found, dtype=torch.float64, device=start.device)


def _bands(
    inside: Bool[Tensor, "b n"], cells: int
) -> tuple[Float[Tensor, "b cells n"], Float[Tensor, "b cells"], Float[Tensor, "b"]]:
    """A side of the content in equal bands: which pixels are in which, the bands' centers, and the side; in pixels."""
    n = inside.shape[1]
    first = inside.int().argmax(1)
    side = n - inside.flip(1).int().argmax(1) - first
    bands = side.clamp(max=cells)[:, None]
    every = torch.arange(cells, device=inside.device)
    pixels = torch.arange(n, device=inside.device) - first[:, None]
    band = (2 * pixels + 1) * bands // (2 * side[:, None])  # that of the pixel's center
    return (band[:, None] == every[:, None]).double(), (every + 0.5) * (side[:, None] / bands), side.double()
