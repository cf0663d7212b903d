"""Mu-fidelity: where the map has much, does hiding it make the score fall much?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench.saliency import ranks
from xai_bench.seeding import generator
from xai_bench_metrics._contract import BAD_MODEL, Checked, conclude
from xai_bench_metrics._hidden_cells import Falls, HiddenCells, nothing_told

NO_FALL = Reason("excluded", "zero variance: the score falls alike whatever is hidden")
NO_SUM = Reason("excluded", "zero variance: the map's sum is alike whatever is hidden")
DIGITS = 6
"""Decimal digits of the map's sums that count for ranks: sums of float32 values that are equal on paper must tie."""


@metric("mu_fidelity", cite="Bhatt et al. 2020")
@dataclass(frozen=True)
class MuFidelity(HiddenCells):
    """Correlation, -1 to 1, of the map's sum over a random subset with the fall of the score when the subset is hidden.

    A subset is `share` of the cells that have content, the same number in each of the `samples` (Bhatt et al. 2020; the
    features are the grid's cells). `mu_fidelity` is Pearson's correlation, the paper's; `mu_fidelity_spearman` that of
    the ranks, where values that differ by rounding tie. Undefined, and excluded, where the falls or the map's sums do
    not vary; a constant map is such a one, for its sums vary with the size of the cells only.
    """

    cells: int = 9
    share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise BadInput(f"mu_fidelity: share is {self.share}; expected a number between 0 and 1, such as 0.2.")

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Pearson's, and Spearman's under another name."""
        return {
            "mu_fidelity": ScoreInfo("higher", -1.0, 1.0, headline=True),
            "mu_fidelity_spearman": ScoreInfo("higher", -1.0, 1.0),
        }

    def hide(self, labels: Int[Tensor, "b h w"], ids: Sequence[str]) -> Bool[Tensor, "b m cells"]:
        """Random subsets of the cells with content."""
        cells = self.cells**2
        filled = torch.zeros(len(ids), cells + 1, dtype=torch.bool).scatter(1, labels.flatten(1), True)[:, :-1]
        size = (self.share * filled.sum(1)).round().clamp(min=1)
        draws = torch.stack([torch.rand(self.samples, cells, generator=generator(self.seed, name)) for name in ids])
        place = draws.masked_fill(~filled[:, None], 2).argsort(2).argsort(2)
        return (place < size[:, None, None]) & filled[:, None]

    def judge(self, found: Checked, told: Float[Tensor, "b m"], falls: Falls) -> Result:
        """Both correlations."""
        fall, spread = falls.fall, told - told.mean(1, keepdim=True)
        still = fall.amax(1) - fall.amin(1) <= falls.rounding
        silent = found.constant | nothing_told(spread, found)
        spread = spread / spread.abs().amax(1, keepdim=True)  # sums of the same size, whatever the map's scale
        everyone = torch.ones_like(fall, dtype=torch.bool)
        steps = (spread.round(decimals=DIGITS), (fall / falls.rounding[:, None]).round())
        ranked = [ranks(values, everyone) for values in steps]
        scores = {"mu_fidelity": pearson(spread, fall), "mu_fidelity_spearman": pearson(*ranked)}
        marks = ((~fall.isfinite().all(1), BAD_MODEL), (still, NO_FALL), (silent, NO_SUM))
        return conclude(found, scores, dict.fromkeys(scores, marks))


def pearson(a: Float[Tensor, "b m"], b: Float[Tensor, "b m"]) -> Float[Tensor, "b"]:
    """Correlation of each row; NaN where a row does not vary.

    >>> pearson(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[5.0, 3.0, 1.0]])).tolist()
    [-1.0]
    """
    x, y = (v - v.mean(1, keepdim=True) for v in (a, b))
    return (x * y).sum(1) / ((x**2).sum(1) * (y**2).sum(1)).sqrt()
