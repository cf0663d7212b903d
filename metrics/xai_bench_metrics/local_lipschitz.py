"""Local Lipschitz estimate: how steeply does the map change near the picture?"""

from collections.abc import Mapping
from dataclasses import dataclass

from xai_bench.protocols import Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import conclude
from xai_bench_metrics._explained_again import Explained
from xai_bench_metrics._noisy_copies import Changes, NoisyCopies

SAME_PICTURE = Reason("excluded", "zero norm: the noise did not change the picture")


@metric("local_lipschitz", cite="Alvarez-Melis & Jaakkola 2018")
@dataclass(frozen=True)
class LocalLipschitz(NoisyCopies):
    """Steepest change of the map near the picture: the largest ||a(x') - a(x)|| / (||a(x)|| ||x' - x||).

    In shares of the map's norm for each unit of Euclidean distance between the pictures, over pixels and channels with
    intensities in [0, 1]: the paper's L (equation 5) divided by ||a(x)||, so that methods of any scale compare. Over
    `samples` noisy copies within `radius`, a lower bound. Of two pictures of one look the larger has the smaller value,
    as distances grow with the square root of the pixels: compare at one size only.
    """

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """One steepness."""
        unit = "of the map's norm per unit of intensity distance"
        return {"local_lipschitz": ScoreInfo("lower", 0.0, float("inf"), unit, headline=True)}

    def judge(self, own: Explained, changes: Changes) -> Result:
        """The largest ratio over the noisy copies."""
        still = (changes.pictures == 0).any(1)
        values = (changes.maps / changes.pictures).amax(1)
        return conclude(
            own.checked, {"local_lipschitz": values}, {"local_lipschitz": (*changes.marks, (still, SAME_PICTURE))}
        )
