"""One reference of several masks, against SimpleITK's STAPLE, a slow twin, hand-made cases and properties."""

from collections.abc import Sequence
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xai_bench.consensus import METHODS, Mask, Staple, intersection, majority, references, soft_mean, staple, union
from xai_bench.errors import BadInput

EMPTY = np.zeros((20, 20), bool)


def blobs(seed: int, readers: int, shape: tuple[int, int] = (45, 60)) -> list[Mask]:
    """Drawings of the same random blobs by readers who err by different amounts."""
    rng = np.random.default_rng((seed, readers))
    truth, threshold = gaussian_filter(rng.normal(size=shape), 4), rng.uniform(0, 0.06)
    errors = [rng.uniform(0.2, 1) * gaussian_filter(rng.normal(size=shape), 3) for _ in range(readers)]
    return [truth + error > threshold for error in errors]


def square(row: int, column: int, size: int = 5) -> Mask:
    mask = EMPTY.copy()
    mask[row : row + size, column : column + size] = True
    return mask


@st.composite
def several(draw: st.DrawFn, least: int = 1, most: int = 5) -> list[Mask]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    return draw(st.lists(arrays(bool, shape), min_size=least, max_size=most))


# --- STAPLE ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def itk() -> ModuleType:
    module: ModuleType = pytest.importorskip("SimpleITK", reason="SimpleITK, the oracle for STAPLE, is not installed")
    return module


def itk_staple(itk: ModuleType, masks: Sequence[Mask]) -> tuple[NDArray[np.float64], Any]:
    oracle = itk.STAPLEImageFilter()
    oracle.SetForegroundValue(1)
    out = oracle.Execute([itk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks])
    return itk.GetArrayFromImage(out), oracle


def assert_equals_itk(itk: ModuleType, masks: Sequence[Mask]) -> Staple:
    found = staple(masks)
    probability, oracle = itk_staple(itk, masks)
    np.testing.assert_array_equal(found.mask, probability >= 0.5)
    np.testing.assert_allclose(found.probability, probability, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.sensitivity, oracle.GetSensitivity(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.specificity, oracle.GetSpecificity(), rtol=0, atol=1e-9)
    assert found.iterations == oracle.GetElapsedIterations() + 1  # ITK counts from 0
    assert found.converged
    return found


@pytest.mark.parametrize("readers", [3, 5, 8])
def test_staple_equals_itk_on_blobs(itk: ModuleType, readers: int) -> None:
    unlike_majority = 0
    for seed in range(12):
        masks = blobs(seed, readers)
        found = assert_equals_itk(itk, masks)
        unlike_majority += int((found.mask != majority(masks)).any())
    assert unlike_majority > 0  # else a majority would pass this test


@pytest.mark.parametrize(
    ("masks", "area"),
    [
        ([square(0, 0), square(0, 10), square(10, 0)], 0),  # pairwise disjoint
        ([square(0, 0), square(10, 10)], 0),
        ([square(2, 2), square(3, 3), EMPTY], 16),  # one reader marked nothing: the other two decide
        ([square(2, 2), EMPTY, EMPTY], 0),
        ([square(2, 2), square(3, 3)], 16),
        ([square(2, 2)], 25),
    ],
)
def test_staple_equals_itk_where_readers_have_little_in_common(itk: ModuleType, masks: list[Mask], area: int) -> None:
    assert assert_equals_itk(itk, masks).mask.sum() == area


def test_a_reader_who_marked_nothing_has_sensitivity_0_and_specificity_1() -> None:
    found = staple([square(2, 2), square(3, 3), EMPTY])
    assert found.sensitivity[2] == 0
    assert found.specificity[2] == 1


@pytest.mark.parametrize("all_alike", [EMPTY, ~EMPTY])
def test_readers_who_all_marked_nothing_or_everything_are_the_consensus_where_itk_has_nan(all_alike: Mask) -> None:
    found = staple([all_alike] * 3)
    np.testing.assert_array_equal(found.probability, all_alike)
    np.testing.assert_array_equal([found.sensitivity, found.specificity], np.ones((2, 3)))


def plain_staple(masks: list[Mask], iterations: int) -> NDArray[np.float64]:
    """Warfield 2004, pixel by pixel and reader by reader."""
    decisions = [[bool(v) for v in mask.ravel()] for mask in masks]
    readers, pixels = range(len(masks)), range(masks[0].size)
    w = [sum(decisions[j][i] for j in readers) / len(masks) for i in pixels]
    prior = sum(w) / len(w)
    for _ in range(iterations):
        p = [sum(w[i] for i in pixels if decisions[j][i]) / sum(w) for j in readers]
        q = [sum(1 - w[i] for i in pixels if not decisions[j][i]) / sum(1 - v for v in w) for j in readers]
        for i in pixels:
            inside, outside = prior, 1 - prior
            for j in readers:
                inside *= p[j] if decisions[j][i] else 1 - p[j]
                outside *= 1 - q[j] if decisions[j][i] else q[j]
            w[i] = inside / (inside + outside)
    return np.reshape(w, masks[0].shape)


@pytest.mark.parametrize("iterations", [1, 4])
def test_staple_follows_the_paper_and_says_that_it_was_cut_short(iterations: int) -> None:
    masks = blobs(3, 4, (12, 15))
    found = staple(masks, max_iterations=iterations)
    np.testing.assert_allclose(found.probability, plain_staple(masks, iterations), atol=1e-12)
    assert (found.iterations, found.converged) == (iterations, False)


@given(several(least=1, most=6))
def test_staple_is_finite_and_does_not_depend_on_the_order_of_readers(masks: list[Mask]) -> None:
    found, turned = staple(masks, 200), staple(masks[::-1], 200)  # noise takes thousands, drawings tens
    for values in (found.probability, found.sensitivity, found.specificity):
        assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_array_equal(found.probability, turned.probability)
    np.testing.assert_array_equal(found.sensitivity, turned.sensitivity[::-1])
    np.testing.assert_array_equal(found.specificity, turned.specificity[::-1])


@given(several(least=1, most=1), st.integers(1, 5))
def test_identical_readers_are_their_own_consensus_and_perfect(masks: list[Mask], readers: int) -> None:
    found = staple(masks * readers)
    np.testing.assert_array_equal(found.probability, masks[0])
    np.testing.assert_array_equal([found.sensitivity, found.specificity], np.ones((2, readers)))
    for method in METHODS.values():
        np.testing.assert_array_equal(method(masks * readers), masks[0])


def test_staple_with_so_many_readers_that_their_product_is_zero_divides_by_nothing() -> None:
    masks = list(np.random.default_rng(1).random((1200, 10)) < 0.5)  # 0.5 ** 1200 is no float
    assert np.isfinite(staple(masks).probability).all()


def test_two_readers_one_inside_the_other_leave_a_tie_which_is_marked() -> None:
    outer, inner = square(2, 2, 8), square(2, 2)
    found = staple([inner, outer])
    assert found.probability[9, 9] == pytest.approx(0.5, abs=1e-12)
    np.testing.assert_array_equal(found.mask, outer)


def test_staple_needs_an_iteration() -> None:
    with pytest.raises(BadInput, match="max_iterations = 0: expected 1 or more"):
        staple([EMPTY], max_iterations=0)


# --- the other methods ----------------------------------------------------------------------------------------------


def all_votes(readers: int) -> list[Mask]:
    """A picture that has each combination of votes once."""
    return list(np.array(list(product([False, True], repeat=readers))).T)


def test_majority_union_intersection_and_mean_of_three_by_hand() -> None:
    votes = all_votes(3)  # 000 001 010 011 100 101 110 111
    assert majority(votes).astype(int).tolist() == [0, 0, 0, 1, 0, 1, 1, 1]
    assert union(votes).astype(int).tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    assert intersection(votes).astype(int).tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    assert soft_mean(votes).tolist() == [0, 1 / 3, 1 / 3, 2 / 3, 1 / 3, 2 / 3, 2 / 3, 1]


def test_a_tie_of_an_even_number_of_readers_is_not_marked() -> None:
    assert majority(all_votes(2)).tolist() == intersection(all_votes(2)).tolist() == [False, False, False, True]
    assert majority(all_votes(4)).sum() == 5  # four votes once, three votes four times


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20)  # STAPLE of noise takes thousands of iterations
@given(masks=several(least=1, most=5), seed=st.integers(0, 99))
def test_the_order_of_readers_changes_nothing(method: str, masks: list[Mask], seed: int) -> None:
    shuffled = [masks[i] for i in np.random.default_rng(seed).permutation(len(masks))]
    np.testing.assert_array_equal(METHODS[method](masks), METHODS[method](shuffled))


