"""The nouns: batch, players, classifier, explainer, case, metric, result, evidence, summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.samples import RegionKey, RegionState, Sample

if TYPE_CHECKING:
    import pandas as pd

    from xai_bench.classifiers.classifier import Classifier

Saliency = Float[Tensor, "b h w"]
"""Signed; larger = more evidence for the target. On the method's own grid, which may be coarser than the picture."""

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Player:
    """One anatomical superpixel: its name (`L3`), vertebral level and the player it is part of."""

    name: str
    level: str | None = None
    parent: int | None = None


@dataclass(frozen=True)
class Anatomy:
    """The anatomical superpixels of one film in native pixels: a label for each pixel, and label -> player.

    Labels are 0 where no player is, and rise from the top of the spine to the bottom. A player that only holds others
    (`lumbar spine`) has no pixel, and its label comes after all of those that have.
    """

    labels: Int[NDArray[np.int16], "h w"]
    players: Mapping[int, Player]


@dataclass(frozen=True)
class Players:
    """Anatomical superpixels of a batch: a label for each pixel and, for each picture, label -> player.

    As in `Anatomy`, at the pictures' size; a film whose anatomy is not known has labels 0 and no players.
    """

    labels: Int[Tensor, "b h w"]
    names: tuple[Mapping[int, Player], ...]


@dataclass(frozen=True)
class Batch:
    """What a classifier and an explainer see."""

    images: Float[Tensor, "b c h w"]  # in [0, 1], resized; the classifier normalizes for itself
    targets: Int[Tensor, b]  # index into the concatenated logits: the class to explain
    ids: tuple[str, ...]  # randomness of a picture depends on (seed, id) only
    content: Bool[Tensor, "b h w"]  # False = letterbox padding
    players: Players | None  # anatomical superpixels
    spacing_mm: Float[Tensor, "b 2"]  # (row, column) AFTER resizing; NaN = unknown

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        players = None if self.players is None else replace(self.players, labels=self.players.labels.to(device))
        return Batch(
            self.images.to(device),
            self.targets.to(device),
            self.ids,
            self.content.to(device),
            players,
            self.spacing_mm.to(device),
        )


@runtime_checkable
class Explainer(Protocol):
    """A saliency method. Frozen dataclass; its fields are its parameters.

    Optional: `fit(classifier, training) -> Explainer`, with what was learned in a field `state` (name -> tensor), the
    traits of `Traits` as class attributes, and `needs_players` True where batches must carry anatomical players. Raises
    Unfit where it cannot explain this classifier.
    """

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        """Maps for the batch's targets."""
        ...


@dataclass(frozen=True)
class Traits:
    """What a table must say of an explainer; class attributes of the same names override the defaults."""

    family: str = "other"  # cam | gradient | perturbation | attention | control
    signed: bool = True
    class_specific: bool = True
    upsampling: Literal["bilinear", "nearest"] = "bilinear"  # from the method's grid to the picture
    needs_gradients: bool = False
    works_with: str = "any classifier"

    @staticmethod
    def of(explainer: object) -> Traits:
        """The traits of an explainer, with defaults for what it does not declare."""
        default = Traits()
        return Traits(
            **{name: getattr(explainer, name, getattr(default, name)) for name in Traits.__dataclass_fields__}
        )


@dataclass(frozen=True)
class Reason:
    """Why a picture's score is missing (`excluded`, `invalid`) or carries a mark (`note`: a constant or empty map)."""

    state: Literal["excluded", "invalid", "note"]
    text: str


@dataclass(frozen=True)
class Result:
    """One value a picture and score name. NaN is missing and must have a reason; a finite score's reason is a mark."""

    scores: Mapping[str, Float[Tensor, b]]
    reasons: tuple[Reason | None, ...]
    curves: Mapping[str, Float[Tensor, "b steps"]] = field(default_factory=dict)
    x: Float[Tensor, steps] | None = None
    own_reasons: Mapping[str, tuple[Reason | None, ...]] = field(default_factory=dict)  # by score, where it differs

    def reason(self, score: str, picture: int) -> Reason | None:
        """Why this score of this picture is missing or marked: its own reason, else the picture's."""
        return self.own_reasons.get(score, self.reasons)[picture]


@dataclass(frozen=True)
class Case:
    """All that a metric may look at, for one batch, one explainer, one region. `saliency` is at the picture's size."""

    classifier: Classifier
    batch: Batch
    explainer: Explainer
    saliency: Saliency
    region: Bool[Tensor, "b h w"] | None
    region_state: tuple[RegionState, ...]


