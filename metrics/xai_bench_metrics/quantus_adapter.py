"""Any metric of Quantus by its class name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.randomized import separate_copy
from xai_bench.contained import contained
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.protocols import Better, Case, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Polarity, check
from xai_bench_metrics._one_by_one import copies_of, maps_of, one_by_one

OURS = {"self", "args", "kwargs", "disable_warnings", "display_progressbar", "return_aggregate"}
FAMILIES = {"LOCALISATION": "localization", "FAITHFULNESS": "faithfulness", "AXIOMATIC": "faithfulness",
            "ROBUSTNESS": "stability", "RANDOMISATION": "stability", "COMPLEXITY": "complexity"}  # fmt: skip
COMPARES = "compares the pictures of a batch with each other, and a score here is that of a picture alone"
NOT_OFFERED = {"BatchSufficiency": COMPARES, "Consistency": COMPARES, "SensitivityN": COMPARES, "Sufficiency": COMPARES,
               "Focus": "needs mosaics of several pictures"}  # fmt: skip
REFUSED = Reason("excluded", "constant map, which Quantus refuses")


@metric("quantus", cite="Hedström et al. 2023")
@dataclass(frozen=True)
class Quantus:
    """A metric of Quantus 0.6.0 by its class name, with its known faults: F1 to F7 and F14 of docs/faults.md.

    `quantus:Sparseness`; `arguments` are those of the class that are plain values, its own defaults else. Every picture
    is scored alone, so that no score depends on its companions (against F4 and F5); several values, as of a curve or of
    layers, become their mean. Maps are as the explainer gives them, 0 outside content; whether Quantus
    normalizes them or takes absolute values is its default. Padding is a part of the picture for Quantus, and its
    softmax one over all logits. It explains again by the case's explainer, and random numbers come from (seed, picture
    id). What Quantus refuses is excluded with its words, above all constant maps. Direction, family and whether a
    region is needed are what the class declares. Raises BadInput for an unknown class or argument.
    """

    metric: str = "RelevanceRankAccuracy"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    polarity: ClassVar[Polarity] = "signed"
    scale_invariant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.metric in NOT_OFFERED:
            raise BadInput(f"quantus: {self.metric} {NOT_OFFERED[self.metric]}; choose another metric.")
        if self.metric not in classes():
            raise BadInput(
                f"quantus: metric {self.metric!r} is not offered; choose {', '.join(classes())}."
                f"{did_you_mean(self.metric, list(classes()))}"
            )
        known = [name for name in _parameters(self.metric) if name not in OURS]
        for name in self.arguments:
            if name not in known:
                raise BadInput(
                    f"quantus: {self.metric} has no argument {name!r} here; it has {', '.join(known)}."
                    f"{did_you_mean(name, known)}"
                )

    @property
    def label(self) -> str:
        """What a study calls it."""
        return f"quantus:{self.metric}"

    @property
    def family(self) -> str:
        """By Quantus' category."""
        return FAMILIES[classes()[self.metric].evaluation_category.name]

    @property
    def needs_region(self) -> bool:
        """Those of the category localisation do."""
        return self.family == "localization"

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """One, by the class's name and with the direction that it declares."""
        directions: dict[str, Better] = {"HIGHER": "higher", "LOWER": "lower"}
        declared = getattr(classes()[self.metric].score_direction, "name", "")
        return {self.metric: ScoreInfo(directions.get(declared), -float("inf"), float("inf"), headline=True)}

    def __call__(self, case: Case) -> Result:
        """One value a picture."""
        found = check(case, self.polarity, needs_region=self.needs_region)
        # Instead of the note on constant maps, which is the last mark.
        found = replace(found, marks=(*found.marks[:-1], (found.constant, REFUSED)))
        alone = self.family in ("localization", "complexity")  # these look at the map only
        twin = None if alone else separate_copy(case.classifier).eval()  # Quantus copies it again, for other weights
        options = {**self._options(twin), **self.arguments}

        def score(i: int) -> float:
            scores = classes()[self.metric](**options)(
                model=twin,
                x_batch=case.batch.images[i : i + 1].cpu().numpy(),
                y_batch=case.batch.targets[i : i + 1].cpu().numpy(),
                a_batch=found.saliency[i : i + 1, None].float().cpu().numpy(),
                s_batch=found.region[i : i + 1, None].cpu().numpy() if self.needs_region else None,
                explain_func=Again(case, i),
                channel_first=True,
                device=str(case.batch.images.device),
                batch_size=1,
            )
            return mean_of(scores)

        return one_by_one(self.metric, case, found, self.seed, score)

    def _options(self, classifier: Classifier | None) -> dict[str, Any]:
        """The adapter's own values for what the class takes."""
        values: dict[str, Any] = {"disable_warnings": True, "display_progressbar": False}
        values |= {"num_classes": classifier.n_logits} if classifier else {}
        return {name: value for name, value in values.items() if name in _parameters(self.metric)}


@dataclass(frozen=True)
class Again:
    """Quantus' `explain_func`: the case's explainer on variants of one picture, by the classifier or a copy of it."""

    case: Case
    i: int

    def __call__(self, model: Any, inputs: Any, targets: Any, **_: Any) -> Any:
        """Maps (n, 1, h, w)."""
        images = torch.as_tensor(np.asarray(inputs, np.float32))
        asked = torch.as_tensor(np.asarray(targets)).reshape(-1).expand(len(images))
        classifier = model if isinstance(model, Classifier) else self.case.classifier
        maps: Tensor = maps_of(self.case, copies_of(self.case, self.i, images, asked), classifier)
        return maps[:, None].cpu().numpy()


def mean_of(scores: Any) -> float:
    """The mean of all numbers in what a metric returns, however they are nested.

    >>> mean_of([1.0, [2.0, 6.0]]), mean_of({"conv1": [0.5]})
    (3.0, 0.5)
    """
    return float(np.mean(list(_numbers(scores))))


def _numbers(scores: Any) -> Iterator[float]:
    if isinstance(scores, Mapping):
        scores = list(scores.values())
    if isinstance(scores, list | tuple) or np.ndim(scores) > 0:
        for inner in scores:
            yield from _numbers(inner)
    else:
        yield float(scores)


@cache
def classes() -> dict[str, Any]:
    """Quantus' metrics by class name, without its base, its old names and what cannot be offered."""
    with contained(0, torch.device("cpu")):
        import quantus
        from quantus.metrics.base import Metric

    found = {name: cls for name, cls in vars(quantus).items() if isinstance(cls, type) and issubclass(cls, Metric)}
    named = sorted((name, cls) for name, cls in found.items() if cls.__name__ == name)
    return {name: cls for name, cls in named if hasattr(cls, "evaluation_category") and name not in NOT_OFFERED}


@cache
def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(classes()[name].__init__).parameters
