"""Intervals, paired tests and multiplicity, all clustered by patient. Arrays in, small frozen records out.

A patient's films are not independent: every interval resamples patients, every test flips patients, and rates count the
films by their effective number. `interval` chooses the method; the record says which one it was.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, ndtri

from xai_bench.errors import BadInput

Array = NDArray[np.float64]
Patients = Sequence[str] | NDArray[Any]
Statistic = Callable[[Array], Array]  # patient weights (draws, patients) -> one value a draw

BCA, PERCENTILE, UNDEFINED = "BCa", "percentile (BCa undefined)", "undefined"
WILSON, CLOPPER_PEARSON, T = "Wilson", "Clopper-Pearson", "t over twins"
FEW_PATIENTS, EDGE = 30, 0.05  # fewer, or a rate closer than this to 0 or 1: the bootstrap does not cover
FEW_TWINS = 5  # fewer retrained twins are not a sample of twins
_BLOCK = 1 << 22  # weights held in memory at once
_KEPT = 1 << 19  # weights of at most this size are kept for the next interval of as many patients: 4 MB


@dataclass(frozen=True)
class Interval:
    """A confidence interval, how it was made and from what; NaN limits = undefined (one patient, or no spread)."""

    low: float
    high: float
    method: str
    n: int
    n_patients: int

    @property
    def known(self) -> bool:
        """Whether there is an interval to print."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


@dataclass(frozen=True)
class Difference:
    """A paired difference a - b: mean over pictures, its interval, two-sided p, and Cohen's d_z over patient means."""

    mean: float
    low: float
    high: float
    p: float
    effect_size: float  # NaN where all patients differ by the same amount
    n: int
    n_patients: int
    method: str


