"""Accuracy, balanced accuracy and AUROC against scikit-learn; intervals that never collapse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from xai_bench.accuracy import MOVER, NEWCOMBE, accuracy, auroc, balanced_accuracy, confusion, newcombe
from xai_bench.errors import BadInput
from xai_bench.statistics import BCA


def problem(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities with ties, and patients with one to three films."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    scores = rng.dirichlet(np.ones(classes), n) + 0.3 * np.eye(classes)[labels]
    return labels, np.round(scores / scores.sum(1, keepdims=True), 1), rng.integers(0, n // 2, n)


@pytest.mark.parametrize("classes", [2, 4])
def test_macro_auroc_equals_scikit_learn_with_ties(classes: int) -> None:
    labels, probabilities, patients = problem(80, classes)
    is_class = np.eye(classes)[labels].T
    found = auroc(is_class, probabilities.T[None], patients)
    assert found.value == pytest.approx(
        np.mean([roc_auc_score(is_class[k], probabilities[:, k]) for k in range(classes)])
    )
    assert found.interval.method == BCA and found.interval.low < found.value < found.interval.high
    twice = auroc(is_class, np.stack([probabilities.T, -probabilities.T]), patients)
    assert twice.value == pytest.approx(0.5)  # a twin and its opposite


def test_auroc_interval_equals_scipy_with_one_film_a_patient() -> None:
    rng = np.random.default_rng(1)
    label = (np.arange(40) % 2).astype(float)
    score = label + rng.normal(size=40)
    level = 1 - 2 * stats.norm.cdf(np.sqrt(40 / 39) * stats.t.ppf(0.025, 39))
    oracle = stats.bootstrap(
        (label, score),
        lambda y, s: round(roc_auc_score(y, s), 10),
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="BCa",
        confidence_level=level,
        rng=np.random.default_rng(0),
    ).confidence_interval
    found = auroc(label[None], score[None, None], np.arange(40)).interval
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


def test_a_class_that_is_absent_from_the_split_is_left_out_of_the_mean() -> None:
    labels, probabilities, patients = problem(60, 2)
    is_class = np.eye(3)[labels].T
    scores = np.concatenate([probabilities, 0 * probabilities[:, :1]], 1).T[None]
    assert auroc(is_class, scores, patients) == auroc(is_class[:2], scores[:, :2], patients)
    with pytest.raises(BadInput, match="only one of the two"):
        auroc(np.ones((1, 3)), np.ones((1, 1, 3)), list("abc"))


def test_newcombe_solves_its_own_equation_and_never_collapses() -> None:
    low, high = newcombe(0.9, 12, 30)
    for limit in (low, high):
        rest = 1 + 20 * (1 - limit) / (2 - limit) + 20 * limit / (1 + limit)
        assert abs(0.9 - limit) == pytest.approx(1.959964 * np.sqrt(limit * (1 - limit) * rest / (12 * 30)), rel=1e-5)
    assert low < 0.9 < high
    perfect = auroc(np.array([[0.0] * 10 + [1.0] * 10]), np.arange(20.0)[None, None], np.arange(20))
    assert perfect.interval.method == NEWCOMBE
    assert perfect.interval.high == 1 and 0.7 < perfect.interval.low < 0.95
    hopeless = newcombe(0.0, 10, 10)
    assert hopeless == pytest.approx((1 - perfect.interval.high, 1 - perfect.interval.low))


@pytest.mark.parametrize("n", [24, 200])
def test_balanced_accuracy_equals_scikit_learn(n: int) -> None:
    labels, probabilities, patients = problem(n, 3)
    said = probabilities.argmax(1)
    found = balanced_accuracy((labels == said).astype(float), labels.astype(str), patients)
    assert found.value == pytest.approx(balanced_accuracy_score(labels, said))
    assert found.interval.low < found.value < found.interval.high
    assert found.interval.method == (MOVER if n == 24 else BCA)


def test_balanced_accuracy_of_one_class_is_its_rate_interval() -> None:
    found = balanced_accuracy(np.array([1.0] * 18 + [0.0] * 2), ["x"] * 20, np.arange(20)).interval
    assert (found.low, found.high) == pytest.approx(proportion_confint(18, 20, method="beta"))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("xyz"), st.sampled_from("abcde")), min_size=2, max_size=20))
def test_perfect_or_not_there_is_always_a_width(films: list[tuple[bool, str, str]]) -> None:
    correct, labels, patients = (list(column) for column in zip(*films, strict=True))
    right = np.array(correct, float)
    for found in (accuracy(right, patients), balanced_accuracy(right, labels, patients)):
        assert found.interval.high - found.interval.low > 0.05
        assert -1e-12 <= found.interval.low <= found.value <= found.interval.high <= 1 + 1e-12


def test_confusion_equals_scikit_learn() -> None:
    labels, probabilities, _ = problem(50, 3)
    names = np.array(["10", "2", "severe"])
    expected = confusion_matrix(names[labels], names[probabilities.argmax(1)], labels=names)
    assert (confusion(list(names[labels]), list(names[probabilities.argmax(1)]), list(names)) == expected).all()
    with pytest.raises(BadInput, match="not one of the classes"):
        confusion(["a"], ["z"], ["a", "b"])
