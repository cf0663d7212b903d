"""Agreement of readers, against published examples, statsmodels, brute force over pixels, and properties."""

from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from xai_bench.agreement import (
    BOTH_EMPTY,
    NO_PAIRS,
    NO_SPREAD,
    ONE_EMPTY,
    READER_EMPTY,
    REFERENCE_EMPTY,
    REFERENCE_FULL,
    Distances,
    Level,
    dice,
    fleiss_kappa,
    iou,
    krippendorff_alpha,
    pairwise,
    pointing_ceiling,
    reader_rates,
    surface_distances,
)
from xai_bench.consensus import Mask
from xai_bench.errors import BadInput

EMPTY = np.zeros((12, 15), bool)
FULL = ~EMPTY


def box(row: int, column: int, height: int, width: int) -> Mask:
    mask = EMPTY.copy()
    mask[row : row + height, column : column + width] = True
    return mask


SMALL = arrays(bool, (7, 9))


# --- overlap --------------------------------------------------------------------------------------------------------


@given(SMALL, SMALL)
def test_overlap_is_that_of_sets_of_pixels(a: Mask, b: Mask) -> None:
    one, other = ({tuple(p) for p in np.argwhere(mask)} for mask in (a, b))
    assume(one | other)
    assert dice(a, b) == dice(b, a) == 2 * len(one & other) / (len(one) + len(other))
    assert iou(a, b) == iou(b, a) == len(one & other) / len(one | other)


def test_two_empty_masks_agree_and_an_empty_one_agrees_with_nothing() -> None:
    assert (dice(EMPTY, EMPTY), iou(EMPTY, EMPTY)) == (1, 1)
    assert (dice(EMPTY, FULL), iou(FULL, EMPTY)) == (0, 0)


def test_a_turned_and_enlarged_film_has_the_same_overlap() -> None:
    a, b = box(1, 2, 5, 6), box(3, 3, 6, 4)
    for change in (np.rot90, lambda m: np.kron(m, np.ones((3, 3), bool))):
        assert dice(change(a), change(b)) == dice(a, b)


# --- distances ------------------------------------------------------------------------------------------------------


def plain_distances(a: Mask, b: Mask, spacing: tuple[float, float]) -> tuple[float, float]:
    """Every surface pixel against every other."""

    def surface(mask: Mask) -> Any:
        padded = np.pad(mask, 1)
        steps = ((0, 1), (0, -1), (1, 0), (-1, 0))
        edge = [p for p in np.argwhere(padded) if not all(padded[p[0] + r, p[1] + c] for r, c in steps)]
        return np.array(edge) * spacing

    between = cdist(surface(a), surface(b))
    there, back = between.min(1), between.min(0)
    return (there.sum() + back.sum()) / sum(between.shape), max(np.percentile(there, 95), np.percentile(back, 95))


@given(SMALL, SMALL, st.sampled_from([(1.0, 1.0), (0.7, 0.2), (3.0, 5.0)]))
def test_distances_equal_brute_force(a: Mask, b: Mask, spacing: tuple[float, float]) -> None:
    assume(a.any() and b.any())
    found = surface_distances(a, b, spacing)
    assert (found.mean, found.hausdorff95) == pytest.approx(plain_distances(a, b, spacing), abs=1e-12)
    assert found == surface_distances(b, a, spacing)
    assert found.reason is None


def test_distances_by_hand_in_pixels_and_mm() -> None:
    one, moved = box(2, 2, 1, 1), box(2, 6, 1, 1)
    assert surface_distances(one, moved) == Distances(4, 4)
    assert surface_distances(one, moved, (9.0, 0.5)) == Distances(2, 2)
    assert surface_distances(one.T, moved.T, (9.0, 0.5)) == Distances(36, 36)
    assert surface_distances(FULL, FULL) == Distances(0, 0)


def test_the_inside_of_a_region_is_not_its_surface() -> None:
    # The outlines of 5 x 5 and its center: 16 pixels at 2, 4 corners of them at sqrt(8), 8 at sqrt(5); back it is 2.
    outer, center = box(3, 3, 5, 5), box(5, 5, 1, 1)
    there = [2.0] * 4 + [8**0.5] * 4 + [5**0.5] * 8
    found = surface_distances(outer, center)
    assert found.mean == pytest.approx((sum(there) + 2) / 17)
    assert found.hausdorff95 == pytest.approx(8**0.5)


def test_distances_to_nothing_are_undefined_with_a_reason() -> None:
    assert np.isnan(surface_distances(EMPTY, FULL)[:2]).all()
    assert surface_distances(EMPTY, FULL).reason == surface_distances(FULL, EMPTY).reason == ONE_EMPTY
    assert surface_distances(EMPTY, EMPTY).reason == BOTH_EMPTY


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, -1.0), (np.nan, np.nan), (1.0, np.inf), (1.0,)])
def test_an_unknown_spacing_is_refused(spacing: Any) -> None:
    with pytest.raises(BadInput, match=r"expected \(row, column\) in mm"):
        surface_distances(FULL, FULL, spacing)


