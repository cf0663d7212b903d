"""Dice of the map's most relevant pixels and the region."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Polarity, conclude
from xai_bench_metrics._localization import EMPTY, POLARITY, view


@metric("dice", cite="Dice 1945; Otsu 1979")
@dataclass(frozen=True)
class Dice:
    """2 |P and m| / (|P| + |m|) of the positive part's largest pixels P and the region m, 0 to 1; inside content.

    P is chosen as for `iou`. `dice_matched` takes as many pixels as the region has: Dice is then the share of them in
    the region, so `relevance_rank` is the same number. `dice_otsu` takes those above Otsu's threshold (a constant map
    predicts nothing: 0), `dice_otsu_nonempty` leaves out the maps that predict nothing. `dice_max` takes those above
    the value of the map that suits this very region best: optimistic by construction.
    """

    needs_region: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = POLARITY

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Matched area (the main column), the two slices of Otsu, and the best threshold."""
        return {
            "dice_matched": ScoreInfo("higher", headline=True),
            "dice_otsu": ScoreInfo("higher"),
            "dice_otsu_nonempty": ScoreInfo("higher"),
            "dice_max": ScoreInfo("higher"),
        }

    def __call__(self, case: Case) -> Result:
        """One value a picture and score."""
        seen = view(case)
        ranking = seen.ranking
        otsu = 2 * ranking.otsu.hits.double() / (ranking.otsu.taken + ranking.size).clamp(min=1)
        scores = {
            # With i of k pixels inside, Dice is i / k: linear in i, so tied pixels count by their expected share.
            "dice_matched": ranking.matched.share,
            "dice_otsu": otsu,
            "dice_otsu_nonempty": otsu,
            "dice_max": ranking.dice_max,
        }
        return conclude(seen.found, scores, {"dice_otsu_nonempty": ((ranking.otsu.taken == 0, EMPTY),)})
