"""Angles, curves, slip and regions: analytic spines, a plain twin, and what turning, scaling and mirroring leave."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xai_bench.errors import BadInput
from xai_bench.geometry import (
    chain_mask,
    cobb_angle,
    curves,
    end_tilts,
    meyerding,
    odd_corners,
    scoliosis_regions,
    slip,
    spondylolisthesis_regions,
    vertebra_tilt,
)
from xai_bench.polygons import polygon_mask

BOX = np.array([[-20, -10], [20, -10], [-20, 10], [20, 10]], dtype=float)
ANTERIOR_LEFT_BODY = np.array([[100, 200], [140, 200], [100, 230], [140, 230]], dtype=float)
TILTS = st.lists(st.floats(-50, 50), min_size=2, max_size=20)


def moved(x, y):
    return ANTERIOR_LEFT_BODY + np.array([x, y])


def turned(points, degrees):
    angle = np.radians(degrees)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def spine(tilts, step=30.0, start=(200.0, 50.0)):
    """Rectangular vertebrae with these tilts in degrees, each standing across the column's direction."""
    centers = [np.array(start)]
    for above, below in pairwise(tilts):
        centers.append(centers[-1] + turned(np.array([[0, step]]), (above + below) / 2)[0])
    return np.array([center + turned(BOX, tilt) for center, tilt in zip(centers, tilts, strict=True)])


def arch(*extremes, vertebrae=6):
    """Tilts that run evenly from each extreme to the next."""
    legs = [np.linspace(a, b, vertebrae + 1)[:-1] for a, b in pairwise(extremes)]
    return [*np.concatenate(legs), extremes[-1]]


def turning_points_by_simplifying(tilts, threshold):
    """The plain twin: list all local extremes, then strike out the smallest swing below the threshold, and again."""
    ends = [0]
    for i in range(1, len(tilts)):
        going_on = len(ends) > 1 and (tilts[i] - tilts[ends[-1]]) * (tilts[ends[-1]] - tilts[ends[-2]]) > 0
        ends = [*ends[:-1], i] if going_on else [*ends, i]
    while len(ends) > 1:
        swings = [abs(tilts[a] - tilts[b]) for a, b in pairwise(ends)]
        smallest = int(np.argmin(swings))
        if swings[smallest] >= threshold:
            break
        if smallest == 0:
            del ends[0]
        elif smallest == len(swings) - 1:
            del ends[-1]
        else:
            del ends[smallest : smallest + 2]
    return ends if len(ends) > 1 else []


@given(TILTS)
def test_the_largest_angle_is_the_range_of_tilts(tilts):
    found = cobb_angle(spine(tilts))
    assert found.degrees == pytest.approx(max(tilts) - min(tilts), abs=1e-9)
    assert abs(tilts[found.upper] - tilts[found.lower]) == pytest.approx(found.degrees, abs=1e-9)
    assert found.upper < found.lower


def test_a_single_curve():
    (curve,) = curves(spine(arch(-20, 20, vertebrae=8)))
    assert (curve.upper, curve.apex, curve.lower, curve.side) == (0, 4, 8, "right")
    assert curve.degrees == pytest.approx(40)


def test_a_double_and_a_triple_curve():
    double = curves(spine(arch(15, -25, 10)))
    assert [(c.upper, c.lower, c.side) for c in double] == [(0, 6, "left"), (6, 12, "right")]
    assert [c.degrees for c in double] == pytest.approx([40, 35])
    triple = curves(spine(arch(0, 12, -30, 14)))
    assert [(c.upper, c.lower, c.side) for c in triple] == [(0, 6, "right"), (6, 12, "left"), (12, 18, "right")]
    assert [c.degrees for c in triple] == pytest.approx([12, 42, 44])


def test_a_swing_below_ten_degrees_is_no_curve_and_ends_none():
    assert curves(spine(arch(-4, 5))) == ()
    (curve,) = curves(spine([-20, -10, 0, -8, 5, 15, 20]))
    assert (curve.upper, curve.lower) == (0, 6)


def test_a_counter_curve_splits_what_the_largest_angle_spans():
    corners = spine([0, 40, -35, 38, -41])
    assert cobb_angle(corners).degrees == pytest.approx(81)
    assert [c.degrees for c in curves(corners)] == pytest.approx([40, 75, 73, 79])


