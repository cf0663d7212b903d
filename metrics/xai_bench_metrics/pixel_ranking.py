"""Pixel ranking: how well the order of a map's pixels separates the region from the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float64
from torch import Tensor

from xai_bench.protocols import Case, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Polarity, conclude
from xai_bench_metrics._localization import POLARITY, Ranking, view

WHOLE = Reason("excluded", "region is the whole content")


@metric("pixel_ranking", cite="Arun et al. 2021 (utility); Arras et al. 2022 (relevance rank)")
@dataclass(frozen=True)
class PixelRanking:
    """Each pixel of content a sample, its relevance the prediction, the region the truth; 0 to 1.

    `auprc` is average precision with tied pixels as one threshold, `auprc_above_chance` that minus the region's share
    of the content, in [-1, 1]; the mean of random maps of n pixels is ln(n) / n above 0, 0.0002 at 224 px. `auroc`
    counts ties half and needs pixels outside the region. `relevance_rank` is the share of the |m| most relevant pixels
    that lie in the region, averaged over all orders of ties. A constant map scores chance: the region's share of the
    content, 0.5 for `auroc`. Positive part: evidence against the target is no evidence for it, however strong, so all
    pixels of zero or less are tied at the end of the order.
    """

    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = POLARITY

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """AUPRC (the main column), the same above chance, AUROC and relevance rank."""
        return {
            "auprc": ScoreInfo("higher", headline=True),
            "auprc_above_chance": ScoreInfo("higher", -1.0),
            "auroc": ScoreInfo("higher"),
            "relevance_rank": ScoreInfo("higher"),
        }

    def __call__(self, case: Case) -> Result:
        """One value a picture and score."""
        seen = view(case)
        ranking = seen.ranking
        auprc = average_precision(ranking)
        scores = {
            "auprc": auprc,
            "auprc_above_chance": auprc - ranking.size / ranking.content.double(),
            "auroc": area_under_roc(ranking),
            "relevance_rank": ranking.matched.share,
        }
        return conclude(seen.found, scores, {"auroc": ((ranking.size == ranking.content, WHOLE),)})


def average_precision(ranking: Ranking) -> Float64[Tensor, "b"]:
    """The precision at each threshold, weighted by the recall gained there: no interpolation, as in scikit-learn."""
    steps = ranking.steps
    return steps.reduce("sum", steps.new_hits * (steps.hits.double() / steps.taken)) / ranking.size


def area_under_roc(ranking: Ranking) -> Float64[Tensor, "b"]:
    """Chance that a pixel of the region is more relevant than one outside, ties half (Mann and Whitney 1947)."""
    steps = ranking.steps
    outside = ranking.content - ranking.size
    below = steps.spread(outside) - (steps.taken - steps.hits)
    tied = steps.new_taken - steps.new_hits
    wins = steps.reduce("sum", steps.new_hits * (below + tied.double() / 2))
    return wins / (ranking.size.double() * outside)
