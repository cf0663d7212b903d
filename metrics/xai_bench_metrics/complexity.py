"""Complexity: over how much of the film, and how many places, is the relevance spread?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage

from xai_bench.protocols import Case, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench.saliency import ranks
from xai_bench_metrics._contract import Polarity, check, conclude

ZERO_NORM = Reason("excluded", "zero norm")
EIGHT = np.ones((3, 3))


@metric("complexity", cite="Gini: Chalasani et al. 2020; entropy: Bhatt et al. 2020")
@dataclass(frozen=True)
class Complexity:
    """How evenly the absolute relevance is spread over the content; a description, neither way is better.

    `gini`: Gini index of |a|, 0 even to 1 - 1/n, all in one of n pixels. `entropy` of |a| / sum|a|, in units of log n:
    0 one pixel, 1 even. `effective_area`: exp(entropy in nats) / n, the share of the content that an even map of the
    same entropy covers. A map of zeros has none of them: `zero norm`.
    """

    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "absolute"

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Sparseness, evenness, and the area that counts."""
        return {"gini": ScoreInfo(None, headline=True), "entropy": ScoreInfo(None), "effective_area": ScoreInfo(None)}

    def __call__(self, case: Case) -> Result:
        """One value a picture and score."""
        found = check(case, self.polarity, needs_region=False)
        values, mask = found.saliency.flatten(1).double(), found.content.flatten(1)
        n, total = mask.sum(1), values.sum(1)
        # Tied pixels have one value, so their mean rank gives the sum that any order of them would.
        gini = ((2 * ranks(values, mask) - n[:, None] - 1) * values).sum(1) / (n * total)
        entropy = torch.special.entr(values / total[:, None]).sum(1)
        scores = {
            "gini": gini,
            "entropy": torch.where(found.constant, 1, entropy / n.log()),  # also of a single pixel: log 1 = 0
            "effective_area": entropy.exp() / n,
        }
        return conclude(found, scores, dict.fromkeys(scores, ((total == 0, ZERO_NORM),)))


@metric("blobs")
@dataclass(frozen=True)
class Blobs:
    """Number of connected places where the positive part is above half of its maximum; neither way is better.

    Pixels that touch by a side or a corner are connected. A map without positive relevance has 0 blobs, a constant one
    as many as the content has parts. Counted picture by picture, on the CPU: 1 ms each at 224 px.
    """

    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "positive"

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """One count."""
        return {"blobs": ScoreInfo(None, 0.0, float("inf"), "count", headline=True)}

    def __call__(self, case: Case) -> Result:
        """One value a picture."""
        found = check(case, self.polarity, needs_region=False)
        above = found.saliency > found.saliency.amax((1, 2), keepdim=True) / 2
        counts = [float(ndimage.label(mask, EIGHT)[1]) for mask in above.cpu().numpy()]
        return conclude(found, {"blobs": torch.tensor(counts, dtype=torch.float64, device=above.device)})
