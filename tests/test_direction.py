"""Direction: every score says which way is better, and a metric that prefers noise to the region is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import scipy.stats
import torch
from metric_cases import make_case

from xai_bench.protocols import Case, Metric, Result, ScoreInfo
from xai_bench.registry import METRICS
from xai_bench.testing import check_metric

LOCALIZING = [
    name
    for name, entry in METRICS.items()
    if (made := entry.factory()).needs_region
    and not hasattr(made, "tune")
    and not getattr(made, "needs_players", False)
    and not hasattr(made, "arguments")  # an adapter calls another package's metric
]


@dataclass(frozen=True)
class TurnedAround:
    """A metric that declares the opposite direction of each score."""

    metric: Metric
    needs_region: ClassVar[bool] = True

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        other: Any = {"higher": "lower", "lower": "higher", None: None}
        return {name: replace(info, better=other[info.better]) for name, info in self.metric.scores.items()}

    def __call__(self, case: Case) -> Result:
        return self.metric(case)


@pytest.mark.parametrize("name", LOCALIZING)
def test_f8_a_metric_whose_direction_is_wrong_is_refused(name: str) -> None:
    with pytest.raises(AssertionError, match="is better, and the region itself scores"):
        check_metric(TurnedAround(METRICS[name].factory()))


@pytest.mark.parametrize("name", LOCALIZING)
def test_f8_a_two_sided_test_likes_a_metric_that_prefers_noise_and_the_declared_direction_does_not(name: str) -> None:
    """MetaQuantus's consistency under an adversary is 1 - p of a two-sided Wilcoxon test: blind to the direction."""
    region = torch.zeros(20, 16, 16, dtype=torch.bool)
    for n in range(20):
        region[n, n % 5 : n % 5 + 5, 3 + n % 7 : 9 + n % 7] = True
    noise = torch.rand(20, 16, 16, generator=torch.Generator().manual_seed(0))
    metric = METRICS[name].factory()
    good, bad = (metric(make_case(maps, region, spacing=10.0)).scores for maps in (region.float(), noise))
    for score, info in metric.scores.items():
        both = [
            1 - scipy.stats.wilcoxon(a, b, alternative="two-sided", zero_method="zsplit").pvalue
            for a, b in ((good[score], bad[score]), (bad[score], good[score]))
        ]
        assert both[0] == pytest.approx(both[1]) and both[0] > 0.95
        assert ((good[score] - bad[score]).mean() > 0) == (info.better == "higher")
