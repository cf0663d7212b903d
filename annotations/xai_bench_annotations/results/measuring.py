"""What can be measured on one film: each two readers, each reader against the others, each reader against the repeat.

An observation is one value or the reason why there is none. Distances are in pixels and, where the film states its
spacing, in mm; angles in degrees; specificity refers to the whole film.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from xai_bench.agreement import (
    BOTH_EMPTY,
    REFERENCE_FULL,
    Distances,
    Rates,
    dice,
    iou,
    pointing_ceiling,
    reader_rates,
    surface_distances,
)
from xai_bench.consensus import METHODS, Mask, staple
from xai_bench_annotations.drawings import AREAS, LabelSchema
from xai_bench_annotations.results.readings import Film, Reading

ENOUGH = 3  # readers, from which on STAPLE can tell who is right
NOT_ANSWERED = "a reader did not answer this label"
NO_SPACING = "the film states no pixel spacing"
NOBODY = "all readers marked nothing"
FEW = f"fewer than {ENOUGH} readers: STAPLE cannot tell who is right"
ITERATIONS = 5_000
"""After which STAPLE is given up: readers who agree by chance only never get it to converge."""
UNSETTLED = f"STAPLE did not converge in {ITERATIONS} iterations"
ALONE = "only one reader answered this label"
REPEAT = "again_"
"""How a measure's name begins that compares a reader's first reading (`first`) with the repeat (`second`)."""


class Observation(NamedTuple):
    """One value of one film, or NaN and the reason; `who` are one or two readers."""

    measure: str
    label: str
    who: tuple[str, ...]
    value: float
    reason: str | None = None


Values = Iterator[tuple[str, float, str | None]]


def observations(film: Film, schema: LabelSchema, method: str = "majority") -> tuple[Observation, ...]:
    """All that can be measured on a film; the others' consensus is made by `method`. Remembered while nothing changes.

    Measures: `marked` (0 or 1) of each reader; of pairs `dice`, `iou`, `distance_px`, `hausdorff95_px` and the same in
    `_mm`, `landmark_px`, `landmark_mm`, `angle` (of each reader) and `angle_difference` (degrees, first minus second,
    one for each angle); of a reader `staple_sensitivity`, `staple_specificity` (all readers) and, against the others'
    consensus, `sensitivity`, `specificity`, `dice_to_others`, `pointing_ceiling`; `again_...` for repeat readings.
    """
    key = (film.digest, schema.model_dump_json(), method)
    found = _remembered.get(key)
    if found is None:
        work = _Work(film, method)
        found = tuple(one for label in schema.labels for one in _of_label(work, label.code, set(label.kinds)))
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        _remembered[key] = found
    return found


_remembered: dict[tuple[str, str, str], tuple[Observation, ...]] = {}  # values only: drawings take much more memory
REMEMBERED = 4096


@dataclass(frozen=True)
class _Work:
    film: Film
    method: str


def _of_label(work: _Work, label: str, kinds: set[str]) -> Iterator[Observation]:
    film = work.film
    for who, reading in film.first.items():
        yield Observation("marked", label, (who,), *_marked(reading, label))
    areas = _Areas.of(film, label, whole=work.method == "staple") if kinds & set(AREAS) else None
    for who, again in film.again.items():
        if who in film.first:
            yield from _compared(work, label, kinds, (who,), (film.first[who], again), areas)
    for (one, a), (two, b) in combinations(film.first.items(), 2):
        yield from _compared(work, label, kinds, (one, two), (a, b), areas)
    if areas is not None:
        yield from _against_all(label, film.votes(label))
        yield from _against_others(label, areas, work.method)
    if "cobb" in kinds:
        for who, reading in film.first.items():
            for degrees in reading.angles(label) or ():
                yield Observation("angle", label, (who,), degrees)


@dataclass(frozen=True)
class _Areas:
    """Areas by reader and read (None: not answered), of the film or a cut of it; `pixels` of the whole film."""

    of_read: Mapping[tuple[str, int], Mask | None]
    pixels: int

    @staticmethod
    def of(film: Film, label: str, *, whole: bool) -> _Areas:
        """Cut, unless `whole`, to the box that holds all areas; only specificity and STAPLE depend on the rest."""
        found = {(r.reader, r.read): r.area(label) for r in film.readings}
        box = ... if whole else _box([mask for mask in found.values() if mask is not None])
        cut = {who: None if mask is None else np.ascontiguousarray(mask[box]) for who, mask in found.items()}
        return _Areas(cut, film.shape[0] * film.shape[1])

    @property
    def votes(self) -> dict[str, Mask]:
        """First readings that answered, readers sorted."""
        return {who: mask for (who, read), mask in sorted(self.of_read.items()) if read == 1 and mask is not None}


def _box(masks: Sequence[Mask]) -> tuple[slice, slice]:
    """The smallest rectangle outside of which all masks are empty; one pixel where they all are."""
    sides = []
    for axis in (1, 0):
        marked = np.flatnonzero(np.logical_or.reduce([mask.any(axis) for mask in masks])) if masks else np.empty(0)
        sides.append(slice(int(marked[0]), int(marked[-1]) + 1) if marked.size else slice(0, 1))
    return sides[0], sides[1]


def _compared(
    work: _Work, label: str, kinds: set[str], who: tuple[str, ...], pair: tuple[Reading, Reading], areas: _Areas | None
) -> Iterator[Observation]:
    """Two readings of one film; of one reader, where `who` is one."""
    (a, b), start = pair, REPEAT if len(who) == 1 else ""
    found = [_same_presence(a, b, label)]
    if areas is not None:
        one, two = (areas.of_read[r.reader, r.read] for r in pair)
        found.append(_overlap(one, two, work.film.spacing_mm))
    if "landmark" in kinds:
        found.append(_points(a.points(label), b.points(label), work.film.spacing_mm))
    if "cobb" in kinds:
        found.append(_angles(a.angles(label), b.angles(label)))
    for values in found:
        for measure, value, reason in values:
            yield Observation(start + measure, label, who, value, reason)


# --- two readings ---------------------------------------------------------------------------------------------------


def _marked(reading: Reading, label: str) -> tuple[float, str | None]:
    if any(d.label == label for d in reading.drawings):
        return 1.0, None
    return (0.0, None) if label in reading.nothing_in else (math.nan, NOT_ANSWERED)


def _same_presence(a: Reading, b: Reading, label: str) -> Values:
    (one, why), (two, why_too) = _marked(a, label), _marked(b, label)
    reason = why or why_too
    yield "same_presence", math.nan if reason else float(one == two), reason


AREA_MEASURES = ("dice", "iou", "distance_px", "hausdorff95_px", "distance_mm", "hausdorff95_mm")


def _overlap(a: Mask | None, b: Mask | None, spacing: tuple[float, float] | None) -> Values:
    """Where both marked nothing there is no overlap; where one did, it is 0 and there is no distance."""
    if a is None or b is None or not (a.any() or b.any()):
        why = NOT_ANSWERED if a is None or b is None else BOTH_EMPTY
        yield from ((measure, math.nan, why) for measure in AREA_MEASURES)
        return
    yield "dice", dice(a, b), None
    yield "iou", iou(a, b), None
    pixels = surface_distances(a, b)
    in_mm = Distances(math.nan, math.nan, NO_SPACING) if spacing is None else surface_distances(a, b, spacing)
    for unit, found in (("px", pixels), ("mm", in_mm)):
        reason = pixels.reason or found.reason
        yield f"distance_{unit}", found.mean, reason
        yield f"hausdorff95_{unit}", found.hausdorff95, reason


def _points(
    a: tuple[tuple[float, float], ...] | None,
    b: tuple[tuple[float, float], ...] | None,
    spacing: tuple[float, float] | None,
) -> Values:
    """Distances of landmarks; of several, paired so that the distances' sum is least."""
    reason = _uneven(a, b, "landmarks")
    if a is None or b is None or reason:
        yield "landmark_px", math.nan, reason
        yield "landmark_mm", math.nan, reason
        return
    apart = np.array(a)[:, None] - np.array(b)[None]
    one, two = linear_sum_assignment(np.hypot(*np.moveaxis(apart, 2, 0)))
    steps = apart[one, two]  # x, y in pixels
    for dx, dy in steps.tolist():
        yield "landmark_px", math.hypot(dx, dy), None
        if spacing is None:
            yield "landmark_mm", math.nan, NO_SPACING
        else:
            yield "landmark_mm", math.hypot(dx * spacing[1], dy * spacing[0]), None


