"""Intersection over union of the map's most relevant pixels and the region."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Polarity, conclude
from xai_bench_metrics._localization import EMPTY, POLARITY, Draw, view


@metric("iou", cite="Saporta et al. 2022; Otsu 1979")
@dataclass(frozen=True)
class IoU:
    """Overlap of the positive part's largest pixels with the region, 0 to 1; only pixels inside content.

    `iou_matched` takes as many pixels as the region has and needs no threshold. `iou_otsu` takes those above Otsu's
    threshold (a constant map predicts nothing: 0), `iou_otsu_nonempty` leaves out the maps that predict nothing.
    `iou_max` takes those above the value of the map that suits this very region best: optimistic by construction, an
    upper bound of what any threshold can reach, and above 0 for a random map.
    """

    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = POLARITY

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Matched area (the main column), the two slices of Otsu, and the best threshold."""
        return {
            "iou_matched": ScoreInfo("higher", headline=True),
            "iou_otsu": ScoreInfo("higher"),
            "iou_otsu_nonempty": ScoreInfo("higher"),
            "iou_max": ScoreInfo("higher"),
        }

    def __call__(self, case: Case) -> Result:
        """One value a picture and score."""
        seen = view(case)
        ranking = seen.ranking
        taken, hits = ranking.otsu.taken, ranking.otsu.hits
        otsu = hits.double() / (taken + ranking.size - hits).clamp(min=1)
        best = ranking.dice_max / (2 - ranking.dice_max)  # IoU rises with Dice: both are largest at one threshold
        scores = {
            "iou_matched": matched_iou(ranking.matched),
            "iou_otsu": otsu,
            "iou_otsu_nonempty": otsu,
            "iou_max": best,
        }
        return conclude(seen.found, scores, {"iou_otsu_nonempty": ((taken == 0, EMPTY),)})


def matched_iou(draw: Draw) -> Float[Tensor, "b"]:
    """Expected IoU of the top-|m| pixels over all orders of tied pixels.

    i pixels of k = |m| overlap: IoU = i / (2k - i). The tied pixels fill the remaining places at random, so i is a sure
    part plus a hypergeometric number; the expectation is over the ratio, not the ratio of expectations.
    """
    most = int(torch.minimum(draw.places, draw.tied.hits).max())
    drawn = torch.arange(most + 1, device=draw.size.device)[None]
    total, good, places = (counts[:, None] for counts in (draw.tied.taken, draw.tied.hits, draw.places))
    overlap = (draw.sure.hits[:, None] + drawn).double()
    ratio = overlap / (2 * draw.size[:, None] - overlap).clamp(min=1)
    # Added up one by one: the zeros that a batch's widest tie puts after a picture's own terms then change no bit.
    return (_hypergeometric(drawn, total, good, places) * ratio).cumsum(1)[:, -1]


def _hypergeometric(
    drawn: Int[Tensor, "1 j"], total: Int[Tensor, "b 1"], good: Int[Tensor, "b 1"], places: Int[Tensor, "b 1"]
) -> Float[Tensor, "b j"]:
    """Probability of `drawn` good ones in `places` draws without replacement from `total`, of which `good` are good."""
    log = _log_choose(good, drawn) + _log_choose(total - good, places - drawn) - _log_choose(total, places)
    return log.exp()


def _log_choose(n: Int[Tensor, "..."], k: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    possible = (k >= 0) & (k <= n)
    inside = torch.where(possible, k, 0).double()
    value = torch.lgamma(n.double() + 1) - torch.lgamma(inside + 1) - torch.lgamma(n - inside + 1)
    return value.where(possible, -torch.inf)
