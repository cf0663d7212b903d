"""Polygons to pixels: by the definition, by scikit-image, on the grid exactly."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.draw import polygon

from xai_bench.polygons import polygon_mask

SHAPE = (9, 12)
whole = st.tuples(st.integers(-3, 15), st.integers(-3, 12))
half = st.tuples(*[st.integers(-6, 30).map(lambda n: n / 2)] * 2)
real = st.tuples(st.floats(-3, 15), st.floats(-3, 12))


def by_scikit_image(ring, shape):
    xy, mask = np.array(ring, dtype=float) - 0.5, np.zeros(shape, bool)
    mask[polygon(xy[:, 1], xy[:, 0], shape)] = True
    return mask


@settings(max_examples=150)
@given(st.one_of(st.lists(p, min_size=3, max_size=9) for p in (whole, half, real)))
@example([(2.5, 2.5), (9.5, 2.5), (9.5, 6.5), (2.5, 6.5)])  # centers on all edges
@example([(2.5, 2.5), (2.5, 2.5), (2.5, 2.5)])
def test_every_outline_is_what_scikit_image_makes_of_it(ring):
    assert (polygon_mask(np.array(ring, dtype=float), SHAPE) == by_scikit_image(ring, SHAPE)).all()


def test_an_outline_of_many_long_edges_is_taken_in_parts():
    zigzag = [(1 + 17 * (i % 2) + i / 4001, 999.3 * (i % 2)) for i in range(3000)]
    assert (polygon_mask(np.array(zigzag), (1000, 20)) == by_scikit_image(zigzag, (1000, 20))).all()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=6))
def test_a_pixel_belongs_to_a_polygon_if_its_center_does(points):
    xy = np.array(points) + 1e-3 * np.arange(2 * len(points)).reshape(-1, 2)
    rows, columns = np.mgrid[:18, :21] + 0.5
    centers = np.stack([columns.ravel(), rows.ravel()], 1)
    certain = _distance_to_outline(centers, xy) > 1e-6
    expected = _crossings(centers, xy) % 2 == 1
    assert (polygon_mask(xy, (18, 21)).ravel() == expected)[certain].all()


def _crossings(centers, xy):
    """How often a ray to the right of each center crosses the outline."""
    count = np.zeros(len(centers), dtype=int)
    for (x0, y0), (x1, y1) in zip(xy, np.roll(xy, -1, axis=0), strict=True):
        spans = (y0 > centers[:, 1]) != (y1 > centers[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            x = x0 + (centers[:, 1] - y0) / (y1 - y0) * (x1 - x0)
        count += spans & (centers[:, 0] < x)
    return count


def _distance_to_outline(centers, xy):
    best = np.full(len(centers), np.inf)
    for a, b in zip(xy, np.roll(xy, -1, axis=0), strict=True):
        t = np.clip(((centers - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
        best = np.minimum(best, np.linalg.norm(centers - a - t[:, None] * (b - a), axis=1))
    return best


def test_a_polygon_on_the_grid_has_its_exact_area_and_what_is_outside_the_frame_is_cut():
    square = np.array([[3, 5], [13, 5], [13, 25], [3, 25]], dtype=float)
    assert polygon_mask(square, (30, 30)).sum() == 200
    assert polygon_mask(square - [8, 0], (10, 30)).sum() == 5 * 5
    assert polygon_mask(square + 100, (30, 30)).sum() == 0
