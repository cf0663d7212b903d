"""Equivariance: does the map move with the picture?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Case, Reason, Result, ScoreInfo, Traits
from xai_bench.registry import metric
from xai_bench.saliency import constant, invalid, spearman, top_k_iou, upsample
from xai_bench_metrics._contract import Mark, Polarity, conclude
from xai_bench_metrics._explained_again import FLAT, NEW_BAD, Explained, explain

Mode = Literal["bilinear", "nearest"]
CHANGED = Reason("excluded", "prediction changed")
OUT_OF_SIGHT = Reason("excluded", "nothing of the picture is left after the move")
WHOLE = 0.999
"""Share of a rotated pixel that must come from content; less than 1 only by rounding."""


@runtime_checkable
class Move(Protocol):
    """Planes moved; what comes from outside is 0. `mode`: how values between pixels are read."""

    def __call__(self, planes: Float[Tensor, "b c h w"], mode: Mode) -> Float[Tensor, "b c h w"]: ...


@metric("equivariance", cite="Crabbé & van der Schaar 2023")
@dataclass(frozen=True)
class Equivariance:
    """Likeness of the map of the moved picture and the moved map: 1 where the map moves with the picture.

    The picture is flipped, shifted right and down by `shift` pixels (at 224, scaled to each side), or rotated
    counterclockwise by `rotation` degrees; what comes in from outside is black and no content. Maps are compared at the
    picture's size, inside the moved content: Spearman in [-1, 1], and IoU of the largest `share` of pixels in [0, 1]
    (`*_iou`). The moved picture's target is the original's; where the classifier predicts another class after the move,
    the map may rightly change: `prediction changed`. A map that ignores the picture scores high where it is symmetric.
    """

    flip: Literal["horizontal", "vertical"] = "horizontal"
    shift: float = 8.0
    rotation: float = 5.0
    share: float = 0.1
    family: ClassVar[str] = "stability"
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"
    evaluations: ClassVar[int] = 4  # runs of the explainer: on the picture and on each of three moves

    def __post_init__(self) -> None:
        if self.flip not in ("horizontal", "vertical") or not 0 < self.shift < 112 or not 0 < abs(self.rotation) <= 45:
            raise BadInput(
                f"{self}: flip is 'horizontal' or 'vertical', shift above 0 and below 112 px, rotation 45 degrees or "
                "less and not 0."
            )
        if not 0 < self.share < 1:
            raise BadInput(f"equivariance: share is {self.share}; expected a part of the pixels between 0 and 1.")

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Rank correlation and overlap for each move."""
        found = {}
        for name in ("flip", "shift", "rotation"):
            found[f"equivariance_{name}"] = ScoreInfo("higher", -1.0, headline=True)
            found[f"equivariance_{name}_iou"] = ScoreInfo("higher")
        return found

    def __call__(self, case: Case) -> Result:
        """Scores of each picture."""
        own, before = Explained.of(case), predicted(case.classifier, case.batch)
        scores: dict[str, Tensor] = {}
        marks: dict[str, tuple[Mark, ...]] = {}
        for name, move in self._moves(case.batch).items():
            batch = moved(case.batch, move)
            found, own_marks = self._alike(own, batch, move)
            changed = (predicted(case.classifier, batch) != before, CHANGED)
            scores |= {f"equivariance_{name}": found[0], f"equivariance_{name}_iou": found[1]}
            marks |= dict.fromkeys((f"equivariance_{name}", f"equivariance_{name}_iou"), (changed, *own_marks))
        return conclude(own.checked, scores, marks)

    def _moves(self, batch: Batch) -> dict[str, Move]:
        height, width = batch.images.shape[2:]
        rows, columns = (max(1, round(self.shift * side / 224)) for side in (height, width))
        return {
            "flip": partial(flipped, axis=3 if self.flip == "horizontal" else 2),
            "shift": partial(shifted, rows=rows, columns=columns),
            "rotation": partial(rotated, degrees=self.rotation),
        }

    def _alike(self, own: Explained, batch: Batch, move: Move) -> tuple[Float[Tensor, "2 b"], tuple[Mark, ...]]:
        """Rank correlation and overlap of the moved own map and the moved picture's map, at the picture's size."""
        size, mode = (batch.content.shape[1], batch.content.shape[2]), Traits.of(own.case.explainer).upsampling
        new = explain(own.case, batch)
        bad = invalid(new)
        there = upsample(new.masked_fill(bad[:, None, None], 0), size, mode)
        here = move(upsample(own.maps, size, mode)[:, None], mode)[:, 0]
        flat = constant(here, batch.content) | constant(there, batch.content)
        gone = ~batch.content.flatten(1).any(1)
        values = torch.stack([spearman(here, there, batch.content), top_k_iou(here, there, batch.content, self.share)])
        return values.masked_fill(bad | flat, torch.nan), ((bad, NEW_BAD), (gone, OUT_OF_SIGHT), (flat, FLAT))