def bootstrap_mean(
    values: Float[Array, "n"], patients: Patients, *, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> Interval:
    """Interval of the mean over pictures: BCa over patients (Efron 1987), jackknife over patients.

    The level is expanded for few patients (Hesterberg 2015, section 5.3: z becomes sqrt(n/(n-1)) t(n-1)), as plain BCa
    covers 0.88 with 10 patients; benchmarks/interval_coverage.py prints what this covers. Raises BadInput for no or
    non-finite values.

    >>> bootstrap_mean(np.array([0.0, 1, 2, 3]), ["a", "a", "b", "c"]).n_patients
    3
    """
    total, count = patient_sums(values, patients)
    return bootstrap(
        lambda w: (w @ total) / (w @ count), (len(values), len(total)), seed=seed, draws=draws, level=level
    )


def bootstrap(
    statistic: Statistic, size: tuple[int, int], *, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> Interval:
    """BCa interval of any statistic of patient weights; `size` = (films, patients). Percentile where BCa is undefined.

    Draws in which the statistic is NaN are left out; undefined when those are most, or when all draws are equal.

    >>> ages = np.array([30.0, 50, 70])
    >>> bootstrap(lambda w: (w @ ages) / w.sum(1), (3, 3)).method
    'BCa'
    """
    n, patients = size
    observed = float(statistic(np.ones((1, patients)))[0])
    drawn = np.concatenate([statistic(w) for w in _resamples(patients, draws, seed)])
    drawn = drawn[np.isfinite(drawn)]
    if patients < 2 or drawn.size < draws / 2 or np.ptp(drawn) <= 1e-12 * max(1.0, abs(observed)):
        return Interval(np.nan, np.nan, UNDEFINED, n, patients)
    left_out = np.concatenate([statistic(w) for w in _jackknife(patients)])
    u = left_out.mean() - left_out
    tail = ndtr(np.sqrt(patients / (patients - 1)) * stats.t.ppf((1 - level) / 2, patients - 1))
    tied = np.abs(drawn - observed) <= 1e-12 * max(1.0, abs(observed))  # the order of summation breaks no tie
    z, z0 = ndtri([tail, 1 - tail]), ndtri(((drawn < observed) & ~tied).mean() + tied.mean() / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        acceleration = (u**3).sum() / (6 * (u**2).sum() ** 1.5)
        at, method = ndtr(z0 + (z0 + z) / (1 - acceleration * (z0 + z))), BCA
    if not (np.isfinite(at).all() and np.isfinite(z0)):
        at, method = np.array([tail, 1 - tail]), PERCENTILE
    low, high = np.quantile(drawn, at)
    return Interval(float(low), float(high), method, n, patients)


def rate_interval(hits: Float[Array, "n"], patients: Patients, *, level: float = 0.95) -> Interval:
    """Interval of a rate; hits in [0, 1] (fractions where a tie is an expectation or twins were averaged).

    Clopper-Pearson when every patient has one film; else Wilson on the effective n = n / (1 + (m - 1) ICC), m the
    size-weighted films a patient, ICC by analysis of variance (Donner 1986). Never of zero width.

    >>> i = rate_interval(np.ones(20), [str(i) for i in range(20)])
    >>> round(i.low, 3), i.high, i.method
    (0.832, 1.0, 'Clopper-Pearson')
    """
    n_patients = len(patient_sums(hits, patients)[0])
    if np.min(hits) < 0 or np.max(hits) > 1:
        raise BadInput(f"hits range from {np.min(hits)} to {np.max(hits)}; a rate needs values in [0, 1].")
    n, k, tail = len(hits), float(np.sum(hits)), (1 - level) / 2
    if n > n_patients:
        low, high = _wilson(k / n, _effective_n(np.asarray(hits, float), patients), level)
        return Interval(low, high, WILSON, n, n_patients)
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.ppf(1 - tail, k + 1, n - k))
    return Interval(low, high, CLOPPER_PEARSON, n, n)


def interval(values: Float[Array, "n"], patients: Patients, binary: bool, *, seed: int = 0) -> Interval:
    """The interval of a mean score: `rate_interval` for a `delicate` rate, else `bootstrap_mean`.

    >>> interval(np.array([0.0, 1, 1]), ["a", "b", "c"], binary=True).method
    'Clopper-Pearson'
    """
    if binary and delicate(float(np.mean(values)), len(np.unique(np.asarray(patients)))):
        return rate_interval(values, patients)
    return bootstrap_mean(values, patients, seed=seed)


def delicate(rate: float, n_patients: int) -> bool:
    """Whether the bootstrap does not cover for this rate: fewer than 30 patients, at most 0.05, or at least 0.95."""
    return n_patients < FEW_PATIENTS or not EDGE < rate < 1 - EDGE


def twins_interval(
    values: Float[Array, "twins n"], patients: Patients, binary: bool, *, seed: int = 0, level: float = 0.95
) -> Interval:
    """Interval of the mean over retrained twins and pictures.

    From 5 twins on: t for twins x patients, both random (Var = (MS_twins + MS_patients - MS_rest) / (twins patients),
    Satterthwaite's degrees of freedom). With fewer, and for a rate near 0 or 1: `interval` of each picture's mean over
    twins, CONDITIONAL on these twins, which the table must say.

    >>> twins_interval(np.array([[0.0, 1, 2, 3], [1.0, 1, 2, 4]]), list("abcd"), binary=False).method
    'BCa'
    """
    values = np.asarray(values, float)
    mean, grand = values.mean(0), float(values.mean())
    n_patients = len(patient_sums(mean, patients)[0])
    if len(values) < FEW_TWINS or n_patients < 2 or (binary and not EDGE < grand < 1 - EDGE):
        return interval(mean, patients, binary, seed=seed)
    cells = np.stack([_linearized(twin, patients, grand) for twin in values])
    width = _crossed_half_width(cells, (1 - level) / 2)
    return Interval(grand - width, grand + width, T if np.isfinite(width) else UNDEFINED, mean.size, n_patients)


def paired_difference(a: Float[Array, "n"], b: Float[Array, "n"], patients: Patients, seed: int = 0) -> Difference:
    """Mean of a - b over the same pictures, tested by all 2^patients sign flips of whole patients.

    `seed` is that of the interval.

    >>> d = paired_difference(np.array([2.0, 3, 4, 5, 6]), np.ones(5), list("abcde"))
    >>> d.mean, d.p
    (3.0, 0.0625)
    """
    if np.shape(a) != np.shape(b):
        raise BadInput(
            f"a paired difference needs the same pictures on both sides; got {np.shape(a)} and {np.shape(b)}."
        )
    d = np.asarray(a, float) - np.asarray(b, float)
    total, count = patient_sums(d, patients)
    means, found = total / count, bootstrap_mean(d, patients, seed=seed)
    spread = float(np.std(means, ddof=1)) if means.size > 1 else 0.0
    effect = float(means.mean()) / spread if spread > 1e-12 else np.nan
    p = _sign_flip(total)
    return Difference(float(d.mean()), found.low, found.high, p, effect, d.size, means.size, found.method)


def holm(p: Float[Array, "m"]) -> Float[Array, "m"]:
    """Adjusted p of a printed family, family-wise error (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _probabilities(p)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1)
    return adjusted


def benjamini_hochberg(p: Float[Array, "m"]) -> Float[Array, "m"]:
    """Adjusted p of a printed family, false discovery rate (Benjamini & Hochberg 1995).

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    p = _probabilities(p)
    order = np.argsort(p)[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * p.size / np.arange(p.size, 0, -1)), 1)
    return adjusted


def patient_sums(values: Float[Array, "n"], patients: Patients) -> tuple[Float[Array, "p"], Float[Array, "p"]]:
    """Sum and number of each patient's values, patients sorted. BadInput for no, non-finite or unmatched values."""
    values = np.asarray(values, float)
    if values.ndim != 1 or values.shape != np.shape(patients):
        raise BadInput(
            f"values have shape {values.shape}, patients {np.shape(patients)}; expected a patient for each value."
        )
    if not values.size or not np.isfinite(values).all():
        raise BadInput(f"{np.isfinite(values).sum()} of {values.size} values are finite; leave missing scores out.")
    code = np.unique(np.asarray(patients), return_inverse=True)[1]
    return np.bincount(code, values).astype(np.float64), np.bincount(code).astype(np.float64)


def _resamples(patients: int, draws: int, seed: int) -> Iterable[Float[Array, "d p"]]:
    """How often each patient is drawn, in blocks; kept while they are few, as a table asks for the same ones often."""
    return _kept(patients, draws, seed) if patients * draws <= _KEPT else _draw(patients, draws, seed)


@functools.lru_cache(maxsize=16)
def _kept(patients: int, draws: int, seed: int) -> tuple[Float[Array, "d p"], ...]:
    return tuple(_draw(patients, draws, seed))


def _draw(patients: int, draws: int, seed: int) -> Iterator[Float[Array, "d p"]]:
    rng, block = np.random.default_rng(seed), max(1, _BLOCK // patients)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = rng.integers(0, patients, (rows, patients)) + patients * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)
        weights.flags.writeable = False
        yield weights


def _jackknife(patients: int) -> Iterator[Float[Array, "d p"]]:
    """All patients but one, in blocks."""
    block = max(1, _BLOCK // patients)
    for start in range(0, patients, block):
        rows = np.arange(start, min(start + block, patients))
        weights = np.ones((rows.size, patients))
        weights[np.arange(rows.size), rows] = 0
        yield weights


def _wilson(rate: float, n: float, level: float) -> tuple[float, float]:
    z2 = float(ndtri((1 + level) / 2)) ** 2
    center = (rate + z2 / (2 * n)) / (1 + z2 / n)
    width = np.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return (0.0 if rate == 0 else float(center - width)), (1.0 if rate == 1 else float(center + width))


def _effective_n(values: Float[Array, "n"], patients: Patients) -> float:
    """Number of independent films that would carry as much; ICC 1 where all films agree or it cannot be estimated."""
    total, count = patient_sums(values, patients)
    n, p = values.size, total.size
    m = float((count**2).sum() / n)
    if p < 2:
        return n / m
    between = (count * (total / count - values.mean()) ** 2).sum() / (p - 1)
    within = ((values**2).sum() - (total**2 / count).sum()) / (n - p)
    scale = between + ((n - m) / (p - 1) - 1) * within
    icc = (between - within) / scale if scale > 1e-12 else 1.0
    return float(n / (1 + (m - 1) * np.clip(icc, 0, 1)))


def _linearized(values: Float[Array, "n"], patients: Patients, mean: float) -> Float[Array, "p"]:
    """One number a patient; its mean over patients is the mean over pictures, its spread the ratio estimator's."""
    total, count = patient_sums(values, patients)
    residuals: Array = mean + (total - mean * count) * (count.size / count.sum())
    return residuals


def _crossed_half_width(cells: Float[Array, "t p"], tail: float) -> float:
    """Half width of the t interval of the grand mean of a twins x patients table; NaN where all cells are equal."""
    t, p = cells.shape
    rows, columns = cells.mean(1), cells.mean(0)
    ms_t, ms_p = p * np.var(rows, ddof=1), t * np.var(columns, ddof=1)
    ms_e = ((cells - rows[:, None] - columns + cells.mean()) ** 2).sum() / ((t - 1) * (p - 1))
    spread = max(ms_t + ms_p - ms_e, ms_t, ms_p)
    if spread <= 1e-24:
        return float("nan")
    freedom = spread**2 / (ms_t**2 / (t - 1) + ms_p**2 / (p - 1) + ms_e**2 / ((t - 1) * (p - 1)))
    return float(-stats.t.ppf(tail, max(freedom, 1.0)) * np.sqrt(spread / (t * p)))


def _sign_flip(total: Float[Array, "p"]) -> float:
    """Two-sided p of the sum under all flips of whole patients.

    Sums are counted in steps so fine that rounding moves the sum by a small part of its standard deviation; whatever
    it may have moved below what was observed is counted as beyond, so that p is never too small. Unlike drawn flips it
    has no smallest value but that of the test itself, 2 / 2^patients, which large families of tests need.
    """
    sizes = np.sort(np.abs(total[total != 0]))
    if not sizes.size:
        return 1.0
    step = sizes.sum() / max(1 << 16, 400 * sizes.size)
    units = np.rint(sizes / step).astype(int)
    chance = np.zeros(units.sum() + 1)  # of how much is flipped
    chance[0], reach = 1.0, 0
    for unit in units:
        chance[: reach + 1] /= 2
        flipped = chance[: reach + 1].copy()
        reach += unit
        chance[unit : reach + 1] += flipped
    sums = np.abs(units.sum() - 2 * np.arange(chance.size))
    return float(min(chance[sums >= abs(total.sum()) / step - sizes.size / 2 - 1e-6].sum(), 1))


def _probabilities(p: Float[Array, "m"]) -> Float[Array, "m"]:
    p = np.asarray(p, float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise BadInput(f"p values {p.tolist()}: expected numbers in [0, 1].")
    return p