@given(TILTS, st.floats(1, 40))
def test_end_vertebrae_are_those_of_the_plain_twin(tilts, threshold):
    swings = np.abs(np.subtract.outer(tilts, tilts))[np.triu_indices(len(tilts), 1)]
    assume(np.diff(np.sort(swings)).min(initial=1) > 1e-6)  # ties may be broken either way
    assume(np.abs(swings - threshold).min() > 1e-6)
    assume(swings.min() > 1e-6)
    found = curves(spine(tilts), threshold)
    ends = turning_points_by_simplifying(tilts, threshold)
    assert [(c.upper, c.lower) for c in found] == list(pairwise(ends))
    assert all(c.upper <= c.apex <= c.lower for c in found)


@given(TILTS, st.floats(-170, 170), st.floats(0.1, 10))
def test_turning_and_scaling_a_film_changes_no_angle(tilts, degrees, scale):
    corners = spine(tilts)
    other = turned(corners, degrees) * scale + 7
    for convention in ("mean_edge", "end_plate"):
        assert cobb_angle(other, convention).degrees == pytest.approx(cobb_angle(corners, convention).degrees, abs=1e-6)
    assert np.ptp(vertebra_tilt(other) - vertebra_tilt(corners)) < 1e-6


def test_mirroring_a_film_changes_sides_only():
    corners = spine(arch(15, -25, 10))
    mirrored = (corners * [-1, 1] + [400, 0])[:, [1, 0, 3, 2]]
    other = {"left": "right", "right": "left"}
    for a, b in zip(curves(corners), curves(mirrored), strict=True):
        assert (a.upper, a.apex, a.lower, other[a.side]) == (b.upper, b.apex, b.lower, b.side)
        assert a.degrees == pytest.approx(b.degrees)


@given(st.floats(5, 40))
def test_the_convex_side_is_where_the_apex_lies(half):
    for side, sign in (("right", 1), ("left", -1)):
        corners = spine(arch(-sign * half, sign * half))
        (curve,) = curves(corners, 2 * half - 1e-6)
        x = corners.mean(1)[:, 0]
        assert curve.side == side
        assert (x[curve.apex] - (x[curve.upper] + x[curve.lower]) / 2) * sign > 0


def test_the_end_plate_convention_measures_the_upper_plate_above_and_the_lower_plate_below():
    corners = spine([0, 0])
    corners[0, 0, 1] -= 40 * np.tan(np.radians(12))  # raises the left end of the uppermost plate
    corners[1, 3, 1] -= 40 * np.tan(np.radians(7))  # and the right end of the lowest
    assert end_tilts(corners, "end_plate")[[0, 1], [0, 1]] == pytest.approx([12, -7])
    assert cobb_angle(corners, "end_plate").degrees == pytest.approx(19)
    assert cobb_angle(corners, "mean_edge").degrees < 10


def test_what_has_no_angle_is_refused():
    with pytest.raises(BadInput, match="two vertebrae or more, and there are 1"):
        cobb_angle(spine([0]))
    with pytest.raises(BadInput, match="'ferguson' is not known"):
        cobb_angle(spine([0, 1]), "ferguson")
    with pytest.raises(BadInput, match="min_angle = 0"):
        curves(spine([0, 1]), 0)


@given(st.floats(-120, 120), st.floats(-60, 60), st.floats(0.2, 5))
def test_slip_is_the_offset_in_percent_of_the_plate_however_the_film_is_turned(percent, degrees, scale):
    above = moved(-0.4 * percent, -37)
    below, above = (turned(b, degrees) * scale for b in (ANTERIOR_LEFT_BODY, above))
    assert slip(above, below, "left") == pytest.approx(percent, abs=1e-9)
    mirrored_above, mirrored_below = ((b * [-1, 1])[[1, 0, 3, 2]] for b in (above, below))
    assert slip(mirrored_above, mirrored_below, "right") == pytest.approx(percent, abs=1e-9)


def test_slip_needs_the_side_to_which_the_patient_faces():
    with pytest.raises(BadInput, match="'front'"):
        slip(ANTERIOR_LEFT_BODY, ANTERIOR_LEFT_BODY, "front")


def test_meyerding_grades_end_at_their_upper_limits():
    assert [meyerding(s) for s in (0, 4.99, 5, -25, 25.01, 50, 75, 75.01, 100, 100.01)] == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        4,
        4,
        5,
    ]
    assert meyerding(3, min_slip=2) == 1


