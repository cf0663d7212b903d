"""The drawing surface: coverage of shapes, transforms between body units and film pixels, locality of blurs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_bench.phantom.canvas import Canvas, ellipse, smooth

CANVAS = Canvas(height=50, width=40, middle=0.4, top=0.1, length=0.8, oversample=4)


def test_a_filled_square_covers_its_area() -> None:
    layer = CANVAS.blank()
    CANVAS.fill(layer, np.array([(-0.2, 0.2), (0.2, 0.2), (0.2, 0.6), (-0.2, 0.6)]), 1.0)
    side = 0.4 * CANVAS.unit
    assert layer.sum() == pytest.approx(side**2, rel=0.04)  # OpenCV fills the outline's pixels as well
    rows, columns = np.nonzero(layer)
    film = CANVAS.to_film(np.array([[0.0, 0.4]]))[0]
    assert (columns.mean() + 0.5) / 4 == pytest.approx(film[0], abs=0.15)
    assert (rows.mean() + 0.5) / 4 == pytest.approx(film[1], abs=0.15)


def test_axes_are_the_inverse_of_to_film() -> None:
    x, y = CANVAS.axes()
    points = np.stack([np.full(y.shape[0], x[0, 7]), y[:, 0]], 1)
    film = CANVAS.to_film(points) * CANVAS.oversample
    assert film[:, 0] == pytest.approx(np.full(len(film), 7.5), abs=1e-3)
    assert film[:, 1] == pytest.approx(np.arange(len(film)) + 0.5, abs=1e-3)


def test_later_shapes_cover_earlier_ones_and_each_has_its_value() -> None:
    one, both = CANVAS.blank(), CANVAS.blank()
    discs = ellipse(np.array([[0.0, 0.3], [0.05, 0.3]]), [0.1, 0.1])
    CANVAS.fill(both, discs, np.array([0.25, 0.75]))
    CANVAS.fill(one, discs[0], 0.25)
    CANVAS.fill(one, discs[1], 0.75)
    assert np.array_equal(both, one)
    assert set(np.unique(both)) == {0.0, 0.25, 0.75}


def test_a_ribbon_has_its_width() -> None:
    layer = CANVAS.blank()
    CANVAS.ribbon(layer, np.array([[-0.2, 0.3], [0.0, 0.3], [0.2, 0.3]]), 0.05, 1.0)
    column = layer[:, int(0.4 * 50 * 4)]
    assert column.sum() == pytest.approx(0.1 * CANVAS.unit, abs=1.5)


def test_a_blur_keeps_the_sum_and_ends_at_three_sigma() -> None:
    layer = CANVAS.blank()
    layer[100, 80] = 1.0
    blurred = CANVAS.blur(layer, 0.02)
    reach = int(np.ceil(3 * 0.02 * CANVAS.unit))
    assert blurred.sum() == pytest.approx(1.0, abs=1e-5)
    rows, columns = np.nonzero(blurred)
    assert np.abs(rows - 100).max() == np.abs(columns - 80).max() == reach


def test_reduce_is_the_mean_of_blocks() -> None:
    layer = np.random.default_rng(0).random(CANVAS.shape, np.float32)
    assert CANVAS.reduce(layer, 4) == pytest.approx(layer.reshape(50, 4, 40, 4).mean((1, 3)), abs=1e-5)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=7))
def test_a_smooth_path_passes_through_its_points(points: list[tuple[float, float]]) -> None:
    path = smooth(points, samples=(len(points) - 1) * 6 + 1)
    assert path[::6] == pytest.approx(np.array(points), abs=1e-9)


def test_a_smooth_path_through_a_line_is_the_line() -> None:
    path = smooth([(0.0, 0.0), (1.0, 2.0), (2.0, 4.0), (3.0, 6.0)], samples=31)
    assert path[:, 1] == pytest.approx(2 * path[:, 0])
    assert path[:, 0] == pytest.approx(np.linspace(0, 3, 31))


def test_clouds_have_no_mean_and_unit_spread() -> None:
    canvas = Canvas(400, 400, 0.5, 0.0, 1.0, 1)
    cloud = canvas.cloud(np.random.default_rng(0), 0.01, octaves=2)
    assert abs(float(cloud.mean())) < 0.05
    assert float(cloud.std()) == pytest.approx(1.0, abs=0.05)