@dataclass(frozen=True)
class ScoreInfo:
    """What a score means: which way is better, its range, its unit, and whether the short table shows it."""

    better: Better | None
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    headline: bool = False
    binary: bool = False  # a rate of hits: its interval is Wilson's or Clopper-Pearson's near 0 and 1


@runtime_checkable
class Metric(Protocol):
    """A score for each picture. Frozen dataclass; its fields are its parameters.

    `needs_region` False: one Case with region None, not one for each region and reader. `scores` declares every score
    name. Optional: `many(cases) -> list[Result]`, the same numbers in shared batches;
    `fit(classifier, training) -> Metric`; `tune(cases) -> Metric`, called once for each region with the scored
    explainer's maps of validation patients, at most `films` films where the metric has such a field (what either learns
    is in a field `state`, and a metric that was not tuned raises Unfit); `needs_players` True where batches must carry
    anatomical players; `polarity`: positive | absolute | signed, printed with the score;
    `scale_invariant` False where doubling a map may change the score.
    """

    @property
    def needs_region(self) -> bool:
        """Whether the metric looks at a reference region."""
        ...

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Every score that the metric returns."""
        ...

    def __call__(self, case: Case) -> Result:
        """The scores of one case."""
        ...


@runtime_checkable
class TrainingData(Protocol):
    """Films of training patients only, in batches (targets = labels), each with its main regions by name."""

    def __iter__(self) -> Iterator[tuple[Batch, Mapping[str, Bool[Tensor, "b h w"]]]]: ...


@runtime_checkable
class Imputer(Protocol):
    """What replaces removed pixels. Frozen dataclass.

    Called once a picture for a background; where a pixel is hidden, that background shows. An imputer whose
    replacement depends on which pixels are hidden has `fill(images, background, shown, content) -> pictures` (n rows,
    as `perturbation.Fill`), and its background is what `fill` needs of each picture (noise). Optional:
    `fit(training) -> Imputer`, learned state in a field `state`.
    """

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        """The background of every picture."""
        ...


@dataclass(frozen=True)
class ClassifierCard:
    """Which classifier made a map: enough to group twins."""

    classifier: str  # the study's name for it ("honest")
    replicate: int
    train_seed: int | None
    regime: str
    fold: int | None
    architecture: str
    weights: str  # hash
    accuracy: float | None  # on the test split


@dataclass(frozen=True)
class Evidence:
    """What a summary may look at: tidy rows, maps and pictures (read when asked for), classifier cards.

    `maps(weights, explainer)` gives picture id -> (target, map on the method's grid) under the target rule of
    faithfulness and stability: the predicted class. `explainers` and `metrics` are the study's names for them.
    `cases(weights, ids, region and reference, maps)` is what a metric sees where these maps (None: zeros) of these
    films, at the size of that classifier, are scored against that region; targets are 0.
    """

    rows: pd.DataFrame
    predictions: pd.DataFrame
    cards: tuple[ClassifierCard, ...]
    explainers: Mapping[str, Explainer]
    maps: Callable[[str, str], Mapping[str, tuple[int, Tensor]]]
    samples: Callable[[Sequence[str]], Sequence[Sample]]
    seed: int = 0
    content: Callable[[str, Sequence[str]], Sequence[Bool[Tensor, "h w"]]] | None = (
        None  # weights, ids; None: no padding
    )
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    cases: Callable[[str, Sequence[str], RegionKey, Saliency | None], Case] | None = None  # None: no films at hand


@dataclass(frozen=True)
class SummaryRow:
    """One number about a set, with its interval, its n and what was left out."""

    summary: str
    score_name: str
    explainer: str
    classifier: str
    other_classifier: str | None
    value: float
    low: float | None
    high: float | None
    n: int
    exclusions: Mapping[str, int] = field(default_factory=dict)
    better: Better | None = None
    note: str = ""
    metric: str = ""  # where the number is about a metric's score, its label, and region and reference of the score
    region: str = ""
    reference: str = ""


@runtime_checkable
class Summary(Protocol):
    """What belongs to a set of pictures or classifiers: stability of twins, human ceiling, agreement.

    Optional: `needs_shuffled` True where every score against a region is also taken against another patient's region,
    in rows whose reference begins with `shuffled:`.
    """

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """All rows of this summary."""
        ...