def test_a_chain_is_the_outline_of_left_edges_down_and_right_edges_up():
    corners = spine(arch(-20, 20, -10)) + 0.123
    left, right = corners[:, [0, 2]].reshape(-1, 2), corners[:, [1, 3]].reshape(-1, 2)
    outline = polygon_mask(np.concatenate([left, right[::-1]]), (500, 400))
    assert (chain_mask(corners, (500, 400)) == outline).all()
    assert outline.sum() > 10_000


def test_bodies_that_overlap_leave_no_hole():
    corners = spine([0, 0, 0], step=15.0)
    x, y = slice(180, 220), slice(40, 90)
    expected = np.zeros((120, 400), dtype=bool)
    expected[y, x] = True
    assert (chain_mask(corners, (120, 400)) == expected).all()


def test_regions_of_a_scoliosis_are_nested_and_named_vertebrae():
    corners, shape = spine(arch(15, -25, 10)), (500, 400)
    regions = scoliosis_regions(corners, shape)
    first, second = curves(corners)
    inner = [chain_mask(corners[c.apex - 1 : c.apex + 2], shape) for c in (first, second)]
    outer = [chain_mask(corners[c.upper : c.lower + 1], shape) for c in (first, second)]
    assert (regions["scoliosis.R1"] == inner[0] | inner[1]).all()
    assert (regions["scoliosis.R2"] == outer[0] | outer[1]).all()
    assert (regions["scoliosis.R1.largest"] == inner[0]).all()
    assert (regions["scoliosis.R2.largest"] == outer[0]).all()
    assert (regions["column"] == chain_mask(corners, shape)).all()


@settings(max_examples=25)
@given(TILTS)
def test_inner_regions_lie_inside_outer_ones(tilts):
    regions = scoliosis_regions(spine(tilts, step=12.0), (320, 400))
    assert regions["column"].any()
    for inner, outer in (("R1", "R2"), ("R1.largest", "R2.largest"), ("R1.largest", "R1"), ("R2.largest", "R2")):
        small, large = regions[f"scoliosis.{inner}"], regions[f"scoliosis.{outer}"]
        assert (small is None) == (large is None) == (not curves(spine(tilts, step=12.0)))
        assert small is None or ((small <= large).all() and (large <= regions["column"]).all())


def test_a_straight_spine_has_a_column_and_no_other_region():
    regions = scoliosis_regions(spine([0] * 5), (300, 400))
    assert [name for name, mask in regions.items() if mask is not None] == ["column"]


def test_regions_of_a_slip_are_nested_and_the_step_lies_at_the_back():
    corners = np.stack([moved(0, -74), moved(-12, -37), ANTERIOR_LEFT_BODY])
    regions = spondylolisthesis_regions(corners, 1, (300, 200), "left")
    step, segment, column = (regions[f] for f in ("spondylolisthesis.R1", "spondylolisthesis.R2", "column"))
    assert (step <= segment).all() and (segment <= column).all() and segment.sum() < column.sum()
    assert step[200, 139] and step[192, 128] and not step[195, 100]  # both posterior corners, not the front
    length, radius = np.hypot(12, 7), 10
    assert step.sum() == pytest.approx(2 * radius * length + np.pi * radius**2, rel=0.02)
    mirrored = (corners * [-1, 1] + [200, 0])[:, [1, 0, 3, 2]]
    assert (spondylolisthesis_regions(mirrored, 1, (300, 200), "right")["spondylolisthesis.R1"] == step[:, ::-1]).all()


def test_the_lowest_vertebra_cannot_slip():
    with pytest.raises(BadInput, match="vertebra 1 of 2 has none below"):
        spondylolisthesis_regions(spine([0, 0]), 1, (200, 400))


def test_odd_corners_are_named():
    corners, shape = spine([0] * 4), (400, 400)
    assert odd_corners(corners, shape) == ()
    assert odd_corners(corners[::-1], shape) == ("vertebrae are not in order from top to bottom",)
    assert odd_corners(corners[:, [1, 0, 3, 2]], shape) == ("left and right corners are exchanged",)
    assert odd_corners(corners[:, [2, 3, 0, 1]], shape) == ("upper and lower corners are exchanged",)
    assert odd_corners(corners, (100, 400)) == ("a corner lies outside the frame",)
    assert odd_corners(corners[[0, 1, 1, 2, 3]] + np.arange(5)[:, None, None], shape) == ("a vertebra is marked twice",)
    assert odd_corners(corners * np.nan, shape) == ("a corner is not a number",)
