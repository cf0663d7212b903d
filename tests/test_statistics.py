"""Intervals, tests and multiplicity against scipy and statsmodels, and coverage by simulation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from xai_bench.errors import BadInput
from xai_bench.statistics import (
    BCA,
    CLOPPER_PEARSON,
    PERCENTILE,
    UNDEFINED,
    WILSON,
    T,
    benjamini_hochberg,
    bootstrap,
    bootstrap_mean,
    holm,
    interval,
    paired_difference,
    rate_interval,
    twins_interval,
)


def expanded(level: float, n: int) -> float:
    """The level that a small sample needs, Hesterberg 2015, word for word."""
    return 1 - 2 * stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 - level) / 2, n - 1))


@pytest.mark.parametrize("n", [6, 25])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_bca_equals_scipy_with_one_film_a_patient(n: int, level: float) -> None:
    values = np.round(64 * np.random.default_rng(n).exponential(size=n)) / 64  # exact sums: scipy compares floats
    found = bootstrap_mean(values, np.arange(n), seed=3, draws=700, level=level)
    oracle = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=700,
        method="BCa",
        confidence_level=expanded(level, n),
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)
    assert (found.method, found.n, found.n_patients) == (BCA, n, n)


def plain_bca(values: NDArray[np.float64], patients: list[str], seed: int, draws: int) -> tuple[float, float]:
    """Films of resampled patients, one draw after the other."""
    names, rng = sorted(set(patients)), np.random.default_rng(seed)
    films = {name: values[np.array(patients) == name] for name in names}

    def mean(chosen: list[str]) -> float:
        return float(np.mean(np.concatenate([films[c] for c in chosen])))

    drawn = np.array([mean([names[i] for i in rng.integers(0, len(names), len(names))]) for _ in range(draws)])
    left = np.array([mean([m for m in names if m != name]) for name in names])
    u = left.mean() - left
    a = np.sum(u**3) / (6 * np.sum(u**2) ** 1.5)
    z0 = stats.norm.ppf(np.mean(drawn < values.mean()) + np.mean(drawn == values.mean()) / 2)
    z = stats.norm.ppf((1 - expanded(0.95, len(names))) / 2)
    return tuple(np.quantile(drawn, stats.norm.cdf(z0 + (z0 + s) / (1 - a * (z0 + s)))) for s in (z, -z))


def test_bca_over_patients_equals_the_plain_loop() -> None:
    rng = np.random.default_rng(5)
    patients = [f"p{i}" for i in rng.integers(0, 9, 40)]
    values = rng.exponential(size=40)
    found = bootstrap_mean(values, patients, seed=1, draws=400)
    assert (found.low, found.high) == pytest.approx(plain_bca(values, patients, 1, 400), abs=1e-12)


def test_copies_of_a_film_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=12)
    once = bootstrap_mean(values, np.arange(12))
    often = bootstrap_mean(np.repeat(values, 50), np.repeat(np.arange(12), 50))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, patients = np.random.default_rng(0).normal(size=30), np.arange(30)
    whole = bootstrap_mean(values, patients), paired_difference(values, values**2, patients)
    monkeypatch.setattr("xai_bench.statistics._BLOCK", 90)
    parts = bootstrap_mean(values, patients), paired_difference(values, values**2, patients)
    assert (parts[0].low, parts[0].high) == pytest.approx((whole[0].low, whole[0].high), abs=1e-12)
    assert parts[1].p == whole[1].p


def test_percentile_where_bca_is_undefined_and_says_so() -> None:
    def never_below(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((weights > 0).sum(1), float)  # how many patients were drawn: all, or fewer

    found = bootstrap(never_below, (8, 8))
    assert found.method == PERCENTILE
    assert found.low < found.high <= 8


@pytest.mark.parametrize(("values", "patients"), [([0.3, 0.3, 0.3], "abc"), ([0.1, 0.2], "aa")])
def test_no_spread_or_one_patient_has_no_interval(values: list[float], patients: str) -> None:
    found = bootstrap_mean(np.array(values), list(patients))
    assert found.method == UNDEFINED and not found.known


@pytest.mark.parametrize("hits", [0, 1, 7, 19, 20])
def test_clopper_pearson_equals_statsmodels(hits: int) -> None:
    found = rate_interval(np.arange(20) < hits, np.arange(20))
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, 20, method="beta"))
    assert found.method == CLOPPER_PEARSON


@pytest.mark.parametrize("hits", [0, 1, 7, 20])
def test_wilson_of_patients_who_agree_with_themselves_counts_patients(hits: int) -> None:
    found = rate_interval(np.repeat(np.arange(20) < hits, 4), np.repeat(np.arange(20), 4))
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, 20, method="wilson"), abs=1e-12)
    assert (found.method, found.n, found.n_patients) == (WILSON, 80, 20)


def test_wilson_of_independent_films_counts_films() -> None:
    values = np.tile([1.0, 0.0], 30)  # every patient has one hit and one miss: no patient differs from another
    found = rate_interval(values, np.repeat(np.arange(30), 2))
    assert (found.low, found.high) == pytest.approx(proportion_confint(30, 60, method="wilson"))


def test_effective_n_recovers_a_known_correlation_within_patients() -> None:
    rng, patients = np.random.default_rng(0), np.repeat(np.arange(4000), 3)
    own = rng.beta(0.5 * 1.5, 0.5 * 1.5, 4000)[patients]  # correlation 1 / (1 + 1.5) = 0.4
    found = rate_interval((rng.random(patients.size) < own).astype(float), patients)
    effective = 0.25 * (2 * 1.959964 / (found.high - found.low)) ** 2
    assert effective == pytest.approx(12000 / (1 + 2 * 0.4), rel=0.05)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef")), min_size=1, max_size=30))
def test_a_rate_never_has_zero_width(films: list[tuple[bool, str]]) -> None:
    hits, patients = np.array([h for h, _ in films], float), [p for _, p in films]
    found = interval(hits, patients, binary=True)
    assert 0 <= found.low <= hits.mean() <= found.high <= 1
    assert found.high - found.low > 0.05


def test_rates_leave_the_bootstrap_when_few_or_near_the_edge() -> None:
    def method(hits: int, n: int) -> str:
        return interval((np.arange(n) < hits).astype(float), np.arange(n), binary=True).method

    assert [method(*c) for c in [(15, 29), (15, 30), (95, 100), (94, 100), (5, 100), (6, 100)]] == [
        CLOPPER_PEARSON,
        BCA,
        CLOPPER_PEARSON,
        BCA,
        CLOPPER_PEARSON,
        BCA,
    ]
    assert interval(np.linspace(0, 1, 20), np.arange(20), binary=False).method == BCA


def test_few_twins_are_averaged_and_many_are_a_sample() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 40)) + 2 * rng.normal(size=(6, 1))
    few = twins_interval(values[:4], np.arange(40), binary=False)
    assert few == bootstrap_mean(values[:4].mean(0), np.arange(40))
    many = twins_interval(values, np.arange(40), binary=False)
    assert many.method == T
    assert many.high - many.low > 3 * (few.high - few.low)  # these twins differ more than the patients


def test_twins_that_differ_alone_give_the_t_interval_of_their_means() -> None:
    means = np.array([0.1, 0.4, 0.2, 0.7, 0.3])
    found = twins_interval(np.repeat(means[:, None], 3000, 1), np.arange(3000), binary=False)
    low, high = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)


def test_twins_of_patients_with_several_films_equal_the_ratio_estimator() -> None:
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(50), rng.integers(1, 5, 50))
    values = rng.normal(3, 1, 50)[patients] + 0 * np.zeros((5, 1))  # all twins equal: only patients vary
    found = twins_interval(values, patients, binary=False)
    total, count = np.bincount(patients, values[0]), np.bincount(patients)
    mean = total.sum() / count.sum()
    error = np.sqrt(50 / 49 * ((total - mean * count) ** 2).sum()) / count.sum()
    assert (found.low, found.high) == pytest.approx((mean - 2.00958 * error, mean + 2.00958 * error), rel=1e-4)


def test_a_perfect_rate_of_many_twins_keeps_a_width() -> None:
    found = twins_interval(np.ones((6, 20)), np.arange(20), binary=True)
    assert found.method == CLOPPER_PEARSON and found.low < 1


def test_exact_sign_flip_equals_scipy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.4, 1, 9), rng.normal(size=9)
    oracle = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    found = paired_difference(a, b, np.arange(9))
    assert found.p == pytest.approx(oracle.pvalue)
    assert found.mean == pytest.approx(np.mean(a - b))
    assert found.effect_size == pytest.approx(np.mean(a - b) / np.std(a - b, ddof=1))
    assert (found.low, found.high) == (
        bootstrap_mean(a - b, np.arange(9)).low,
        bootstrap_mean(a - b, np.arange(9)).high,
    )


def flipped(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums under all flips, one by one."""
    return np.abs(np.array(list(product((-1, 1), repeat=d.size))) @ d)


