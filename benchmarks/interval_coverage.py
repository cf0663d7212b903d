"""How often the 95 % intervals hold the truth, and how often the tests cry wolf.

    python benchmarks/interval_coverage.py

Its last output:

Mean scores: BCa over patients, level expanded for few patients; should be 0.93-0.97
 10 patients, 1 film   : normal 0.936, right-skewed 0.935, uniform 0.948
 10 patients, 1-4 films: normal 0.934, right-skewed 0.933, uniform 0.940
 20 patients, 1 film   : normal 0.938, right-skewed 0.953, uniform 0.953
 20 patients, 1-4 films: normal 0.945, right-skewed 0.935, uniform 0.944
 50 patients, 1 film   : normal 0.939, right-skewed 0.956, uniform 0.954
 50 patients, 1-4 films: normal 0.950, right-skewed 0.944, uniform 0.948
Rates: Clopper-Pearson at least 0.95; Wilson 0.93-0.97 in the mean over p (0.02 to 0.98)
 10 patients, 1 film   : Clopper-Pearson, mean over p 0.984, least 0.961 (exact)
 19 patients, 1 film   : Clopper-Pearson, mean over p 0.978, least 0.952 (exact)
 60 patients, 1 film   : Clopper-Pearson, mean over p 0.968, least 0.951 (exact)
 10 patients, 1-4 films: Wilson on the effective n, mean over p 0.943, least 0.920
 20 patients, 1-4 films: Wilson on the effective n, mean over p 0.951, least 0.933
 60 patients, 1-4 films: Wilson on the effective n, mean over p 0.947, least 0.923
 30 patients, 1 film   : the rule of the tables, mean over p 0.978, least 0.953
 30 patients, 1-4 films: the rule of the tables, mean over p 0.961, least 0.930
 60 patients, 1 film   : the rule of the tables, mean over p 0.968, least 0.940
 60 patients, 1-4 films: the rule of the tables, mean over p 0.956, least 0.937
Means over 5 and more retrained twins: t, Satterthwaite; should be 0.93-0.97
 5 twins, 15 patients; spread of twins 0.1, 0.5, 1 times that of patients: 0.952, 0.955, 0.952
 5 twins, 50 patients; spread of twins 0.1, 0.5, 1 times that of patients: 0.955, 0.946, 0.945
10 twins, 15 patients; spread of twins 0.1, 0.5, 1 times that of patients: 0.954, 0.945, 0.944
10 twins, 50 patients; spread of twins 0.1, 0.5, 1 times that of patients: 0.947, 0.947, 0.951
Classification
 20 patients, 1-3 films: AUROC of 0.75: 0.974
 20 patients, 1-3 films: AUROC of 0.9: 0.968
 20 patients, 1-3 films: AUROC of 0.99: 0.986
 60 patients, 1-3 films: AUROC of 0.75: 0.940
 60 patients, 1-3 films: AUROC of 0.9: 0.972
 60 patients, 1-3 films: AUROC of 0.99: 0.992
 20 patients, 1-3 films: balanced accuracy, mean over p 0.942, least 0.880
 60 patients, 1-3 films: balanced accuracy, mean over p 0.964, least 0.920
False alarms of the paired sign-flip test at 0.05; should be 0.04-0.06
  8 patients, 1 film   : normal 0.048, right-skewed scores 0.046, skewed differences 0.049
  8 patients, 1-4 films: normal 0.047, right-skewed scores 0.041, skewed differences 0.049
 15 patients, 1 film   : normal 0.057, right-skewed scores 0.045, skewed differences 0.055
 15 patients, 1-4 films: normal 0.056, right-skewed scores 0.054, skewed differences 0.051
 40 patients, 1 film   : normal 0.046, right-skewed scores 0.040, skewed differences 0.048
 40 patients, 1-4 films: normal 0.043, right-skewed scores 0.047, skewed differences 0.053
 20 patients, 1 film   : a family of 10 correlated tests after Holm: 0.044
85 s on one core
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xai_bench.accuracy import auroc, balanced_accuracy
from xai_bench.statistics import (
    Interval,
    bootstrap_mean,
    holm,
    interval,
    paired_difference,
    rate_interval,
    twins_interval,
)

Array = NDArray[np.float64]
Rng = np.random.Generator
ICC = 0.3  # correlation of two films of a patient, for hits
SHAPES = {"normal": stats.norm(0, 1), "right-skewed": stats.beta(2, 5), "uniform": stats.uniform()}
RATES = np.linspace(0.02, 0.98, 17)


def films(rng: Rng, patients: int, most: int) -> NDArray[np.int_]:
    """The patient of each film; one to `most` films a patient."""
    return np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))


def clustered(rng: Rng, shape: str, owner: NDArray[np.int_]) -> Array:
    """A score of which half is the patient's and half the film's own."""
    law = SHAPES[shape]
    own, rest = law.rvs(owner.max() + 1, random_state=rng), law.rvs(owner.size, random_state=rng)
    return np.asarray(0.5 * own[owner] + 0.5 * rest)


def hits(rng: Rng, p: float, owner: NDArray[np.int_]) -> Array:
    """Hits at rate p, correlated within patients: each patient's own rate is beta distributed about p."""
    strength = (1 - ICC) / ICC
    own = rng.beta(p * strength, (1 - p) * strength, owner.max() + 1)[owner]
    return np.asarray(rng.random(owner.size) < own, np.float64)


