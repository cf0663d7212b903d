"""How much readers agree: on regions (overlap, distance, pointing ceiling) and on labels (alpha, kappa).

A mask is a boolean (rows, columns) array. What has no value is NaN and carries its reason, never a bare NaN.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from xai_bench.consensus import Mask, stacked
from xai_bench.errors import BadInput

Level = Literal["nominal", "ordinal", "interval"]
Ratings = Sequence[Sequence[Any]]  # readers x units; None or NaN = not rated
Floats = NDArray[np.float64]

ONE_EMPTY, BOTH_EMPTY = "one of the two masks is empty", "both masks are empty"
READER_EMPTY, REFERENCE_EMPTY = "the reader marked nothing", "the reference is empty"
REFERENCE_FULL = "the reference fills the frame"
NO_PAIRS, NO_SPREAD = "no unit was rated twice", "all ratings are equal"


class Measured(NamedTuple):
    """A value, or NaN and the reason why there is none."""

    value: float
    reason: str | None = None


class Distances(NamedTuple):
    """Distances between two outlines in the unit of the spacing, or NaN and the reason."""

    mean: float
    hausdorff95: float
    reason: str | None = None


class Rates(NamedTuple):
    """Shares of the reference that a reader marked, and of the rest that the reader left out; NaN has its reason."""

    sensitivity: float
    specificity: float
    reason: str | None = None


class Pair(NamedTuple):
    """Two readers' agreement on one region."""

    first: str
    second: str
    dice: float
    iou: float
    distances: Distances


# --- regions --------------------------------------------------------------------------------------------------------


