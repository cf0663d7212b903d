"""Small plugins and studies for tests of what looks at a store."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import Unfit
from xai_bench.progress import Progress
from xai_bench.protocols import Batch, Case, Result, ScoreInfo
from xai_bench.samples import Fixed
from xai_bench.study import Chosen, Given, Study

QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Gray:
    """The picture itself as a map, after `calls` model calls."""

    calls: int = 1

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        for _ in range(self.calls):
            classifier(batch.images)
        return batch.images.mean(1)


@dataclass(frozen=True)
class Broken:
    """Fails, or does not fit."""

    unfit: bool = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        if self.unfit:
            raise Unfit("it needs attention weights")
        raise ZeroDivisionError("division by zero")


@dataclass(frozen=True)
class Inside:
    """Mean relevance inside the region, to the power of `power`."""

    power: float = 1.0
    needs_region = True
    scores = {"inside": ScoreInfo("higher", headline=True)}  # noqa: RUF012 - a class constant

    def __call__(self, case: Case) -> Result:
        assert case.region is not None
        value = (case.saliency * case.region).sum((1, 2)) / case.region.sum((1, 2))
        return Result({"inside": value**self.power}, (None,) * len(case.batch))


@dataclass(frozen=True)
class Confidence:
    """The probability of the explained class, with a curve."""

    needs_region = False
    scores = {"confidence": ScoreInfo("higher")}  # noqa: RUF012 - a class constant

    def __call__(self, case: Case) -> Result:
        p = case.classifier.probabilities(case.classifier(case.batch.images))
        value = p.gather(1, case.batch.targets[:, None])[:, 0].detach()
        x = torch.linspace(0, 1, 3)
        return Result({"confidence": value}, (None,) * len(value), {"line": value[:, None] * x}, x)


def small_study(films: Fixed, classifier: Classifier, **changes: Any) -> Study:
    """Two explainers and two metrics on sixteen films, one classifier in memory."""
    values = {
        "name": "small", "dataset": films, "classifiers": (Given("given", classifier),),
        "explainers": (Chosen(Gray(), "gray"), Chosen(Gray(3), "gray3")),
        "metrics": (Chosen(Inside(), "inside"), Chosen(Confidence(), "confidence")), "batch_size": 8,
    } | changes  # fmt: skip
    return Study(**values)  # type: ignore[arg-type]  # the test chooses
