"""Side markers: stamped beside the fixed box, changing their own pixels only; how their style relates to the class."""

import numpy as np
import pytest

from xai_bench.errors import BadInput
from xai_bench.phantom import fixed_box
from xai_bench.phantom.chance import Chance
from xai_bench.phantom.marker import Marker, marker_mask, stamp

SHAPE = (96, 76)
BOX = fixed_box("ap", SHAPE)


@pytest.mark.parametrize("style", ["disc", "plate"])
def test_a_stamp_changes_its_own_pixels_beside_the_box(style) -> None:
    film = np.full(SHAPE, 100, np.uint8)
    for number in range(40):
        stamped, mask = stamp(film, Chance(0, number), style, 0.09, BOX)
        assert not mask[BOX[0] : BOX[1], BOX[2] : BOX[3]].any()
        assert np.array_equal(mask, marker_mask(Chance(0, number), style, 0.09, SHAPE, BOX))
        rows, columns = np.nonzero(stamped != film)
        assert mask.any()
        assert columns.max() < BOX[2] or columns.min() >= BOX[3]
        assert (stamped[mask] != 100).mean() > 0.8
        assert np.ptp(rows) <= 7
    assert (film == 100).all()


def test_both_styles_stand_in_the_same_place_and_differ() -> None:
    film = np.full(SHAPE, 100, np.uint8)
    for number in range(20):
        (disc, disc_mask), (plate, plate_mask) = (
            stamp(film, Chance(0, number), s, 0.09, BOX) for s in ("disc", "plate")
        )
        assert not (disc_mask & ~plate_mask).any()
        assert disc[disc_mask].mean() > plate[plate_mask].mean() + 40


def test_markers_stand_in_all_four_corners() -> None:
    centers = [np.argwhere(marker_mask(Chance(0, n), "plate", 0.09, SHAPE, BOX)).mean(0) > [48, 38] for n in range(60)]
    assert {tuple(map(bool, c)) for c in centers} == {(False, False), (False, True), (True, False), (True, True)}


def shares(marker: Marker, finding: bool) -> float:
    return float(np.mean([marker.style(Chance(0, n), finding) == "disc" for n in range(2000)]))


def test_modes_relate_style_and_class_as_they_say() -> None:
    assert shares(Marker("random"), True) == shares(Marker("random"), False) == pytest.approx(0.5, abs=0.04)
    assert shares(Marker("leaking", 0.9), True) == pytest.approx(0.9, abs=0.03)
    assert shares(Marker("leaking", 0.9), False) == pytest.approx(0.1, abs=0.03)
    assert shares(Marker("wrong"), True) == 0.0
    assert shares(Marker("wrong"), False) == 1.0
    assert Marker("none").style(Chance(0, 0), True) is None


@pytest.mark.parametrize("fields", [{"leak": 0.3}, {"leak": 1.2}, {"size": 0.01}, {"size": 0.5}])
def test_bad_fields_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="expected"):
        Marker("leaking", **fields)
