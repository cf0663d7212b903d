"""Columns: the angle and the slip that one sets are those that one measures; the bone is the same at every angle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_bench.errors import BadInput
from xai_bench.geometry import curves, odd_corners, slip
from xai_bench.phantom.chance import FILMS_PER_PATIENT, Chance
from xai_bench.phantom.side_spine import MAX_SLIP, NAMES, side_column
from xai_bench.phantom.spine import MAX_COBB, WIDTH, column
from xai_bench.phantom.thorax import REACH

numbers = st.integers(0, 999_999)


@settings(max_examples=60)
@given(number=numbers, cobb=st.floats(0, MAX_COBB))
def test_the_cobb_angle_set_is_the_one_measured(number: int, cobb: float) -> None:
    drawn = column(Chance(0, number), cobb)
    assert drawn.cobb == pytest.approx(cobb, abs=0.01)
    assert drawn.corners.shape == (17, 4, 2)
    assert odd_corners(drawn.corners + 1.0, (3, 3)) == ()


@settings(max_examples=60)
@given(number=numbers, percent=st.floats(0, MAX_SLIP))
def test_the_slip_set_is_the_one_measured_and_the_only_one(number: int, percent: float) -> None:
    drawn = side_column(Chance(0, number), percent)
    assert drawn.slip == pytest.approx(percent, abs=1e-6)
    assert drawn.corners.shape == (len(NAMES), 4, 2)
    others = [i for i in range(len(NAMES) - 1) if i != drawn.slipped]
    assert all(abs(slip(drawn.corners[i], drawn.corners[i + 1], "left")) < 2.5 for i in others)


def test_a_slip_moves_what_is_above_and_nothing_below() -> None:
    chance = Chance(0, 0)
    before, after = side_column(chance, 0.0), side_column(chance, 30.0)
    moved = np.abs(after.corners - before.corners).max((1, 2)) > 1e-12
    assert moved.tolist() == [i <= after.slipped for i in range(6)]
    shift = (after.corners - before.corners)[: after.slipped + 1]
    assert shift == pytest.approx(np.broadcast_to(shift[0, 0], shift.shape))
    assert shift[0, 0, 0] < 0  # forward is to the left


@pytest.mark.parametrize("number", range(0, 400, 10))
def test_bending_keeps_the_bones(number: int) -> None:
    """Widths and the length of the path do not depend on the angle, so that neither does the amount of bone."""
    straight, bent = (column(Chance(0, number), cobb).corners for cobb in (0.0, 50.0))
    for top, end in ((0, 1), (2, 3)):
        widths = [np.hypot(*np.moveaxis(c[:, end] - c[:, top], 1, 0)) for c in (straight, bent)]
        assert widths[1] == pytest.approx(widths[0])
    lengths = [np.hypot(*np.diff(c.mean(1), axis=0).T).sum() for c in (straight, bent)]
    assert lengths[1] == pytest.approx(lengths[0], rel=0.005)


def test_sizes_are_the_published_medians() -> None:
    corners = np.stack([column(Chance(0, n), 0.0).corners for n in range(0, 1000, 10)])
    widths = np.hypot(*np.moveaxis(corners[:, :, 1] - corners[:, :, 0], -1, 0))
    assert np.median(widths, axis=0) == pytest.approx(WIDTH, rel=0.03)
    length = corners[:, -1, 2:].mean(1)[:, 1] - corners[:, 0, :2].mean(1)[:, 1]
    assert length == pytest.approx(1.0, abs=0.01)


def test_single_and_double_curves_to_both_sides_are_drawn() -> None:
    found = [curves(column(Chance(0, n), 40.0).corners, 15.0) for n in range(0, 600, 10)]
    largest = [max(f, key=lambda c: c.degrees) for f in found]
    assert {c.side for c in largest} == {"left", "right"}
    assert {len(f) for f in found} >= {2, 3}
    assert min(c.apex for c in largest) < 8 < max(c.apex for c in largest)


def test_no_column_leaves_the_reach_of_its_ribs() -> None:
    for number in range(0, 3000, 10):
        bent = column(Chance(0, number), MAX_COBB)
        tips = np.abs(bent.all_corners[..., 0]).max(1) + 0.36 * (bent.all_corners[:, 1, 0] - bent.all_corners[:, 0, 0])
        assert tips.max() < REACH


def test_a_patients_films_share_the_curve_and_differ_in_pose() -> None:
    first, second, other = (column(Chance(0, n), 40.0).corners for n in (0, 1, FILMS_PER_PATIENT))
    lean = first.mean((1, 2)) * 0 + np.abs(first - second).max()
    assert 0 < lean.max() < 0.03 < np.abs(first - other).max()


@pytest.mark.parametrize(("draw", "amount"), [(column, -1.0), (column, 60.5), (side_column, -0.1), (side_column, 51.0)])
def test_amounts_outside_the_range_are_refused(draw, amount: float) -> None:
    with pytest.raises(BadInput, match=f"{amount}"):
        draw(Chance(0, 0), amount)