def test_distances_need_rows_and_columns() -> None:
    with pytest.raises(BadInput, match=r"shape \(15,\); distances need \(rows, columns\)"):
        surface_distances(FULL[0], FULL[0])


def test_each_pair_of_readers_once() -> None:
    masks = {"anna": box(1, 1, 4, 4), "ben": box(2, 2, 4, 4), "carl": EMPTY}
    pairs = pairwise(masks, (2.0, 2.0))
    assert [(p.first, p.second) for p in pairs] == list(combinations(masks, 2))
    assert pairs[0].dice == pytest.approx(18 / 32)
    assert pairs[0].iou == pytest.approx(9 / 23)
    assert pairs[0].distances == surface_distances(masks["anna"], masks["ben"], (2.0, 2.0))
    assert (pairs[1].dice, pairs[1].distances.reason) == (0, ONE_EMPTY)
    assert pairwise({"anna": FULL}) == []


# --- a reader against a reference -----------------------------------------------------------------------------------


def test_rates_by_hand() -> None:
    found = reader_rates(box(0, 0, 4, 5), box(0, 0, 2, 5))  # 20 marked, 10 inside, 180 pixels
    assert found == (1.0, pytest.approx(160 / 170), None)
    assert reader_rates(EMPTY, box(0, 0, 2, 5)) == (0.0, 1.0, None)


@given(SMALL, SMALL)
def test_the_left_out_are_the_others_specificity(reader: Mask, reference: Mask) -> None:
    assume(reference.any() and not reference.all())
    found, negated = reader_rates(reader, reference), reader_rates(~reader, ~reference)
    assert (found.sensitivity, found.specificity) == (negated.specificity, negated.sensitivity)


def test_a_rate_without_pixels_is_undefined_with_a_reason() -> None:
    empty, full = reader_rates(box(0, 0, 3, 5), EMPTY), reader_rates(box(0, 0, 3, 4), FULL)
    assert (empty.specificity, empty.reason) == (pytest.approx(165 / 180), REFERENCE_EMPTY)
    assert (full.sensitivity, full.reason) == (pytest.approx(12 / 180), REFERENCE_FULL)
    assert np.isnan([empty.sensitivity, full.specificity]).all()


@given(SMALL, SMALL)
def test_the_pointing_ceiling_is_the_mean_hit_over_the_readers_pixels(reader: Mask, reference: Mask) -> None:
    assume(reader.any() and reference.any())
    hits = [bool(reference[tuple(p)]) for p in np.argwhere(reader)]
    assert pointing_ceiling(reader, reference) == (pytest.approx(sum(hits) / len(hits)), None)


def test_the_pointing_ceiling_is_undefined_where_somebody_marked_nothing() -> None:
    assert pointing_ceiling(EMPTY, FULL).reason == READER_EMPTY
    assert pointing_ceiling(FULL, EMPTY).reason == pointing_ceiling(EMPTY, EMPTY).reason == REFERENCE_EMPTY
    assert np.isnan(pointing_ceiling(EMPTY, FULL).value)


@pytest.mark.parametrize("measure", [dice, iou, surface_distances, reader_rates, pointing_ceiling])
def test_masks_of_unequal_shape_are_refused(measure: Any) -> None:
    with pytest.raises(BadInput, match=r"shapes \(12, 15\), \(15, 12\)"):
        measure(FULL, FULL.T)


# --- labels ---------------------------------------------------------------------------------------------------------

X = None
KRIPPENDORFF_2011 = [  # "Computing Krippendorff's alpha-reliability", section C
    [1, 2, 3, 3, 2, 1, 4, 1, 2, X, X, X],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, X, 3],
    [X, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, X],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, X],
]
WIKIPEDIA = [  # Krippendorff's alpha, "A computational example"
    [X, X, X, X, X, 3, 4, 1, 2, 1, 1, 3, 3, X, 3],
    [1, X, 2, 1, 3, 3, 4, 3, X, X, X, X, X, X, X],
    [X, X, 2, 1, 3, 4, 4, X, 2, 1, 1, 3, 3, X, 4],
]
BINARY = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]  # the paper's section A


@pytest.mark.parametrize(
    ("ratings", "level", "alpha"),
    [
        (KRIPPENDORFF_2011, "nominal", 0.743),
        (KRIPPENDORFF_2011, "ordinal", 0.815),
        (KRIPPENDORFF_2011, "interval", 0.849),
        (WIKIPEDIA, "nominal", 0.691),
        (WIKIPEDIA, "interval", 0.811),
        (BINARY, "nominal", 0.095),
    ],
)
def test_alpha_of_published_examples(ratings: Any, level: Level, alpha: float) -> None:
    assert round(krippendorff_alpha(ratings, level).value, 3) == alpha


