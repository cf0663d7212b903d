"""Several readers' masks of one film -> one reference region, and the leave-one-out references of the human ceiling.

A mask is a boolean array; all masks of a call have one shape. A reader who marked nothing is data and passes zeros; a
reader who has not read the film is not passed. Nothing depends on the order of the readers, to the last bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from xai_bench.errors import BadInput, did_you_mean

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

PREFIX = "consensus:"
CONVERGED = 1e-7  # ITK stops where no sensitivity and no specificity moves by more
TIE = 1e-9  # a posterior of 0.5 is a tie up to rounding, which must not decide on one machine otherwise than on another


def stacked(masks: Sequence[Mask]) -> Mask:
    """The masks as one array (readers, ...).

    BadInput for none, no pixels, other types than bool, unequal shapes.
    """
    shapes, types = [np.shape(mask) for mask in masks], [np.asarray(mask).dtype for mask in masks]
    if not shapes:
        raise BadInput("there are 0 masks; pass one for each reader who has read the film.")
    if len(set(shapes)) > 1:
        raise BadInput(f"the masks have shapes {', '.join(map(str, shapes))}; expected one shape: that of the film.")
    if any(t != np.bool_ for t in types):
        raise BadInput(f"the masks have types {', '.join(map(str, types))}; expected bool: pass `mask > 0`.")
    if 0 in shapes[0]:
        raise BadInput(f"the masks have shape {shapes[0]}; expected one pixel or more.")
    return np.stack(masks)


def soft_mean(masks: Sequence[Mask]) -> Floats:
    """The share of readers who marked a pixel, 0 to 1.

    >>> soft_mean([np.array([True, True]), np.array([True, False])]).tolist()
    [1.0, 0.5]
    """
    votes = stacked(masks)
    share: Floats = votes.sum(0) / len(votes)
    return share


def majority(masks: Sequence[Mask]) -> Mask:
    """Pixels that strictly more than half of the readers marked: a tie of an even number of readers is not marked.

    Of two readers it is therefore the intersection.

    >>> majority([np.array([True, True, False]), np.array([True, False, False]), np.array([True, True, True])]).tolist()
    [True, True, False]
    """
    votes = stacked(masks)
    marked: Mask = 2 * votes.sum(0) > len(votes)
    return marked


def union(masks: Sequence[Mask]) -> Mask:
    """Pixels that any reader marked."""
    return np.asarray(stacked(masks).any(0))


def intersection(masks: Sequence[Mask]) -> Mask:
    """Pixels that every reader marked."""
    return np.asarray(stacked(masks).all(0))


@dataclass(frozen=True, eq=False)
class Staple:
    """STAPLE's estimate: how probably each pixel belongs to the region, and how good each reader is, 0 to 1.

    Sensitivity and specificity are in the order of the masks and refer to the whole array: specificity falls when the
    frame is cropped, so state the frame. `converged` is False where `max_iterations` came first.
    """

    probability: Floats
    sensitivity: Floats
    specificity: Floats
    iterations: int
    converged: bool

    @property
    def mask(self) -> Mask:
        """Pixels with probability >= 0.5."""
        marked: Mask = self.probability >= 0.5 - TIE
        return marked


def staple(masks: Sequence[Mask], max_iterations: int = 100_000) -> Staple:
    """Simultaneous truth and performance level estimation (Warfield, Zou and Wells 2004, no spatial prior).

    Expectation maximization as in ITK's STAPLEImageFilter: starts from the share of readers, the prior is its mean and
    stays, ends where no sensitivity or specificity moves by more than 1e-7. Where a ratio has no denominator (ITK: NaN)
    the last value stays: if all readers marked nothing, or all everything, that is the consensus, with sensitivity and
    specificity 1. Readers without common pixels give an empty mask. Two readers leave many ties: prefer majority.
    Raises BadInput for fewer than one iteration.

    >>> found = staple([np.array([True, True, False, False])] * 2 + [np.array([True, False, False, False])])
    >>> found.mask.tolist(), found.sensitivity.round(3).tolist()
    ([True, True, False, False], [1.0, 1.0, 0.5])
    """
    if max_iterations < 1:
        raise BadInput(f"max_iterations = {max_iterations}: expected 1 or more.")
    readers = stacked(masks)
    order = sorted(range(len(readers)), key=lambda i: readers[i].tobytes())  # sums round by order
    votes, counts, pattern = _vote_patterns(readers[order])
    weight = votes.mean(1)
    prior = float(counts @ weight / counts.sum())
    quality = np.ones((2, len(readers)))  # sensitivity, specificity
    iterations, converged = 0, False
    while iterations < max_iterations and not converged:
        last, iterations = quality, iterations + 1
        quality = _maximization(votes, counts, weight, last)
        weight = _expectation(votes, prior, quality, weight)
        converged = iterations > 1 and bool(np.all(np.abs(quality - last) <= CONVERGED))
    sensitivity, specificity = quality[:, np.argsort(order)]
    return Staple(weight[pattern].reshape(readers.shape[1:]), sensitivity, specificity, iterations, converged)


def _vote_patterns(readers: Mask) -> tuple[Mask, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct votes (patterns, readers), the pixels that have each, and each pixel's pattern.

    Readers agree on most pixels, so there are few patterns, and an iteration need not look at the pixels again.
    """
    flat = readers.reshape(len(readers), -1)
    pattern = np.zeros(flat.shape[1], np.int64)
    for marked in flat:  # numbered anew after each reader: never more numbers than twice the pixels
        pattern = 2 * pattern + marked
        pattern = (np.cumsum(np.bincount(pattern) > 0) - 1)[pattern]
    counts = np.bincount(pattern)
    example = np.empty(len(counts), np.int64)
    example[pattern] = np.arange(len(pattern))
    return np.ascontiguousarray(flat[:, example].T), counts, pattern


