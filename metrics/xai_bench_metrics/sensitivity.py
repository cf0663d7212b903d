"""Sensitivity: how far does the map move when the picture gets a little noise?"""

from collections.abc import Mapping
from dataclasses import dataclass

from xai_bench.protocols import Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import conclude
from xai_bench_metrics._explained_again import Explained
from xai_bench_metrics._noisy_copies import Changes, NoisyCopies


@metric("sensitivity", cite="Yeh et al. 2019")
@dataclass(frozen=True)
class Sensitivity(NoisyCopies):
    """Largest and mean change of the map under small noise, as a share of the map's norm: ||a(x') - a(x)|| / ||a(x)||.

    Uniform noise within `radius` on every pixel's intensity, `samples` times (Yeh et al. 2019, definition 2, by
    sampling): the maximum is a lower bound that grows with `samples`. 0 = the map does not move. A map that ignores the
    picture is not sensitive either: read it beside faithfulness.
    """

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The largest change and the mean change."""
        return {
            "max_sensitivity": ScoreInfo("lower", 0.0, float("inf"), headline=True),
            "average_sensitivity": ScoreInfo("lower", 0.0, float("inf")),
        }

    def judge(self, own: Explained, changes: Changes) -> Result:
        """Maximum and mean over the noisy copies."""
        scores = {"max_sensitivity": changes.maps.amax(1), "average_sensitivity": changes.maps.mean(1)}
        return conclude(own.checked, scores, dict.fromkeys(scores, changes.marks))