def plain_alpha(ratings: list[list[float]], level: Level) -> float:
    """One minus observed over expected disagreement, pair by pair."""
    units = [[v for v in column if not np.isnan(v)] for column in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    values = [v for unit in units for v in unit]

    def differ(a: float, b: float) -> float:
        if level == "ordinal":
            low, high = sorted((a, b))
            between = sum(low <= v <= high for v in values) - (values.count(a) + values.count(b)) / 2
            return 0.0 if a == b else between**2
        return float(a != b) if level == "nominal" else (a - b) ** 2

    observed = sum(sum(differ(a, b) for a, b in permutations(u, 2)) / (len(u) - 1) for u in units) / len(values)
    pairs = list(permutations(values, 2))
    return 1 - observed / (sum(differ(a, b) for a, b in pairs) / len(pairs))


RATINGS = st.integers(1, 4).flatmap(
    lambda n: arrays(float, st.tuples(st.integers(2, 5), st.just(n)), elements=st.sampled_from([np.nan, 0, 1, 2, 5]))
)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@given(ratings=RATINGS)
def test_alpha_equals_the_definition_pair_by_pair(level: Level, ratings: Any) -> None:
    rows = ratings.tolist()
    found = krippendorff_alpha(rows, level)
    assume(found.reason is None)
    assert found.value == pytest.approx(plain_alpha(rows, level), abs=1e-9)
    assert found.value == pytest.approx(krippendorff_alpha(rows[::-1], level).value, abs=1e-9)


def test_alpha_of_names_is_that_of_numbers() -> None:
    named = [[None if v is None else "abcde"[v - 1] for v in row] for row in KRIPPENDORFF_2011]
    assert krippendorff_alpha(named).value == pytest.approx(krippendorff_alpha(KRIPPENDORFF_2011).value, abs=1e-12)


def test_alpha_is_undefined_where_nothing_can_be_compared_or_confused() -> None:
    assert krippendorff_alpha([[1, X], [X, 2]]).reason == NO_PAIRS
    assert krippendorff_alpha([[1, 1, 2], [1, 1, X]]).reason == NO_SPREAD
    assert np.isnan(krippendorff_alpha([[1, 1], [1, 1]]).value)
    assert krippendorff_alpha([[1, 2], [1, 2]]) == (1.0, None)


@pytest.mark.parametrize(
    ("ratings", "level", "message"),
    [
        ([[1, 2], [1]], "nominal", r"\[2, 1\] units; expected one number"),
        ([], "nominal", r"\[\] units"),
        ([[], []], "nominal", r"\[0, 0\] units"),
        ([["mild"], ["severe"]], "interval", "rating 'mild' is not a finite number; use level 'nominal'"),
        ([[np.inf], [1.0]], "ordinal", "rating inf is not a finite number"),
        ([[1], [1]], "ratio", "level 'ratio' is not known; use nominal, ordinal, interval"),
    ],
)
def test_ratings_that_alpha_cannot_use_are_refused(ratings: Any, level: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        krippendorff_alpha(ratings, level)


@given(arrays(int, st.tuples(st.integers(2, 5), st.integers(1, 8)), elements=st.integers(0, 3)))
def test_fleiss_kappa_equals_statsmodels_and_goes_with_alpha(ratings: Any) -> None:
    assume(len(np.unique(ratings)) > 1)
    found = fleiss_kappa(ratings.tolist()).value
    assert found == pytest.approx(statsmodels_fleiss(aggregate_raters(ratings.T)[0]), abs=1e-12)
    alpha = krippendorff_alpha(ratings.tolist()).value  # the same disagreement, chance drawn without replacement
    assert 1 - alpha == pytest.approx((1 - found) * (ratings.size - 1) / ratings.size, abs=1e-12)


def test_fleiss_kappa_of_ten_by_fourteen_is_that_of_the_literature() -> None:
    table = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
             [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    units = [np.repeat(range(5), row).tolist() for row in table]
    assert round(fleiss_kappa(list(zip(*units, strict=True))).value, 3) == 0.210


def test_fleiss_kappa_allows_other_readers_but_not_other_numbers_of_them() -> None:
    assert fleiss_kappa([["a", X], ["a", "b"], [X, "b"]]) == (1.0, None)
    for ratings, said in (([["a", "b"], ["a", X]], "1 to 2"), ([["a", "b"]], "1 to 1"), ([[X], [X]], "0 to 0")):
        with pytest.raises(BadInput, match=f"{said} ratings.*use krippendorff_alpha"):
            fleiss_kappa(ratings)


def test_fleiss_kappa_is_undefined_where_all_ratings_are_equal() -> None:
    found = fleiss_kappa([["a", "a"], ["a", "a"]])
    assert (np.isnan(found.value), found.reason) == (True, NO_SPREAD)