@given(
    st.one_of(
        st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=11),
        st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=11),
    )
)
@settings(max_examples=60)
def test_sign_flips_are_counted_exactly_up_to_ties_and_never_too_few(values: list[float]) -> None:
    d = np.array(values)
    found = paired_difference(d, np.zeros(d.size), np.arange(d.size)).p
    sums, observed, slack = flipped(d), abs(d.sum()), np.abs(d).sum() * d.size / 2**16
    assert (sums >= observed - 1e-9).mean() - 1e-12 <= found <= (sums >= observed - slack - 1e-9).mean() + 1e-12
    if all(v == round(v) for v in values):
        assert found == pytest.approx((sums >= observed).mean())


def test_many_patients_have_no_smallest_p_but_the_test_s_own() -> None:
    for n in (40, 300):
        assert paired_difference(np.arange(n) + 1.0, np.zeros(n), np.arange(n)).p == pytest.approx(2.0 ** (1 - n))
    hits = np.repeat([1.0, -1.0], [140, 60])  # the sum is of a binomial distribution
    expected = stats.binomtest(140, 200).pvalue
    assert paired_difference(hits, np.zeros(200), np.arange(200)).p == pytest.approx(expected)
    rng = np.random.default_rng(1)
    d = rng.normal(0.1, 1, 1000)
    found = paired_difference(d, np.zeros(1000), np.arange(1000)).p
    assert found == pytest.approx(2 * stats.norm.sf(abs(d.sum()) / np.sqrt((d**2).sum())), rel=0.3)


