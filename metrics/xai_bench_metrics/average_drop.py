"""Average drop, increase and gain: how much of the score is left when only what the map shows is shown?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import Scene, evaluate_all, with_fitted_imputer
from xai_bench.protocols import Case, Imputer, Reason, Result, ScoreInfo, TrainingData
from xai_bench.registry import metric
from xai_bench_metrics._contract import BAD_MODEL, Checked, Polarity, check, conclude

NO_SCORE = Reason("excluded", "zero norm: the picture's probability is 0")
FULL_SCORE = Reason("excluded", "zero norm: the picture's probability is 1")
RAW = Reason("excluded", "the target's score is no probability")
SMALLEST = 1e-6
"""A probability nearer to 0 or 1 than this is there but for rounding."""


@dataclass(frozen=True)
class Veiled(Scene):
    """Pictures under soft masks instead of players: 1 shows the picture, 0 the background."""

    mask: Float[Tensor, "b h w"] = field(kw_only=True)

    @classmethod
    def over(cls, scene: Scene, mask: Float[Tensor, "b h w"]) -> "Veiled":
        """A scene of one player, with its pictures under masks."""
        return cls(**{f.name: getattr(scene, f.name) for f in fields(Scene)}, mask=mask)

    def compose(self, owner: Int[Tensor, "n"], keep: Bool[Tensor, "n players"]) -> Float[Tensor, "n c h w"]:
        """Picture `owner[i]` under its mask; where that is 1, the picture's own bits."""
        mask = self.mask[owner][:, None]
        return self.images[owner] * mask + self.background[owner] * (1 - mask)

    @cached_property
    def contexts(self) -> tuple[str, ...]:
        """As for any scene, and the mask's bits."""
        masks = self.mask.detach().cpu().contiguous().numpy()
        parts = zip(super().contexts, masks, strict=True)
        return tuple(hashlib.sha256(one.encode() + mask.tobytes()).hexdigest()[:32] for one, mask in parts)


@metric("average_drop", cite="Chattopadhay et al. 2018; Zhang et al. 2024 (Opti-CAM)")
@dataclass(frozen=True)
class AverageDrop:
    """Drop, increase and gain of the target's probability when the picture is multiplied by the map.

    With y the picture's probability and o that of the picture under the map: `average_drop` is max(0, y - o) / y,
    `average_increase` whether o > y, `average_gain` max(0, o - y) / (1 - y), each in [0, 1] and for one picture; the
    average is a later step. The mask is the map's positive part, its smallest value inside content turned into 0 and
    its largest into 1; 0 everywhere where nothing is positive, 1 everywhere where all is equal and positive. `imputer`
    is what a mask of 0 shows, black in the papers. A map that shows everything drops nothing: `mask_area`, the mask's
    mean inside content, belongs beside every drop.
    """

    imputer: Imputer = field(default_factory=Zero)
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "positive"
    evaluations: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if hasattr(self.imputer, "fill"):
            raise BadInput(
                f"average_drop: {self.imputer} needs to know which pixels are hidden, and a soft mask hides all a "
                "little; use an imputer with a background of its own, such as Zero() or Blur()."
            )

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The three of the papers, and how much the mask shows."""
        return {
            "average_drop": ScoreInfo("lower", headline=True),
            "average_increase": ScoreInfo("higher", binary=True),
            "average_gain": ScoreInfo("higher"),
            "mask_area": ScoreInfo(None),
        }

    def fit(self, classifier: Classifier, training: TrainingData) -> "AverageDrop":
        """Fit the imputer on training films, where it learns from them."""
        return with_fitted_imputer(self, training)

    def __call__(self, case: Case) -> Result:
        """Scores of each picture."""
        return self.many([case])[0]

    def many(self, cases: Sequence[Case]) -> list[Result]:
        """The same for many maps; the picture itself is asked once for all maps of a batch."""
        known: dict[tuple[int, int], tuple[Scene, Tensor]] = {}
        for case in cases:
            if _key(case) not in known:
                nobody = torch.zeros_like(case.batch.content, dtype=torch.long)
                scene = Scene.of(case.batch, nobody, self.imputer)
                known[_key(case)] = scene, _ask(case, scene)
        return [self._one(case, *known[_key(case)]) for case in cases]

    def _one(self, case: Case, scene: Scene, y: Float[Tensor, "b"]) -> Result:
        found = check(case, self.polarity, needs_region=False)
        mask = soft_mask(found)
        o = _ask(case, Veiled.over(scene, mask.masked_fill(~found.content, 1).to(scene.images)))
        scores = {
            "average_drop": (y - o).clamp(min=0) / y,
            "average_increase": (o > y).double(),
            "average_gain": (o - y).clamp(min=0) / (1 - y),
            "mask_area": mask.sum((1, 2)) / found.content.sum((1, 2)),
        }
        broken, raw = (~(y.isfinite() & o.isfinite()), BAD_MODEL), (_raw(case), RAW)
        own = {
            "average_drop": (broken, raw, (y <= SMALLEST, NO_SCORE)),
            "average_increase": (broken, raw),
            "average_gain": (broken, raw, (1 - y <= SMALLEST, FULL_SCORE)),
            "mask_area": (broken,),
        }
        return conclude(found, scores, own)


def _key(case: Case) -> tuple[int, int]:
    return id(case.classifier), id(case.batch)


def _raw(case: Case) -> Bool[Tensor, "b"]:
    """Whether the target is a raw output, which is no probability."""
    links = [head.link == "identity" for head in case.classifier.heads for _ in head.classes]
    return torch.tensor(links, device=case.batch.targets.device)[case.batch.targets]


def _ask(case: Case, scene: Scene) -> Float[Tensor, "b"]:
    everything = torch.ones(len(case.batch), 1, 1, dtype=torch.bool)
    return evaluate_all(case.classifier, scene, everything, "probability")[:, 0].double()


def soft_mask(found: Checked) -> Float[Tensor, "b h w"]:
    """The positive part of the map, stretched to [0, 1] inside content, 0 outside; a constant one is 0 or 1 as it is.

    `found` is a case checked with positive polarity.
    """
    values, inf = found.saliency.double(), torch.inf
    low = values.masked_fill(~found.content, inf).amin((1, 2), keepdim=True)
    high = values.masked_fill(~found.content, -inf).amax((1, 2), keepdim=True)
    even = (values > 0).double()
    stretched = torch.where(high > low, (values - low) / (high - low), even)
    return stretched.masked_fill(~found.content, 0)