def covered(make: Callable[[Rng], Interval], truth: float, repeats: int) -> float:
    """Share of repeats whose interval holds the truth."""
    rng = np.random.default_rng(0)
    found = [make(rng) for _ in range(repeats)]
    return float(np.mean([i.low <= truth <= i.high for i in found]))


def over_rates(make: Callable[[Rng, float], Interval], repeats: int = 300) -> str:
    """Coverage over a grid of true rates."""

    def at(p: float) -> float:
        return covered(lambda rng: make(rng, p), p, repeats)

    shares = [at(float(p)) for p in RATES]
    return f"mean over p {np.mean(shares):.3f}, least {np.min(shares):.3f}"


def mean_scores(patients: int, most: int) -> str:
    """The bootstrap of a continuous score."""

    def share(shape: str) -> float:
        def make(rng: Rng) -> Interval:
            owner = films(rng, patients, most)
            return bootstrap_mean(clustered(rng, shape, owner), owner, draws=999)

        return covered(make, float(SHAPES[shape].mean()), 2000)

    return f"{size(patients, most)}: " + ", ".join(f"{shape} {share(shape):.3f}" for shape in SHAPES)


def clopper_pearson(patients: int) -> str:
    """Exact coverage, by enumeration."""
    counts, truth = np.arange(patients + 1), np.linspace(0.001, 0.999, 999)
    limits = [rate_interval((np.arange(patients) < k).astype(np.float64), np.arange(patients)) for k in counts]
    low, high = np.array([i.low for i in limits]), np.array([i.high for i in limits])
    inside = (low <= truth[:, None]) & (truth[:, None] <= high)
    exact = (stats.binom(patients, truth[:, None]).pmf(counts) * inside).sum(1)
    return f"{size(patients, 1)}: Clopper-Pearson, mean over p {exact.mean():.3f}, least {exact.min():.3f} (exact)"


def wilson(patients: int) -> str:
    """Wilson on the effective n."""

    def make(rng: Rng, p: float) -> Interval:
        owner = films(rng, patients, 4)
        return rate_interval(hits(rng, p, owner), owner)

    return f"{size(patients, 4)}: Wilson on the effective n, {over_rates(make)}"


def rule(patients: int, most: int) -> str:
    """What the tables do with a binary score."""

    def make(rng: Rng, p: float) -> Interval:
        owner = films(rng, patients, most)
        return interval(hits(rng, p, owner), owner, binary=True)

    return f"{size(patients, most)}: the rule of the tables, {over_rates(make)}"