@pytest.mark.parametrize("method", METHODS)
def test_masks_given_are_left_as_they_were(method: str) -> None:
    masks = blobs(1, 3)
    before = [mask.copy() for mask in masks]
    METHODS[method](masks)[:] = True
    np.testing.assert_array_equal(masks, before)


@pytest.mark.parametrize("method", [*METHODS.values(), soft_mean])
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([], "there are 0 masks"),
        ([EMPTY, EMPTY[1:]], r"shapes \(20, 20\), \(19, 20\)"),
        ([EMPTY, EMPTY.astype(float)], "types bool, float64"),
        ([EMPTY[:0]], r"shape \(0, 20\); expected one pixel or more"),
    ],
)
def test_masks_that_cannot_be_combined_are_refused(method: Any, masks: list[Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        method(masks)


# --- references -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_reference_without_a_reader_is_the_consensus_of_the_rest(method: str, count: int) -> None:
    masks = dict(zip("abcde", blobs(5, count), strict=False))
    made = references(masks, method)
    np.testing.assert_array_equal(made.pop(f"consensus:{method}"), METHODS[method](list(masks.values())))
    assert list(made) == [f"consensus:{method}:without:{reader}" for reader in masks]
    for reader in masks:
        rest = references({k: v for k, v in masks.items() if k != reader}, method)
        np.testing.assert_array_equal(made[f"consensus:{method}:without:{reader}"], rest[f"consensus:{method}"])


@pytest.mark.parametrize("method", METHODS)
def test_of_two_readers_the_other_one_is_left(method: str) -> None:
    made = references({"anna": square(0, 0), "ben": square(3, 3)}, method)
    np.testing.assert_array_equal(made[f"consensus:{method}:without:anna"], square(3, 3))
    np.testing.assert_array_equal(made[f"consensus:{method}:without:ben"], square(0, 0))


def test_a_single_reader_is_the_consensus_and_has_no_reference_without() -> None:
    made = references({"anna": square(0, 0)}, "staple")
    assert list(made) == ["consensus:staple"]
    np.testing.assert_array_equal(made["consensus:staple"], square(0, 0))


@pytest.mark.parametrize("reader", ["anna#2", "derived", "consensus:majority"])
def test_what_is_no_reader_with_one_vote_is_refused(reader: str) -> None:
    with pytest.raises(BadInput, match=f"'{reader}' has no vote of its own"):
        references({"anna": EMPTY, reader: EMPTY}, "majority")


def test_an_unknown_method_and_no_reader_are_refused() -> None:
    with pytest.raises(BadInput, match=r"'stapel' is not known; use majority, staple, .* Did you mean 'staple'\?"):
        references({"anna": EMPTY}, "stapel")
    with pytest.raises(BadInput, match="there are 0 masks"):
        references({}, "staple")
