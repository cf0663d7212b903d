from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from xai_bench_metrics._pair_interval import T_PAIRS, pair_interval

from xai_bench.statistics import UNDEFINED, interval, twins_interval


def lines(t: int, p: int, other: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One line a pair and patient: (one twin, the other, patient)."""
    pairs = list(product(range(t), range(other))) if other else list(combinations(range(t), 2))
    return tuple(np.array([(a, b, i) for a, b in pairs for i in range(p)]).T)  # type: ignore[return-value]


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(5, 8), st.integers(2, 9))
def test_a_sum_of_both_twins_has_the_interval_of_twice_the_twins_mean(seed: int, t: int, p: int) -> None:
    """With y = x(a, i) + x(b, i) the mean is twice that of x, whose interval over twins x patients is known."""
    x = np.random.default_rng(seed).normal(size=(t, p))
    a, b, i = lines(t, p)
    found = pair_interval(x[a, i] + x[b, i], i, (a, b))
    expected = twins_interval(2 * x, np.arange(p), binary=False)
    assert found.method == T_PAIRS
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.n_patients) == (len(i), p)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_where_twins_do_not_matter_it_is_the_t_interval_of_patients(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=12)
    for other in (0, 6):
        a, b, i = lines(5, 12, other)
        found = pair_interval(x[i], i, (a, b), crossed=bool(other))
        low, high = stats.t.interval(0.95, 11, x.mean(), stats.sem(x))
        assert (found.low, found.high) == pytest.approx((low, high))


def test_two_classifiers_add_the_variance_of_both_sides() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=6), rng.normal(size=7)
    a, b, i = lines(6, 4, 7)
    found = pair_interval(first[a] + second[b], i, (a, b), crossed=True)
    parts = [(first.var(ddof=1) / 6, 5), (second.var(ddof=1) / 7, 6)]
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v**2 / df for v, df in parts)  # Welch
    width = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert (found.low, found.high) == pytest.approx(
        (first.mean() + second.mean() - width, first.mean() + second.mean() + width)
    )


def test_names_and_order_of_the_lines_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    a, b, i = lines(5, 6)
    kept = rng.permutation(len(a))[:-9]  # and some lines are missing
    y = rng.normal(size=len(a))
    plain = pair_interval(y[np.sort(kept)], i[np.sort(kept)], (a[np.sort(kept)], b[np.sort(kept)]))
    moved = pair_interval(y[kept], [f"p{n}" for n in i[kept]], (10 - b[kept], 10 - a[kept]))
    assert (plain.low, plain.high) == pytest.approx((moved.low, moved.high))


def test_few_twins_one_patient_and_rates_near_one_are_conditional() -> None:
    rng = np.random.default_rng(2)
    a, b, i = lines(4, 6)
    y = rng.normal(size=len(a))
    assert pair_interval(y, i, (a, b)) == interval(y, i, False)
    a, b, i = lines(5, 6, 4)
    y = rng.normal(size=len(a))
    assert pair_interval(y, i, (a, b), crossed=True) == interval(y, i, False)
    a, b, i = lines(5, 6)
    hits = np.ones(len(a))
    assert pair_interval(hits, i, (a, b), binary=True) == interval(hits, i, True)
    assert pair_interval(hits, i, (a, b)).method == UNDEFINED
    one = np.zeros(10, int)
    a, b, _ = lines(5, 1)
    assert not pair_interval(rng.normal(size=10), one, (a, b)).known