def test_films_of_one_patient_flip_together() -> None:
    d = np.array([1.0, 2, 3, 4])
    assert paired_difference(d, np.zeros(4), list("abcd")).p == 2 / 16
    assert paired_difference(d, np.zeros(4), list("aabb")).p == 2 / 4
    assert paired_difference(d, np.zeros(4), list("aaaa")).p == 1


def test_no_difference_is_no_finding() -> None:
    found = paired_difference(np.ones(6), np.ones(6), np.arange(6))
    assert (found.mean, found.p) == (0, 1) and np.isnan(found.effect_size)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=15)  # statsmodels takes 20 ms a call
def test_multiplicity_equals_statsmodels(p: list[float]) -> None:
    assert holm(np.array(p)) == pytest.approx(multipletests(p, method="holm")[1])
    assert benjamini_hochberg(np.array(p)) == pytest.approx(multipletests(p, method="fdr_bh")[1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_mean(np.array([]), []), "0 of 0 values"),
        (lambda: bootstrap_mean(np.array([1, np.nan]), ["a", "b"]), "1 of 2 values"),
        (lambda: bootstrap_mean(np.ones(3), ["a", "b"]), "a patient for each value"),
        (lambda: rate_interval(np.array([2.0]), ["a"]), r"values in \[0, 1\]"),
        (lambda: paired_difference(np.ones(3), np.ones(2), ["a", "b", "c"]), "same pictures"),
        (lambda: holm(np.array([np.nan])), r"numbers in \[0, 1\]"),
    ],
)
def test_unusable_input_is_one_clear_sentence(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInput, match=words):
        call()


def test_coverage_of_the_bootstrap_with_few_clustered_patients() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(600):
        owner = np.repeat(np.arange(12), rng.integers(1, 4, 12))
        values = rng.beta(2, 5, 12)[owner] + 0.2 * rng.normal(size=owner.size)
        found = bootstrap_mean(values, owner, draws=600)
        inside += found.low <= 2 / 7 <= found.high
    assert 0.93 - 0.02 <= inside / 600 <= 0.97 + 0.02  # 0.02: two standard errors of 600 repeats


def test_false_alarms_of_the_sign_flip() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(1500):
        owner = np.repeat(np.arange(15), rng.integers(1, 4, 15))
        d = rng.normal(size=15)[owner] + rng.normal(size=owner.size)
        alarms += paired_difference(d, np.zeros(d.size), owner).p <= 0.05
    assert alarms / 1500 == pytest.approx(0.05, abs=0.011)