def twins(count: int, patients: int) -> str:
    """t over retrained twins, for twins that differ little or as much as patients do."""

    def share(spread: float) -> float:
        def make(rng: Rng) -> Interval:
            table = (
                rng.normal(size=patients) + spread * rng.normal(size=(count, 1)) + rng.normal(size=(count, patients))
            )
            return twins_interval(table, np.arange(patients), binary=False)

        return covered(make, 0.0, 2000)

    shares = ", ".join(f"{share(spread):.3f}" for spread in (0.1, 0.5, 1.0))
    return f"{count:2d} twins, {patients} patients; spread of twins 0.1, 0.5, 1 times that of patients: {shares}"


def areas(patients: int, truth: float) -> str:
    """AUROC of a score whose noise is half the patient's."""
    shift = float(np.sqrt(2) * stats.norm.ppf(truth))

    def make(rng: Rng) -> Interval:
        owner = films(rng, patients, 3)
        label = (owner % 2).astype(np.float64)
        noise = rng.normal(size=patients)[owner] + rng.normal(size=owner.size)
        return auroc(label[None], (shift * label + noise / np.sqrt(2))[None, None], owner).interval

    return f"{size(patients, 3)}: AUROC of {truth}: {covered(make, truth, 500):.3f}"


def balanced(patients: int) -> str:
    """Balanced accuracy, one class twice as frequent as the other."""

    def make(rng: Rng, p: float) -> Interval:
        owner = films(rng, patients, 3)
        return balanced_accuracy(hits(rng, p, owner), (owner % 3 == 0).astype(str), owner).interval

    return f"{size(patients, 3)}: balanced accuracy, {over_rates(make, 100)}"


def false_alarms(patients: int, most: int) -> str:
    """Sign flips where nothing differs; skewed differences with mean 0 are beyond what the test promises."""

    def share(shape: str, skewed: bool) -> float:
        rng, p = np.random.default_rng(0), []
        for _ in range(2000):
            owner = films(rng, patients, most)
            a = clustered(rng, shape, owner)
            b = np.full(a.size, SHAPES[shape].mean()) if skewed else clustered(rng, shape, owner)
            p.append(paired_difference(a, b, owner).p)
        return float(np.mean(np.array(p) <= 0.05))

    return (
        f"{size(patients, most)}: normal {share('normal', False):.3f}, "
        f"right-skewed scores {share('right-skewed', False):.3f}, skewed differences {share('right-skewed', True):.3f}"
    )


def family(patients: int, tests: int = 10) -> str:
    """Holm: at least one false alarm in a family."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(500):
        d = rng.normal(size=(tests, patients)) + rng.normal(size=patients)
        p = [paired_difference(row, np.zeros(patients), np.arange(patients)).p for row in d]
        alarms += bool(holm(np.array(p)).min() <= 0.05)
    return f"{size(patients, 1)}: a family of {tests} correlated tests after Holm: {alarms / 500:.3f}"


def size(patients: int, most: int) -> str:
    return f"{patients:3d} patients, {'1 film   ' if most == 1 else f'1-{most} films'}"


def report() -> Iterator[str]:
    """Every claim, a line each."""
    yield "Mean scores: BCa over patients, level expanded for few patients; should be 0.93-0.97"
    yield from (mean_scores(p, m) for p in (10, 20, 50) for m in (1, 4))
    yield "Rates: Clopper-Pearson at least 0.95; Wilson 0.93-0.97 in the mean over p (0.02 to 0.98)"
    yield from (clopper_pearson(p) for p in (10, 19, 60))
    yield from (wilson(p) for p in (10, 20, 60))
    yield from (rule(p, m) for p in (30, 60) for m in (1, 4))
    yield "Means over 5 and more retrained twins: t, Satterthwaite; should be 0.93-0.97"
    yield from (twins(t, p) for t in (5, 10) for p in (15, 50))
    yield "Classification"
    yield from (areas(p, truth) for p in (20, 60) for truth in (0.75, 0.9, 0.99))
    yield from (balanced(p) for p in (20, 60))
    yield "False alarms of the paired sign-flip test at 0.05; should be 0.04-0.06"
    yield from (false_alarms(p, m) for p in (8, 15, 40) for m in (1, 4))
    yield family(20)


if __name__ == "__main__":
    start = time.perf_counter()
    for line in report():
        print(line, flush=True)
    print(f"{time.perf_counter() - start:.0f} s on one core")
