"""Cascading randomization: does a map change when the model's weights are drawn again?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.randomized import randomize, same_weights, separate_copy, weighted_modules
from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Polarity, conclude
from xai_bench_metrics._explained_again import Explained, explain


@metric("cascading_randomization", cite="Adebayo et al. 2018; Arun et al. 2021")
@dataclass(frozen=True)
class CascadingRandomization:
    """Likeness of the map with that of the same network with random weights: high means that the map ignores the model.

    Modules that own weights are taken in the order in which they run and split into at most `steps` groups, which are
    randomized one after the other: `cascade` from the logits down, `bottom_up`, or `independent`, each group alone with
    all others trained. A module's weights are drawn again by its own `reset_parameters`, else permuted, seeded by
    (seed, module name). Scores compare with the map of the fully randomized network, the same in all modes, on the
    explainer's grid inside content: SSIM, Spearman, and Spearman of absolute values, each in [-1, 1]. The curves have
    the share of modules randomized as x (`independent`: the share from the logits down to the end of the group), and 1
    at 0. A control for weights, not for quality: a random but other map passes.
    """

    mode: Literal["cascade", "bottom_up", "independent"] = "cascade"
    steps: int = 8
    seed: int = 0
    family: ClassVar[str] = "stability"
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInput(f"cascading_randomization: steps is {self.steps}; expected 1 group of modules or more.")
        if self.mode not in ("cascade", "bottom_up", "independent"):
            raise BadInput(
                f"cascading_randomization: mode is {self.mode!r}; expected 'cascade', 'bottom_up' or 'independent'."
            )

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Likeness with the map of the fully randomized network."""
        return {
            "randomization_ssim": ScoreInfo("lower", -1.0, headline=True),
            "randomization_spearman": ScoreInfo("lower", -1.0),
            "randomization_spearman_absolute": ScoreInfo("lower", -1.0),
        }

    @property
    def evaluations(self) -> int:
        """Runs of the explainer, at most; how often it asks the model is its own."""
        return self.steps + 1 + (self.mode == "independent")

    def __call__(self, case: Case) -> Result:
        """Scores and curves of each picture. Raises Unfit where no weight of the model can be randomized."""
        own, twin = Explained.of(case), separate_copy(case.classifier)
        groups, x = self._groups(weighted_modules(twin, case.batch.images[:1]))
        whole = torch.ones(len(case.batch), dtype=torch.float64, device=own.maps.device)
        curves, new = {"ssim": [whole], "spearman": [whole]}, own.maps
        for stage in self._stages(case.classifier, twin, groups):
            new = explain(case, case.batch, stage)
            curves["ssim"].append(own.ssim(new))
            curves["spearman"].append(own.spearman(new))
        if same_weights(case.classifier, twin):
            raise Unfit(f"{case.classifier.architecture} has no weights that can be randomized")
        scores = {f"randomization_{name}": values[-1] for name, values in curves.items()}
        scores["randomization_spearman_absolute"] = own.spearman(new, absolute=True)
        marks = {name: own.marks(new, values) for name, values in scores.items()}
        shown = {f"randomization_{name}": torch.stack(y[: len(x)], 1) for name, y in curves.items()}
        return conclude(own.checked, scores, marks, shown, torch.tensor(x, dtype=torch.float64, device=new.device))

    def _groups(self, forward: Sequence[str]) -> tuple[list[Sequence[str]], list[float]]:
        """The modules in groups, in the order of their turns, and the shares at which the curves have a value."""
        names = list(forward) if self.mode == "bottom_up" else list(reversed(forward))
        count = min(self.steps, len(names))
        ends = [i * len(names) // count for i in range(count + 1)] if names else [0]
        return [names[a:b] for a, b in pairwise(ends)], [end / max(len(names), 1) for end in ends]

    def _stages(
        self, classifier: Classifier, twin: Classifier, groups: Sequence[Sequence[str]]
    ) -> Iterator[Classifier]:
        """The classifier with the groups randomized by turns; the last stage is the twin with all of them."""
        alone = self.mode == "independent"
        for group in groups:
            stage = separate_copy(classifier) if alone else twin
            for name in group:
                randomize(stage, name, self.seed)
            yield stage
        if alone:
            for name in (name for group in groups for name in group):
                randomize(twin, name, self.seed)
            yield twin
