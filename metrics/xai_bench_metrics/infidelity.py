"""Infidelity: are the map's sums over squares proportional to the falls of the score when the squares are hidden?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench.seeding import generator
from xai_bench_metrics._contract import BAD_MODEL, Checked, conclude
from xai_bench_metrics._hidden_cells import NO_FALL, NO_SUM, Falls, HiddenCells, nothing_told


@metric("infidelity", cite="Yeh et al. 2019")
@dataclass(frozen=True)
class Infidelity(HiddenCells):
    """Mean squared gap between the fall of the score and the map's sum over a hidden square, at the map's best scale.

    `infidelity` is E[(beta I.a - (f(x) - f(x - I)))^2] with beta = E[I.a df] / E[(I.a)^2], in squared units of the
    score. `infidelity_relative` divides it by E[df^2]: 0 where the map foretells every fall, 1 where it foretells none,
    comparable between pictures. Squares have sides of 1 to `largest` cells; `samples` of them are drawn, each at most
    once, all equally likely (Yeh et al. 2019, square removal; by default up to 36 % of the side, as there). I is 1 on
    the square: a map says how much a pixel's presence adds to the score, which is also what the paper's code does for
    square removal. beta may be negative, as in the paper: a map and its negative score alike.
    """

    largest: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.largest <= self.cells:
            raise BadInput(f"infidelity: largest is {self.largest}; use a whole number of cells, 1 to {self.cells}.")

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The gap, and the gap as a share of what there was to explain."""
        return {
            "infidelity_relative": ScoreInfo("lower", headline=True),
            "infidelity": ScoreInfo("lower", 0.0, float("inf")),
        }

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, however many maps there are of it."""
        return min(self.samples, len(squares(self.cells, self.largest))) + 1

    def hide(self, labels: Int[Tensor, "b h w"], ids: Sequence[str]) -> Bool[Tensor, "b m cells"]:
        """Squares of cells."""
        every = squares(self.cells, self.largest)
        drawn = [torch.randperm(len(every), generator=generator(self.seed, name))[: self.samples] for name in ids]
        return every[torch.stack(drawn)]

    def judge(self, found: Checked, told: Float[Tensor, "b m"], falls: Falls) -> Result:
        """The mean squared gap at the best scale, and its share of E[df^2]."""
        fall = falls.fall
        scale = (told * fall).sum(1, keepdim=True) / (told**2).sum(1, keepdim=True)
        gap, whole = ((scale * told - fall) ** 2).mean(1), (fall**2).mean(1)
        still, silent = fall.abs().amax(1) <= falls.rounding, nothing_told(told, found)
        marks = ((~fall.isfinite().all(1), BAD_MODEL), (still, NO_FALL), (silent, NO_SUM))
        scores = {"infidelity_relative": gap / whole, "infidelity": gap}
        return conclude(found, scores, dict.fromkeys(scores, marks))


def squares(cells: int, largest: int) -> Bool[Tensor, "n players"]:
    """Which cells each square covers: sides 1 to `largest`, all places.

    >>> squares(2, 2).int().tolist()
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]]
    """
    found, at = [], torch.arange(cells)
    for side in range(1, largest + 1):
        start = torch.arange(cells - side + 1)[:, None]
        span = (at >= start) & (at < start + side)
        found.append((span[:, None, :, None] & span[None, :, None, :]).reshape(-1, cells**2))
    return torch.cat(found)