def dice(a: Mask, b: Mask) -> float:
    """2 |A and B| / (|A| + |B|), 0 to 1. Two empty masks agree: 1 by convention; one empty gives 0.

    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    common, total = _areas(a, b)
    return 2 * common / total if total else 1.0


def iou(a: Mask, b: Mask) -> float:
    """|A and B| / |A or B|, 0 to 1. Two empty masks agree: 1 by convention; one empty gives 0.

    >>> iou(np.array([True, True, False]), np.array([True, False, False]))
    0.5
    """
    common, total = _areas(a, b)
    return common / (total - common) if total else 1.0


def _areas(a: Mask, b: Mask) -> tuple[int, int]:
    a, b = stacked([a, b])
    return int((a & b).sum()), int(a.sum() + b.sum())


def surface_distances(a: Mask, b: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> Distances:
    """Symmetric mean surface distance and 95 % Hausdorff distance; (row, column) spacing in mm, (1, 1) = in pixels.

    The surface of a mask is its pixels that touch, by an edge, one outside of it or the frame. The mean is over the
    surface pixels of both masks (Heimann 2009); Hausdorff 95 is the larger of the two directions' 95th percentiles.
    Undefined where a mask is empty. Raises BadInput for a spacing that is not positive, such as an unknown one (NaN).

    >>> a, b = np.zeros((2, 5, 5), bool)
    >>> a[2, 1], b[2, 3] = True, True
    >>> surface_distances(a, b, (1.0, 0.5))
    Distances(mean=1.0, hausdorff95=1.0, reason=None)
    """
    if len(spacing) != 2 or not all(0 < s < np.inf for s in spacing):
        raise BadInput(f"spacing {spacing}: expected (row, column) in mm, both above 0; (1, 1) measures in pixels.")
    both = stacked([a, b])
    if both.ndim != 3:
        raise BadInput(f"the masks have shape {both.shape[1:]}; distances need (rows, columns).")
    filled = both.any((1, 2))
    if not filled.all():
        return Distances(np.nan, np.nan, ONE_EMPTY if filled.any() else BOTH_EMPTY)
    rows, columns = (np.flatnonzero(both.any((0, axis))) for axis in (2, 1))
    both = both[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # both surfaces lie in here
    one, other = (np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in both)
    there, back = KDTree(other).query(one)[0], KDTree(one).query(other)[0]  # outlines are short, distance maps are not
    farthest = max(np.percentile(there, 95), np.percentile(back, 95))
    return Distances(float((there.sum() + back.sum()) / (there.size + back.size)), float(farthest))


def pairwise(masks: Mapping[str, Mask], spacing: tuple[float, float] = (1.0, 1.0)) -> list[Pair]:
    """Agreement of each two readers, in the order of `masks`; (row, column) spacing in mm, (1, 1) = in pixels.

    >>> [(p.first, p.second, p.dice) for p in pairwise({"anna": np.eye(3) > 0, "ben": np.eye(3) > 0})]
    [('anna', 'ben', 1.0)]
    """
    return [
        Pair(first, second, dice(a, b), iou(a, b), surface_distances(a, b, spacing))
        for (first, a), (second, b) in combinations(masks.items(), 2)
    ]


def reader_rates(reader: Mask, reference: Mask) -> Rates:
    """A reader's sensitivity and specificity, pixel by pixel of the whole frame, against a reference.

    Specificity falls when the frame is cropped, so state the frame. An empty reference has no sensitivity, one that
    fills the frame no specificity.

    >>> reader_rates(np.array([True, False, True, False]), np.array([True, True, False, False]))
    Rates(sensitivity=0.5, specificity=0.5, reason=None)
    """
    marked, inside = stacked([reader, reference])
    if inside.all():
        return Rates(float(marked.mean()), np.nan, REFERENCE_FULL)
    specificity = float((~marked[~inside]).mean())
    if not inside.any():
        return Rates(np.nan, specificity, REFERENCE_EMPTY)
    return Rates(float(marked[inside].mean()), specificity)


def pointing_ceiling(reader: Mask, reference: Mask) -> Measured:
    """|A and B| / |A|: how often a reader's map hits the reference in the pointing game, expectation over its ties.

    Undefined where either marked nothing. Give the leave-one-out reference, else the reader is judged by the own vote.

    >>> pointing_ceiling(np.array([True, True, False]), np.array([True, False, False])).value
    0.5
    """
    marked, inside = stacked([reader, reference])
    if not inside.any():
        return Measured(np.nan, REFERENCE_EMPTY)
    if not marked.any():
        return Measured(np.nan, READER_EMPTY)
    return Measured(float(inside[marked].mean()))


# --- labels ---------------------------------------------------------------------------------------------------------


def krippendorff_alpha(ratings: Ratings, level: Level = "nominal") -> Measured:
    """Krippendorff's alpha of labels (readers x units; None or NaN = not rated): 1 agreement, 0 chance, below 0 worse.

    Krippendorff 2011, "Computing Krippendorff's alpha-reliability". Units with fewer than two ratings do not count.
    Undefined where all ratings are equal, as nothing could have been confused. Raises BadInput for ragged rows, another
    level, or ratings that are no numbers where the level orders them.

    >>> round(krippendorff_alpha([[1, 2, 3, None], [1, 2, 4, 4]], "interval").value, 3)
    0.878
    """
    if level not in _DIFFERENCES:
        raise BadInput(f"level {level!r} is not known; use {', '.join(_DIFFERENCES)}.")
    values, counts = _counts(ratings, numbers=level != "nominal")
    counts = counts[counts.sum(1) > 1]
    if not len(counts):
        return Measured(np.nan, NO_PAIRS)
    total = counts.sum(0)
    if (total > 0).sum() == 1:
        return Measured(np.nan, NO_SPREAD)
    observed = (counts / (counts.sum(1, keepdims=True) - 1)).T @ counts  # coincidences; equal values do not differ
    difference = _DIFFERENCES[level](values, total)
    return Measured(float(1 - (total.sum() - 1) * (observed * difference).sum() / (total @ difference @ total)))


def fleiss_kappa(ratings: Ratings) -> Measured:
    """Fleiss' kappa (1971) of nominal labels (readers x units; None or NaN = not rated): 1 agreement, 0 chance.

    Each unit needs the same number of ratings, two or more, by whichever readers. Undefined where all ratings are
    equal. Raises BadInput for unequal numbers of ratings and for ragged rows.

    >>> round(fleiss_kappa([["yes", "no", "no"], ["yes", "no", "yes"]]).value, 3)
    0.333
    """
    _, counts = _counts(ratings, numbers=False)
    raters = counts.sum(1)
    if raters.min() != raters.max() or raters.min() < 2:
        raise BadInput(
            f"units have {raters.min():.0f} to {raters.max():.0f} ratings; Fleiss' kappa needs one number, 2 or more: "
            "use krippendorff_alpha."
        )
    share = counts.sum(0) / counts.sum()
    if len(share) == 1:
        return Measured(np.nan, NO_SPREAD)
    observed = ((counts * (counts - 1)).sum(1) / (raters * (raters - 1))).mean()
    chance = (share**2).sum()
    return Measured(float((observed - chance) / (1 - chance)))


def _counts(ratings: Ratings, *, numbers: bool) -> tuple[Floats, Floats]:
    """The sorted values (their positions unless `numbers`), and how often each unit (row) has each value (column)."""
    lengths = [len(row) for row in ratings]
    if not lengths or len(set(lengths)) > 1 or not lengths[0]:
        raise BadInput(f"the readers have {lengths} units; expected one number, 1 or more, and None for no rating.")
    given = [(unit, value) for row in ratings for unit, value in enumerate(row) if not _missing(value)]
    names = dict.fromkeys(value for _, value in given)  # in their order, so that an error names the same one
    if odd := [v for v in names if numbers and not (isinstance(v, int | float | np.number) and np.isfinite(v))]:
        raise BadInput(f"rating {odd[0]!r} is not a finite number; use level 'nominal' for labels.")
    column = {value: i for i, value in enumerate(sorted(names, key=None if numbers else repr))}
    counts = np.zeros((lengths[0], len(column)))
    for unit, value in given:
        counts[unit, column[value]] += 1
    return np.array([*column] if numbers else range(len(column)), dtype=float), counts


def _missing(value: Any) -> bool:
    return value is None or bool(value != value)  # NaN differs from itself


def _nominal(values: Floats, total: Floats) -> Floats:
    return 1 - np.eye(len(values))


def _ordinal(values: Floats, total: Floats) -> Floats:
    middle = np.cumsum(total) - total / 2  # ratings up to half of the own value's
    return (middle[:, None] - middle) ** 2


def _interval(values: Floats, total: Floats) -> Floats:
    return (values[:, None] - values) ** 2


_DIFFERENCES = {"nominal": _nominal, "ordinal": _ordinal, "interval": _interval}
