"""From observations of films to estimates: means, alpha and limits of agreement, with intervals over patients.

A patient is a cluster; where the patients are not known, each film is one. What is missing is counted by its reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from xai_bench.agreement import Measured, fleiss_kappa, krippendorff_alpha
from xai_bench.reporting.table import DASH, Cell, Number, number, with_interval
from xai_bench.statistics import Array, Interval, bootstrap, interval, patient_sums
from xai_bench_annotations.results.measuring import Observation, observations
from xai_bench_annotations.results.readings import Film, Films

LIMITS = 1.96
"""Standard deviations that hold 95 % of normally distributed differences (Bland and Altman 1986)."""

UNKNOWN = Interval(np.nan, np.nan, "undefined", 0, 0)
NOTHING = Cell(DASH, mark="muted")
Who = tuple[str, ...] | None
Found = Sequence[tuple[int, Observation]]
"""Observations, each with its film's place in `Sight.films`."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, of how many films it is, and why others are left out."""

    value: float
    limits: Interval
    films: int
    left_out: Mapping[str, int]

    @property
    def cell(self) -> Cell:
        """For a table; a dash and no number where there is none."""
        if not self.films:
            return Cell(DASH, mark="muted", numbers={"value": None, "low": None, "high": None, "films": 0})
        low, high = (self.limits.low, self.limits.high) if self.limits.known else (None, None)
        numbers: dict[str, Number] = {"value": self.value, "low": low, "high": high, "films": self.films}
        return Cell(with_interval(self.value, self.limits), f"n {self.films}", numbers)


@dataclass(frozen=True)
class Sight:
    """All observations of a project's films, and whose film each is."""

    films: Sequence[Film]
    patients: Sequence[str]
    found: Mapping[tuple[str, str], Found]  # by measure and label

    @staticmethod
    def of(films: Films, patients: Mapping[str, str], method: str) -> Sight:
        """`patients`: digest of a film -> its patient; a film without one stands for itself."""
        found: dict[tuple[str, str], list[tuple[int, Observation]]] = defaultdict(list)
        for place, film in enumerate(films.counted):
            for one in observations(film, films.schema, method):
                found[one.measure, one.label].append((place, one))
        return Sight(films.counted, [patients.get(f.sha256, f"film {f.number}") for f in films.counted], found)

    def who(self, measure: str, label: str) -> list[tuple[str, ...]]:
        """The readers or pairs of whom there is an observation, by name."""
        return sorted({one.who for _, one in self.found.get((measure, label), ())})

    def values(self, measure: str, label: str, who: Who = None) -> Found:
        """Observations of one reader or pair, or of all."""
        return [(place, one) for place, one in self.found.get((measure, label), ()) if who in (None, one.who)]

    def estimate(self, measure: str, label: str, who: Who = None, *, share: bool = False) -> Estimate:
        """The mean of a measure; `share` where it is 0 or 1."""
        return self.mean(self.values(measure, label, who), share=share)

    def mean(self, chosen: Iterable[tuple[int, Observation]], *, share: bool = False) -> Estimate:
        """The mean of these observations."""
        every = list(chosen)
        values, whose = self.known(every)
        left_out = Counter(one.reason for _, one in every if one.reason is not None)
        if not len(values):
            return Estimate(np.nan, UNKNOWN, 0, left_out)
        films = len({place for place, one in every if one.reason is None})
        return Estimate(float(values.mean()), interval(values, whose, share), films, left_out)

    def known(self, found: Found) -> tuple[Array, list[str]]:
        """The values there are, and whose they are."""
        kept = [(one.value, self.patients[place]) for place, one in found if one.reason is None]
        return np.array([value for value, _ in kept]), [patient for _, patient in kept]

    def ratings(self, label: str) -> Array:
        """Readers x films: 1 marked, 0 nothing to mark, NaN not answered or not asked."""
        readers = [who for (who,) in self.who("marked", label)]
        seen = np.full((max(len(readers), 1), len(self.films)), np.nan)
        for place, one in self.values("marked", label):
            seen[readers.index(one.who[0]), place] = one.value
        return seen

    def angles(self, label: str) -> Array:
        """Readers x films: the angle in degrees of a reader who measured exactly one on the film, else NaN."""
        readers = [who for (who,) in self.who("angle", label)]
        found: dict[tuple[int, int], list[float]] = defaultdict(list)
        for place, one in self.values("angle", label):
            found[readers.index(one.who[0]), place].append(one.value)
        seen = np.full((max(len(readers), 1), len(self.films)), np.nan)
        for where, angles in found.items():
            seen[where] = angles[0] if len(angles) == 1 else np.nan
        return seen


def kappa(ratings: Array) -> Measured:
    """Fleiss' kappa (readers x films, NaN = not rated), where all rated films have one number of ratings, 2 or more."""
    counts = np.isfinite(ratings).sum(0)
    rated = counts > 0
    if not rated.any() or counts[rated].min() < 2 or len(set(counts[rated].tolist())) > 1:
        return Measured(np.nan, "films were answered by unequal numbers of readers, or by one")
    return fleiss_kappa(ratings[:, rated].tolist())


def alpha(ratings: Array, patients: Sequence[str]) -> tuple[Measured, Interval]:
    """Krippendorff's alpha of numbers (readers x films, NaN = not rated) and its interval over patients.

    Of ratings 0 and 1 it is also the nominal alpha.
    """
    found = krippendorff_alpha(ratings.tolist(), "interval")
    if found.reason is not None:
        return found, UNKNOWN
    several = np.isfinite(ratings).sum(0) > 1
    kept = ratings[:, several]
    n, values = np.isfinite(kept).sum(0).astype(np.float64), np.nan_to_num(kept)
    total, squares = values.sum(0), (values**2).sum(0)
    observed = 2 * (n * squares - total**2) / (n - 1)  # squared differences of each film's pairs, both ways
    whose = np.asarray(patients)[several]
    sums = np.stack([patient_sums(each, whose)[0] for each in (n, total, squares, observed)], axis=1)

    def statistic(weights: Array) -> Array:
        size, first, second, apart = (weights @ sums).T
        expected = 2 * (size * second - first**2)
        known = expected > 1e-12 * np.maximum(size * second, 1)
        drawn: Array = np.full(len(weights), np.nan)
        drawn[known] = 1 - (size - 1)[known] * apart[known] / expected[known]
        return drawn

    return found, bootstrap(statistic, (int(several.sum()), len(sums)))


def limits_of_agreement(values: Array, patients: Sequence[str]) -> Cell:
    """Bland and Altman's limits, below them the interval of each over patients; a dash for fewer than two values."""
    if len(values) < 2:
        return NOTHING
    total, count = patient_sums(values, patients)
    squares = patient_sums(values**2, patients)[0]

    def limit(weights: Array, side: int) -> Array:
        n, first = weights @ count, weights @ total
        n = np.where(n > 1, n, np.nan)
        variance = np.maximum(weights @ squares - first**2 / n, 0) / (n - 1)
        drawn: Array = first / n + side * LIMITS * np.sqrt(variance)
        return drawn

    ends, around = [], []
    for side in (-1, 1):
        ends.append(float(limit(np.ones((1, len(total))), side)[0]))
        around.append(bootstrap(partial(limit, side=side), (len(values), len(total))))
    small = "; ".join(f"[{number(i.low, 1)}, {number(i.high, 1)}]" if i.known else f"[{DASH}]" for i in around)
    said = f"{number(ends[0], 1)} to {number(ends[1], 1)}"
    return Cell(said, small, {"low": ends[0], "high": ends[1], "angles": len(values)})