def _maximization(votes: Mask, counts: NDArray[np.int64], weight: Floats, last: Floats) -> Floats:
    """M-step: the share of the region that a reader marked, and of the rest that the reader left out."""
    inside, outside = counts * weight, counts * (1 - weight)
    quality = last.copy()
    for row, mass, agrees in ((0, inside, votes), (1, outside, ~votes)):
        shares = np.where(agrees, mass[:, None], 0).sum(0)  # not a product of matrices: equal readers, equal bits
        if (total := mass.sum()) > 0:
            quality[row] = np.minimum(shares / total, 1)  # rounding must not make 1 - quality negative
    return quality


def _expectation(votes: Mask, prior: float, quality: Floats, last: Floats) -> Floats:
    """E-step: each pattern's posterior probability of the region."""
    sensitivity, specificity = quality
    inside = prior * np.where(votes, sensitivity, 1 - sensitivity).prod(1)
    outside = (1 - prior) * np.where(votes, 1 - specificity, specificity).prod(1)
    weight: Floats = np.divide(inside, inside + outside, out=last.copy(), where=inside + outside > 0)
    return weight


METHODS: Mapping[str, Callable[[Sequence[Mask]], Mask]] = MappingProxyType(
    {
        "majority": majority,
        "staple": lambda masks: staple(masks).mask,
        "union": union,
        "intersection": intersection,
    }
)
"""Methods that make one mask of several, by the name that stands in a reference."""


def references(masks: Mapping[str, Mask], method: str) -> dict[str, Mask]:
    """`consensus:<method>` of all readers and, of two readers or more, `consensus:<method>:without:<reader>` for each.

    A reader is compared with the reference that does not contain the reader's own drawing; of two readers that is the
    other one's. Raises BadInput for an unknown method, and for a repeat read (`<reader>#2`) or what is no reader: each
    reader has one vote.

    >>> list(references({"anna": np.array([True]), "ben": np.array([False])}, "majority"))
    ['consensus:majority', 'consensus:majority:without:anna', 'consensus:majority:without:ben']
    """
    if method not in METHODS:
        known = list(METHODS)
        raise BadInput(f"consensus {method!r} is not known; use {', '.join(known)}.{did_you_mean(method, known)}")
    for reader in masks:
        if "#" in reader or reader == "derived" or reader.startswith(PREFIX):
            raise BadInput(f"{reader!r} has no vote of its own; pass one read of each reader and nothing else.")
    combine, name = METHODS[method], PREFIX + method
    made = {name: combine(list(masks.values()))}
    if len(masks) > 1:
        for reader in masks:
            made[f"{name}:without:{reader}"] = combine([mask for other, mask in masks.items() if other != reader])
    return made