def _angles(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> Values:
    """First minus second, in degrees; several angles are paired from top to bottom."""
    reason = _uneven(a, b, "angles")
    if a is None or b is None or reason:
        yield "angle_difference", math.nan, reason
        return
    for one, two in zip(a, b, strict=True):
        yield "angle_difference", one - two, None


def _uneven(a: tuple[object, ...] | None, b: tuple[object, ...] | None, what: str) -> str | None:
    if a is None or b is None:
        return NOT_ANSWERED
    if not a and not b:
        return "both marked nothing"
    return None if len(a) == len(b) else f"the two set unequal numbers of {what}"


# --- all readers ----------------------------------------------------------------------------------------------------


def _against_all(label: str, votes: Mapping[str, Mask]) -> Iterator[Observation]:
    """STAPLE's estimates of every reader."""
    reason = FEW if len(votes) < ENOUGH else None if any(m.any() for m in votes.values()) else NOBODY
    found = None if reason else staple(list(votes.values()), ITERATIONS)
    if found is not None and not found.converged:
        reason = UNSETTLED
    for place, who in enumerate(votes):
        for name in ("sensitivity", "specificity"):
            value = math.nan if found is None or reason else float(getattr(found, name)[place])
            yield Observation(f"staple_{name}", label, (who,), value, reason)


def _against_others(label: str, areas: _Areas, method: str) -> Iterator[Observation]:
    """Each reader against the consensus of the others, which does not hold the own drawing."""
    votes = areas.votes
    for who, mask in votes.items():
        others = [m for other, m in votes.items() if other != who]
        reference, reason = _reference(others, method)
        if reason:
            yield from (Observation(name, label, (who,), math.nan, reason) for name in OTHERS)
            continue
        rates, pointing = _rates(mask, reference, areas.pixels), pointing_ceiling(mask, reference)
        filled = mask.any() or reference.any()
        yield _rate("sensitivity", label, who, rates.sensitivity, rates.reason)
        yield _rate("specificity", label, who, rates.specificity, rates.reason)
        yield _rate("dice_to_others", label, who, dice(mask, reference) if filled else math.nan, BOTH_EMPTY)
        yield _rate("pointing_ceiling", label, who, pointing.value, pointing.reason)


def _reference(others: Sequence[Mask], method: str) -> tuple[Mask, str | None]:
    """The others' consensus, or why there is none."""
    if not others:
        return np.zeros(0, np.bool_), ALONE
    if method != "staple":
        return METHODS[method](others), None
    found = staple(others, ITERATIONS)
    return found.mask, None if found.converged else UNSETTLED


def _rates(mask: Mask, reference: Mask, pixels: int) -> Rates:
    """`reader_rates` over a film of so many pixels, of which the masks are a cut that holds all that is marked."""
    found, outside = reader_rates(mask, reference), pixels - int(reference.sum())
    if not outside:
        return found
    specificity = (outside - int((mask & ~reference).sum())) / outside
    reason = None if found.reason == REFERENCE_FULL else found.reason
    return Rates(found.sensitivity, specificity, reason)


OTHERS = ("sensitivity", "specificity", "dice_to_others", "pointing_ceiling")


def _rate(measure: str, label: str, who: str, value: float, reason: str | None) -> Observation:
    return Observation(measure, label, (who,), value, reason if math.isnan(value) else None)
