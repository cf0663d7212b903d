"""Paired comparisons on the same films: an explainer against the best control, one classifier against another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xai_bench.reporting.estimates import Estimate, Score
from xai_bench.statistics import Difference, holm, paired_difference

MANY_CLASSIFIERS = 3  # more: each against the first only


@dataclass(frozen=True)
class Comparison:
    """`left` minus `right`, turned so that a positive difference says `left` is better; `adjusted` is p after Holm."""

    left: Estimate
    right: Estimate
    difference: Difference
    adjusted: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the family's p is below 0.05, else nothing."""
        if self.adjusted >= 0.05:
            return ""
        return "better" if self.difference.mean > 0 else "worse"


def best_controls(found: Sequence[Estimate]) -> dict[tuple[str, Score], Estimate]:
    """For each classifier and score, the control with the best mean: the hardest to beat."""
    best: dict[tuple[str, Score], Estimate] = {}
    for e in found:
        place = (e.classifier, e.score)
        if (
            e.control
            and e.info.better
            and len(e.films)
            and (place not in best or _sign(e) * (e.value - best[place].value) > 0)
        ):
            best[place] = e
    return best


def against_chance(found: Sequence[Estimate]) -> list[Comparison]:
    """Every explainer against the best control of its classifier, one family."""
    best = best_controls(found)
    pairs = [(e, best[e.classifier, e.score]) for e in found if not e.control and (e.classifier, e.score) in best]
    return family(pairs)


def between_classifiers(found: Sequence[Estimate]) -> list[Comparison]:
    """The same explainer and score on two classifiers, one family; controls are left out."""
    names = list(dict.fromkeys(e.classifier for e in found))
    places = {(e.classifier, e.explainer, e.score): e for e in found if not e.control}
    pairs = []
    for left, right in _pairs(names):
        pairs += [(e, places[right, x, s]) for (c, x, s), e in places.items() if c == left and (right, x, s) in places]
    return family(pairs)


def family(pairs: Iterable[tuple[Estimate, Estimate]]) -> list[Comparison]:
    """Paired tests of all pairs that share two patients or more, Holm over all of them."""
    tested = [(left, right, d) for left, right in pairs if (d := _difference(left, right)) is not None]
    adjusted = holm(np.array([d.p for *_, d in tested]))
    return [Comparison(left, right, d, float(p)) for (left, right, d), p in zip(tested, adjusted, strict=True)]


def _difference(left: Estimate, right: Estimate) -> Difference | None:
    shared = left.films.index.intersection(right.films.index)
    patients = left.patients.reindex(shared)
    if patients.nunique() < 2:
        return None
    sign = _sign(left)
    a, b = (np.asarray(sign * e.films.reindex(shared), np.float64) for e in (left, right))
    return paired_difference(a, b, list(patients))


def _sign(estimate: Estimate) -> int:
    return -1 if estimate.info.better == "lower" else 1


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    if len(names) > MANY_CLASSIFIERS:
        return [(names[0], other) for other in names[1:]]
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
