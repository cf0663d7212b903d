"""Intervals of means over pairs of retrained twins and pictures: pairs share twins, and pictures share patients."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy import stats

from xai_bench.statistics import EDGE, FEW_TWINS, UNDEFINED, Array, Interval, Patients, interval, patient_sums

Twins = Int[NDArray[np.int64], "n"]
T_PAIRS = "t over pairs of twins"


def pair_interval(
    values: Float[Array, "n"],
    patients: Patients,
    pairs: tuple[Twins, Twins],
    *,
    crossed: bool = False,
    binary: bool = False,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean of values, each of one pair of twins on one picture; `pairs` = (one twin, the other).

    From 5 twins on (`crossed`, twins of two classifiers: of each), t with twins and patients as samples: jackknife
    pseudo-values of a U-statistic over twins (Arvesen 1969) in a table twins x patients, Var = Var(patients) + sum over
    classifiers of (MS(twins) - MS(rest)) / (twins patients), Satterthwaite's degrees of freedom. With fewer twins, and
    for a rate near 0 or 1: `interval` over patients, CONDITIONAL on these twins, which the table must say.

    >>> values, patients = np.array([0.2, 0.4, 0.9]), ["a", "b", "c"]
    >>> pair_interval(values, patients, (np.zeros(3, int), np.ones(3, int))).method
    'BCa'
    """
    values = np.asarray(values, float)
    mean, people = float(np.mean(values)), np.unique(np.asarray(patients), return_inverse=True)[1]
    sides: list[tuple[Twins, ...]] = [pairs[:1], pairs[1:]] if crossed else [pairs]
    few = min(len(np.unique(np.concatenate(side))) for side in sides) < FEW_TWINS
    if few or people.max() < 1 or (binary and not EDGE < mean < 1 - EDGE):
        return interval(values, patients, binary, seed=seed)
    width = _half_width(values - mean, people, sides, (1 - level) / 2)
    method = T_PAIRS if np.isfinite(width) else UNDEFINED
    return Interval(mean - width, mean + width, method, len(values), int(people.max()) + 1)


def _half_width(errors: Float[Array, "n"], people: Twins, sides: list[tuple[Twins, ...]], tail: float) -> float:
    """Half width of the t interval of a mean with these errors; NaN where nothing varies."""
    n = int(people.max()) + 1
    own = patient_sums(errors, people)[0] * n / len(errors)
    parts = [(float(np.var(own, ddof=1)) / n, n - 1.0)]  # (part of the variance, its degrees of freedom)
    twins, rest = 0.0, 0.0
    for side in sides:
        table = _pseudo_values(errors, people, own, side)
        t = len(table)
        rows = table.mean(1)
        between = float(np.var(rows, ddof=1)) / t
        within = float(((table - rows[:, None]) ** 2).sum()) / ((t - 1) * (n - 1) * t * n)
        parts += [(between, t - 1.0), (within, (t - 1.0) * (n - 1))]
        twins, rest = twins + between, rest + within
    spread = max(parts[0][0] + twins - rest, parts[0][0], twins)
    if spread <= 1e-24:
        return float("nan")
    freedom = spread**2 / sum(part**2 / df for part, df in parts)
    return float(-stats.t.ppf(tail, max(freedom, 1.0)) * np.sqrt(spread))


def _pseudo_values(
    errors: Float[Array, "n"], people: Twins, own: Float[Array, "p"], side: tuple[Twins, ...]
) -> Float[Array, "t p"]:
    """How much each twin at each patient moves the mean, beside what the patient moves it.

    Where both ends of a pair are twins of one classifier, a twin's mean also holds its partners: the factor undoes it.
    """
    names, codes = np.unique(np.concatenate(side), return_inverse=True)
    t, n = len(names), len(own)
    sums = np.zeros((t, n))
    for end in np.split(codes, len(side)):
        np.add.at(sums, (end, people), errors)
    factor = 1.0 if len(side) == 1 else 2 * (t - 1) / (t - 2)
    table: Array = factor * (sums * (t * n / (len(side) * len(errors))) - own)
    return table