def flipped(planes: Float[Tensor, "b c h w"], mode: Mode, *, axis: int) -> Float[Tensor, "b c h w"]:
    """Mirrored along an axis, bit by bit.

    >>> flipped(torch.tensor([[[[1.0, 2.0, 3.0]]]]), "nearest", axis=3).tolist()
    [[[[3.0, 2.0, 1.0]]]]
    """
    return planes.flip(axis)


def shifted(planes: Float[Tensor, "b c h w"], mode: Mode, *, rows: int, columns: int) -> Float[Tensor, "b c h w"]:
    """Moved down by `rows` and right by `columns` whole pixels, bit by bit.

    >>> shifted(torch.tensor([[[[1.0, 2.0, 3.0]]]]), "nearest", rows=0, columns=1).tolist()
    [[[[0.0, 1.0, 2.0]]]]
    """
    height, width = planes.shape[2:]
    return F.pad(planes, (columns, 0, rows, 0))[:, :, :height, :width]


def rotated(planes: Float[Tensor, "b c h w"], mode: Mode, *, degrees: float) -> Float[Tensor, "b c h w"]:
    """Turned counterclockwise about the picture's center, in pixels, whatever their spacing.

    >>> rotated(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), "nearest", degrees=90.0).tolist()
    [[[[2.0, 4.0], [1.0, 3.0]]]]
    """
    b, _, height, width = planes.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # The grid's coordinates are -1 and 1 at the picture's edges, so that a turn in pixels needs the sides' ratio.
    turn = torch.tensor([[cos, -sin * height / width, 0], [sin * width / height, cos, 0]], device=planes.device)
    grid = F.affine_grid(turn.to(planes).expand(b, 2, 3), list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, mode=mode, padding_mode="zeros", align_corners=False)


def moved(batch: Batch, move: Move) -> Batch:
    """The batch with its pictures, content and players moved; outside the moved content pictures are black."""
    content = move(batch.content[:, None].float(), "bilinear") > WHOLE
    images = move(batch.images, "bilinear").clamp(0, 1).masked_fill(~content, 0)
    players = batch.players
    if players is not None:
        labels = move(players.labels[:, None].float(), "nearest")[:, 0].to(players.labels)
        players = replace(players, labels=labels)
    return replace(batch, images=images, content=content[:, 0], players=players)


def predicted(classifier: Classifier, batch: Batch) -> Int[Tensor, "b"]:
    """What the head of each target predicts: its class; for a sigmoid head whether the target is; 0 for raw outputs."""
    with untouched(classifier), torch.inference_mode():
        logits = classifier(batch.images)
    found = torch.zeros_like(batch.targets)
    for head in classifier.heads:
        start = classifier.offset(head.name)
        mine = (batch.targets >= start) & (batch.targets < start + len(head.classes))
        if head.link == "softmax":
            found = torch.where(mine, logits[:, start : start + len(head.classes)].argmax(1), found)
        elif head.link == "sigmoid":
            positive = logits.gather(1, batch.targets[:, None])[:, 0] > 0
            found = torch.where(mine, positive.to(found), found)
    return found
