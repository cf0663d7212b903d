"""Intersection over union at a threshold that was learned on validation patients."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Polarity, conclude
from xai_bench_metrics._localization import EMPTY, POLARITY, Prediction, View, view

SHARES = tuple(n / 100 for n in range(100))
"""Thresholds that are tried, as shares of a map's largest relevance."""
TIE = 1e-9
"""Sums of IoU closer than this are equal: the order of summation breaks no tie."""


@metric("iou_tuned", cite="Saporta et al. 2022")
@dataclass(frozen=True)
class IoUTuned:
    """Overlap with the region of the pixels above a tuned share of the map's largest positive relevance, 0 to 1.

    The share, `tuned_threshold`, is that of 0, 0.01 ... 0.99 with the largest mean IoU on validation patients: at most
    `films` films with a finding, the maps of the same explainer and classifier, one share for each region. A constant
    map predicts nothing: 0 in `iou_tuned` and `dice_tuned`, left out of the `_nonempty` slices. Dice is at the same
    share. Only pixels inside content.
    """

    films: int = 40
    state: Mapping[str, Tensor] | None = field(default=None, repr=False)
    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = POLARITY

    def __post_init__(self) -> None:
        if self.films < 1:
            raise BadInput(f"iou_tuned: films = {self.films}; expected 1 or more.")

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """IoU and Dice in both slices, and the threshold they were taken at."""
        return {
            "iou_tuned": ScoreInfo("higher", headline=True),
            "iou_tuned_nonempty": ScoreInfo("higher"),
            "dice_tuned": ScoreInfo("higher"),
            "dice_tuned_nonempty": ScoreInfo("higher"),
            "tuned_threshold": ScoreInfo(None),
        }

    def tune(self, cases: Iterable[Case]) -> "IoUTuned":
        """Learn the share with the largest mean IoU, the middle one of equals. Raises Unfit without a usable film."""
        total, count = torch.zeros(len(SHARES), dtype=torch.float64), 0
        for case in cases:
            seen = view(case)
            counted = _counted(seen)
            overlap = torch.stack([_iou(seen, _above(seen, share)) for share in SHARES], 1)
            total += overlap[counted].sum(0).cpu()
            count += int(counted.sum())
        if count == 0:
            raise Unfit("no validation film has this region and a usable map to tune the threshold on")
        return replace(self, state={"threshold": torch.tensor(SHARES[_middle_of_best(total)], dtype=torch.float64)})

    def __call__(self, case: Case) -> Result:
        """One value a picture and score. Raises Unfit where no threshold was learned."""
        if self.state is None:
            raise Unfit("it is not tuned; run it in a study, or call tune(cases) with cases of validation films first")
        seen, share = view(case), float(self.state["threshold"])
        found = _above(seen, share)
        iou = _iou(seen, found)
        dice = 2 * found.hits.double() / (found.taken + seen.ranking.size).clamp(min=1)
        empty = ((found.taken == 0, EMPTY),)
        scores = {
            "iou_tuned": iou,
            "iou_tuned_nonempty": iou,
            "dice_tuned": dice,
            "dice_tuned_nonempty": dice,
            "tuned_threshold": torch.full_like(iou, share),
        }
        return conclude(seen.found, scores, {"iou_tuned_nonempty": empty, "dice_tuned_nonempty": empty})


def _middle_of_best(total: Float64[Tensor, "shares"]) -> int:
    """The middle of the first run of best shares: farthest from where a rounding error takes in another pixel."""
    best = (total >= total.max() - TIE).int()
    first = int(best.argmax())
    return first + (int(best[first:].cumprod(0).sum()) - 1) // 2


def _above(seen: View, share: float) -> Prediction:
    """The pixels above this share of the map's largest relevance; none in a constant map."""
    found = seen.ranking.above(share * seen.found.saliency.flatten(1).amax(1).double())
    flat = seen.found.constant
    return Prediction(found.taken.masked_fill(flat, 0), found.hits.masked_fill(flat, 0))


def _iou(seen: View, found: Prediction) -> Float64[Tensor, "b"]:
    return found.hits.double() / (found.taken + seen.ranking.size - found.hits).clamp(min=1)


def _counted(seen: View) -> Bool[Tensor, "b"]:
    """Films with a region and a usable map: those that would get a score."""
    return ~torch.stack([where for where, why in seen.found.marks if why.state != "note"]).any(0)
