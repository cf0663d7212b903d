"""How well a classifier classifies: accuracy, balanced accuracy, AUROC, each with an interval clustered by patient.

For retrained twins a number is the mean over twins, and its interval is over patients, conditional on these twins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from xai_bench.errors import BadInput
from xai_bench.statistics import Array, Interval, Patients, bootstrap, delicate, interval, rate_interval

NEWCOMBE, MOVER = "Newcombe", "Wilson limits combined over classes"


@dataclass(frozen=True)
class Measured:
    """A number and its interval."""

    value: float
    interval: Interval


def accuracy(correct: Float[Array, "n"], patients: Patients, *, seed: int = 0) -> Measured:
    """Share of films classified correctly; `correct` in [0, 1] is the share of twins that are right.

    >>> accuracy(np.array([1.0, 1, 0]), ["a", "b", "c"]).interval.method
    'Clopper-Pearson'
    """
    return Measured(float(np.mean(correct)), interval(correct, patients, binary=True, seed=seed))


def balanced_accuracy(
    correct: Float[Array, "n"], labels: Sequence[str], patients: Patients, *, seed: int = 0
) -> Measured:
    """Mean over the classes present of the share of their films that are classified correctly.

    BCa over patients; where a rate leaves the bootstrap, each class's rate interval, combined by MOVER (Zou & Donner
    2008), which is never of zero width.

    >>> balanced_accuracy(np.array([1.0, 1, 1, 0]), ["x", "x", "x", "y"], list("abcd")).value
    0.5
    """
    correct, owner = np.asarray(correct, float), np.asarray(patients)
    classes, of_class = np.unique(np.asarray(labels), return_inverse=True)
    member: Array = np.eye(classes.size)[of_class].T
    recalls = member @ correct / member.sum(1)
    names, code = np.unique(owner, return_inverse=True)
    value = float(recalls.mean())
    if not delicate(value, names.size):
        right, films = _by_patient(member * correct, code), _by_patient(member, code)
        found = bootstrap(lambda w: _ratio(w @ right, w @ films).mean(1), (correct.size, names.size), seed=seed)
        return Measured(value, found)
    parts = [rate_interval(correct[m > 0], owner[m > 0]) for m in member]
    down = np.linalg.norm([r - i.low for r, i in zip(recalls, parts, strict=True)]) / len(parts)
    up = np.linalg.norm([i.high - r for r, i in zip(recalls, parts, strict=True)]) / len(parts)
    return Measured(value, Interval(float(value - down), float(value + up), MOVER, correct.size, names.size))


def auroc(
    is_class: Float[Array, "classes n"], scores: Float[Array, "twins classes n"], patients: Patients, *, seed: int = 0
) -> Measured:
    """Area under the ROC curve: chance that a film of the class scores higher than another film (ties count half).

    One row of `is_class` (0 or 1) for a binary question; several give the mean over classes, one against the rest. BCa
    over patients; where a rate leaves the bootstrap, Newcombe's method 5 (2006) on the patients of the rarest class and
    of the rest. Raises BadInput where no class has films both inside and outside.

    >>> auroc(np.array([[0.0, 0, 1, 1]]), np.array([[[0.1, 0.4, 0.35, 0.8]]]), list("abcd")).value
    0.75
    """
    is_class, scores = np.asarray(is_class, float), np.asarray(scores, float)
    usable = (is_class.max(1) > 0) & (is_class.min(1) < 1)
    if not usable.any():
        raise BadInput("AUROC needs films of the class and films without it; this split has only one of the two.")
    is_class, scores = is_class[usable], scores[:, usable]
    names, code = np.unique(np.asarray(patients), return_inverse=True)
    curves = [_Ranked(y, s) for twin in scores for y, s in zip(is_class, twin, strict=True)]

    def mean_area(weights: Float[Array, "d p"]) -> Float[Array, "d"]:
        films = weights[:, code]
        areas: Array = np.mean([curve.area(films) for curve in curves], axis=0)
        return areas

    value = float(mean_area(np.ones((1, names.size)))[0])
    if not delicate(value, names.size):
        return Measured(value, bootstrap(mean_area, (code.size, names.size), seed=seed))
    inside = [len(np.unique(code[y > 0])) for y in is_class]
    outside = [len(np.unique(code[y < 1])) for y in is_class]
    rarest = int(np.argmin(np.minimum(inside, outside)))
    low, high = newcombe(value, inside[rarest], outside[rarest])
    return Measured(value, Interval(low, high, NEWCOMBE, code.size, names.size))


def newcombe(area: float, m: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Score-like interval of an AUROC from m films of the class and n others (Newcombe 2006, part 2, method 5).

    >>> low, high = newcombe(1.0, 20, 20)
    >>> 0.8 < low < 1, high
    (True, 1.0)
    """
    z, half = float(ndtri((1 + level) / 2)), (m + n) / 2 - 1

    def beyond(t: float) -> float:
        variance = t * (1 - t) / (m * n) * (1 + half * (1 - t) / (2 - t) + half * t / (1 + t))
        return abs(area - t) - z * float(np.sqrt(variance))

    low = 0.0 if area < 1e-6 else float(brentq(beyond, 0.0, area - 1e-9))
    high = 1.0 if area > 1 - 1e-6 else float(brentq(beyond, area + 1e-9, 1.0))
    return low, high


def confusion(
    labels: Sequence[str], predictions: Sequence[str], classes: Sequence[str]
) -> Int[NDArray[np.int_], "k k"]:
    """Number of films by label (rows) and prediction (columns).

    >>> confusion(["a", "b", "b"], ["a", "a", "b"], ["a", "b"]).tolist()
    [[1, 0], [1, 1]]
    """
    place = {name: i for i, name in enumerate(classes)}
    table = np.zeros((len(place), len(place)), int)
    for label, prediction in zip(labels, predictions, strict=True):
        if label not in place or prediction not in place:
            raise BadInput(f"label {label!r} or prediction {prediction!r} is not one of the classes {list(classes)}.")
        table[place[label], place[prediction]] += 1
    return table


class _Ranked:
    """One ROC problem with its films sorted by score, so that any number of reweighted areas costs one pass."""

    def __init__(self, is_class: Float[Array, "n"], scores: Float[Array, "n"]) -> None:
        self.order = np.argsort(scores, kind="stable")
        self.inside = is_class[self.order] > 0
        self.starts = np.unique(scores[self.order], return_index=True)[1]  # where each group of tied films begins

    def area(self, weights: Float[Array, "d n"]) -> Float[Array, "d"]:
        ranked = weights[:, self.order]
        inside = np.add.reduceat(np.where(self.inside, ranked, 0), self.starts, axis=1)
        outside = np.add.reduceat(np.where(self.inside, 0, ranked), self.starts, axis=1)
        beaten = np.cumsum(outside, axis=1) - outside / 2
        return _ratio((inside * beaten).sum(1), inside.sum(1) * outside.sum(1))


def _by_patient(rows: Float[Array, "k n"], code: Int[NDArray[np.int_], "n"]) -> Float[Array, "p k"]:
    return np.stack([np.bincount(code, row) for row in rows], axis=1)


def _ratio(above: Array, below: Array) -> Array:
    """NaN where a draw holds no film of a class: that draw says nothing."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
