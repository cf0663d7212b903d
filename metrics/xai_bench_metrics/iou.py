"""Intersection over union of the map's most relevant pixels and the region."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.protocols import Case, Reason, Result, Saliency, ScoreInfo
from xai_bench.registry import metric
from xai_bench.saliency import top_pixels
from xai_bench_metrics._contract import Checked, Polarity, check, conclude

EMPTY = Reason("excluded", "empty prediction")
BINS = 256


@metric("iou", cite="Saporta et al. 2022; Otsu 1979")
@dataclass(frozen=True)
class IoU:
    """Overlap of the positive part's largest pixels with the region, 0 to 1; only pixels inside content.

    `iou_matched` takes as many pixels as the region has and needs no threshold. `iou_otsu` takes those above Otsu's
    threshold (a constant map predicts nothing: 0), `iou_otsu_nonempty` leaves out the maps that predict nothing.
    """

    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = "positive"

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Matched area (the main column) and the two slices of Otsu."""
        return {
            "iou_matched": ScoreInfo("higher", headline=True),
            "iou_otsu": ScoreInfo("higher"),
            "iou_otsu_nonempty": ScoreInfo("higher"),
        }

    def __call__(self, case: Case) -> Result:
        """One value a picture and score."""
        found = check(case, self.polarity)
        predicted = above_otsu(found.saliency, found.content)
        otsu = (predicted & found.region).sum((1, 2)).double() / (predicted | found.region).sum((1, 2)).clamp(min=1)
        scores = {"iou_matched": matched_iou(found), "iou_otsu": otsu, "iou_otsu_nonempty": otsu}
        return conclude(found, scores, {"iou_otsu_nonempty": ((~predicted.any(2).any(1), EMPTY),)})


def matched_iou(found: Checked) -> Float[Tensor, "b"]:
    """Expected IoU of the top-|m| pixels over all orders of tied pixels.

    i pixels of k = |m| overlap: IoU = i / (2k - i). The tied pixels fill the remaining places at random, so i is a sure
    part plus a hypergeometric number; the expectation is over the ratio, not the ratio of expectations.
    """
    region = found.region.flatten(1)
    k = region.sum(1)
    sure, tied = top_pixels(found.saliency.flatten(1), found.content.flatten(1), k)
    places, hits = k - sure.sum(1), (sure & region).sum(1)
    ties, good = tied.sum(1), (tied & region).sum(1)
    drawn = torch.arange(int(torch.minimum(places, good).max()) + 1, device=region.device)[None]
    probability = _hypergeometric(drawn, ties[:, None], good[:, None], places[:, None])
    overlap = (hits[:, None] + drawn).double()
    return (probability * overlap / (2 * k[:, None] - overlap).clamp(min=1)).sum(1)


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


def above_otsu(maps: Saliency, content: Bool[Tensor, "b h w"]) -> Bool[Tensor, "b h w"]:
    """Pixels inside content above Otsu's threshold of the picture (256 bins, as scikit-image); none if constant."""
    values, mask = maps.flatten(1).double(), content.flatten(1)
    low = values.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    high = values.masked_fill(~mask, -torch.inf).amax(1, keepdim=True)
    edges = torch.arange(BINS + 1, device=maps.device, dtype=torch.float64) * ((high - low) / BINS) + low
    edges[:, -1:] = high
    bins = (torch.searchsorted(edges, values.contiguous(), right=True) - 1).clamp(0, BINS - 1)
    count = torch.zeros_like(edges[:, 1:]).scatter_add(1, bins, mask.double())
    threshold = ((edges[:, 1:] + edges[:, :-1]) / 2).gather(1, _otsu(count))
    return ((values > threshold) & mask & (high > low)).view(maps.shape)


def _otsu(count: Float[Tensor, "b n"]) -> Int[Tensor, "b 1"]:
    """The bin at which the variance between the two classes is largest, the first of equals.

    In units of bins all sums are whole numbers: exact in any order, so empty bins tie on every device.
    """
    mass = count * torch.arange(count.shape[1], device=count.device)
    below, above = count.cumsum(1)[:, :-1], count.flip(1).cumsum(1).flip(1)[:, 1:]
    mean_below, mean_above = mass.cumsum(1)[:, :-1] / below, mass.flip(1).cumsum(1).flip(1)[:, 1:] / above
    return (below * above * (mean_below - mean_above) ** 2).argmax(1, keepdim=True)
