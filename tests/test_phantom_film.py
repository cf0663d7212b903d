"""Films: same id, same pixels; one id at two angles differs in the fixed box only; corners lie on the drawn bone."""

import numpy as np
import pytest

from xai_bench.errors import BadInput
from xai_bench.phantom import draw_ap, draw_lateral, fixed_box
from xai_bench.phantom.film import number_of

SHAPE = (96, 76)
CASES = [(draw_ap, "ap", 0.0, 60.0), (draw_ap, "ap", 4.0, 25.0), (draw_lateral, "lateral", 0.0, 50.0)]


@pytest.mark.parametrize("draw", [draw_ap, draw_lateral])
def test_an_id_has_the_same_pixels_whatever_was_drawn_before(draw) -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002 -- global state is left alone
    first = draw("phantom-000121", 20.0, shape=SHAPE).image
    for picture, seed in (("phantom-000120", 0), ("phantom-000131", 0), ("phantom-000121", 1)):
        assert not np.array_equal(draw(picture, 20.0, seed=seed, shape=SHAPE).image, first)
    assert np.array_equal(draw("phantom-000121", 20.0, shape=SHAPE).image, first)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002 -- the same
    assert first.dtype == np.uint8
    assert first.shape == SHAPE


@pytest.mark.parametrize(("draw", "view", "low", "high"), CASES)
@pytest.mark.parametrize("shape", [SHAPE, (224, 176), (150, 150)])
def test_two_angles_of_an_id_differ_only_inside_the_fixed_box(draw, view, low, high, shape) -> None:
    top, bottom, left, right = fixed_box(view, shape)
    films = 30 if shape == SHAPE else 4
    for number in range(7, 10 * films, 10):
        one, other = (draw(f"phantom-{number:06d}", amount, shape=shape).image for amount in (low, high))
        changed = one != other
        assert changed[top:bottom, left:right].mean() > 0.01
        changed[top:bottom, left:right] = False
        assert not changed.any()


@pytest.mark.parametrize("shape", [SHAPE, (224, 176), (128, 160)])
@pytest.mark.parametrize("view", ["ap", "lateral"])
def test_the_fixed_box_leaves_strips_on_both_sides_and_holds_all_corners(view: str, shape: tuple[int, int]) -> None:
    top, bottom, left, right = fixed_box(view, shape)
    assert 0.08 * shape[1] < left
    assert right < 0.92 * shape[1]
    draw, most = (draw_ap, 60.0) if view == "ap" else (draw_lateral, 50.0)
    for number in range(0, 60, 10):
        corners = draw(f"phantom-{number:06d}", most, shape=shape).corners
        assert corners[..., 0].min() >= left
        assert corners[..., 0].max() <= right
        assert corners[..., 1].min() >= top
        assert corners[..., 1].max() <= bottom


@pytest.mark.parametrize(("draw", "amount"), [(draw_ap, 35.0), (draw_lateral, 30.0)])
def test_corners_lie_on_the_bone(draw, amount: float) -> None:
    """Films are brighter inside the bodies than on their two sides, at nearly every level (gas can lie on a body)."""
    brighter = []
    for number in range(0, 200, 10):
        film = draw(f"phantom-{number:06d}", amount)
        quads = film.corners[7:] if draw is draw_ap else film.corners[:5]
        left, right = quads[:, [0, 2]].mean(1), quads[:, [1, 3]].mean(1)
        inside, aside = (left + right) / 2, 0.85 * (right - left)
        gray = [[mean_around(film.image, p) for p in place] for place in (inside, inside - aside, inside + aside)]
        brighter += (np.array(gray[0]) > np.mean(gray[1:], axis=0)).tolist()
    assert np.mean(brighter) > 0.95


def mean_around(image, point) -> float:
    column, row = point.astype(int)
    return float(image[row - 1 : row + 2, column - 2 : column + 3].mean())


def test_spacing_makes_a_column_of_human_length() -> None:
    for number in range(0, 200, 10):
        film = draw_ap(f"phantom-{number:06d}", 0.0, shape=SHAPE)
        column_mm = np.ptp(film.corners[..., 1]) * film.spacing_mm[0]
        assert 375 < column_mm < 455
        film = draw_lateral(f"phantom-{number:06d}", 0.0, shape=SHAPE)
        depth = np.hypot(*(film.corners[2, 1] - film.corners[2, 0])) * film.spacing_mm[0]
        assert 28 < depth < 45


def test_resolution_does_not_move_the_column() -> None:
    small, large = (draw_ap("phantom-000050", 30.0, shape=s).corners for s in ((112, 88), (224, 176)))
    assert 2 * small == pytest.approx(large)


@pytest.mark.parametrize("wrong", ["phantom-12", "film-000012", "phantom-00001x", "phantom-²²²²²²", ""])
def test_an_id_that_is_not_a_phantoms_is_refused(wrong: str) -> None:
    with pytest.raises(BadInput, match="phantom's id"):
        number_of(wrong)
