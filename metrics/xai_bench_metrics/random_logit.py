"""Random logit: does the map change when another class is explained?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Case, Reason, Result, ScoreInfo, Traits
from xai_bench.registry import metric
from xai_bench.seeding import generator
from xai_bench_metrics._contract import Polarity, check, conclude
from xai_bench_metrics._explained_again import Explained, explain

AGNOSTIC = Reason("excluded", "class-agnostic")
ALONE = Reason("excluded", "the target's head has no other class")


@metric("random_logit", cite="Sixt et al. 2020")
@dataclass(frozen=True)
class RandomLogit:
    """Likeness of the maps of the target and of another class of its head: high means that the map ignores the class.

    The other class is drawn by (seed, picture id), each equally likely; of two classes it is the other one. SSIM and
    Spearman in [-1, 1] on the explainer's grid inside content. With two classes many methods give each class exactly
    the other's negative: -1. Methods that declare themselves class-agnostic are excluded, as they would score 1.
    """

    seed: int = 0
    family: ClassVar[str] = "stability"
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"
    evaluations: ClassVar[int] = 2

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Likeness of the two classes' maps."""
        return {
            "random_logit_ssim": ScoreInfo("lower", -1.0, headline=True),
            "random_logit_spearman": ScoreInfo("lower", -1.0),
        }

    def __call__(self, case: Case) -> Result:
        """Scores of each picture."""
        if not Traits.of(case.explainer).class_specific:
            found = check(case, self.polarity, needs_region=False)
            nothing = torch.full((len(case.batch),), torch.nan, dtype=torch.float64, device=found.content.device)
            return conclude(
                found,
                dict.fromkeys(self.scores, nothing),
                dict.fromkeys(self.scores, ((nothing.isnan(), AGNOSTIC),)),
            )
        own = Explained.of(case)
        targets, alone = other_targets(case.classifier, case.batch, self.seed)
        new = explain(case, replace(case.batch, targets=targets))
        scores = {"random_logit_ssim": own.ssim(new), "random_logit_spearman": own.spearman(new)}
        marks = {name: ((alone, ALONE), *own.marks(new, values)) for name, values in scores.items()}
        return conclude(own.checked, scores, marks)


def other_targets(classifier: Classifier, batch: Batch, seed: int) -> tuple[Int[Tensor, "b"], Bool[Tensor, "b"]]:
    """Another logit of each target's head, and where there is none (the target itself then)."""
    chosen, sizes = batch.targets.tolist(), []
    for i, target in enumerate(chosen):
        start, size = next((s, n) for s, n in _spans(classifier) if s <= target < s + n)
        sizes.append(size)
        if size > 1:
            step = 1 + int(torch.randint(size - 1, (), generator=generator(seed, batch.ids[i])))
            chosen[i] = start + (target - start + step) % size
    device = batch.targets.device
    return torch.tensor(chosen, device=device), torch.tensor([size == 1 for size in sizes], device=device)


def _spans(classifier: Classifier) -> list[tuple[int, int]]:
    """The first logit and the number of logits of each head."""
    return [(classifier.offset(head.name), len(head.classes)) for head in classifier.heads]
