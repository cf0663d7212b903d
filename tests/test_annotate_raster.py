"""Geometries become the pixels that exact arithmetic gives; run lengths are COCO's."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from scipy.ndimage import binary_dilation, binary_erosion
from xai_bench_annotations.films.raster import (
    brush_of,
    decode_runs,
    encode_runs,
    geometry_of,
    mask_of,
    pack_runs,
    region_of,
    unpack_runs,
)
from xai_bench_annotations.server.tables import Annotation

from xai_bench.errors import BadInput

SHAPE = (11, 14)
whole = st.tuples(st.integers(-3, 17), st.integers(-3, 14))
half = st.tuples(st.integers(-6, 34).map(lambda v: v / 2), st.integers(-6, 28).map(lambda v: v / 2))
real = st.tuples(st.floats(-5, 20), st.floats(-5, 16))
masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def polygon(ring, holes=()):
    return {"kind": "polygon", "exterior": list(ring), "holes": [list(hole) for hole in holes]}


def exactly_inside(ring, x, y):
    """In fractions: 1 on one edge or with an odd number of edges to the right, 0 outside, -1 on edges that coincide."""
    ring = [(Fraction(a), Fraction(b)) for a, b in ring]
    odd, on = 0, 0
    for (x0, y0), (x1, y1) in pairwise([*ring, ring[0]]):
        cross = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        on += cross == 0 and min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1)
        if (y0 > y) != (y1 > y):
            odd ^= x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return -1 if on > 1 else int(on or odd)


@settings(max_examples=60)
@given(st.lists(whole, min_size=3, max_size=7))
def test_an_outline_of_whole_numbers_is_exact(ring):
    """Where two edges coincide they bound nothing and may count or not; the next test has such outlines too."""
    middle = Fraction(1, 2)
    expected = [[exactly_inside(ring, c + middle, r + middle) for c in range(SHAPE[1])] for r in range(SHAPE[0])]
    expected = np.array(expected)
    assert (mask_of(polygon(ring), SHAPE) == expected)[expected >= 0].all()


@given(st.integers(-2, 12), st.integers(-2, 12), st.integers(1, 9), st.integers(1, 9))
def test_rectangles_of_whole_numbers_are_exact(x, y, width, height):
    expected = np.zeros(SHAPE, bool)
    expected[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    found = mask_of({"kind": "rectangle", "x": x, "y": y, "width": width, "height": height}, SHAPE)
    assert (found == expected).all()


@given(*[st.floats(0, 10) for _ in range(2)], *[st.floats(0.01, 8) for _ in range(2)])
def test_a_rectangle_has_the_centers_within_its_sides(x, y, width, height):
    columns, rows = np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5
    inside = ((rows >= y) & (rows <= y + height))[:, None] & ((columns >= x) & (columns <= x + width))
    found = mask_of({"kind": "rectangle", "x": x, "y": y, "width": width, "height": height}, SHAPE)
    assert (found == inside).all()


def test_holes_are_cut_out_and_freehand_is_a_polygon():
    outer, hole = [(1, 1), (10, 1), (10, 9), (1, 9)], [(3, 3), (6, 3), (6, 7), (3, 7)]
    found = mask_of(polygon(outer, [hole]), SHAPE)
    assert found.sum() == 9 * 8 - 3 * 4 and not found[3:7, 3:6].any()
    assert (mask_of(polygon(outer, [hole]) | {"kind": "freehand"}, SHAPE) == found).all()


def test_pycocotools_differs_at_the_outline_only():
    """It moves an outline to fifths of a pixel; upright sides at whole numbers stay where they are."""
    square = [(2, 1), (9, 1), (9, 8), (2, 8)]
    assert (mask_of(polygon(square), SHAPE) == theirs_of(square, SHAPE)).all()
    rng, shape, shares = np.random.default_rng(0), (400, 300), []
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        ring = np.stack([150 + 100 * np.cos(angles), 200 + 140 * np.sin(angles)], axis=1) + rng.uniform(-9, 9, (12, 2))
        ours, theirs = mask_of(polygon(ring.tolist()), shape), theirs_of(ring.tolist(), shape)
        outline = binary_dilation(ours, np.ones((3, 3))) & ~binary_erosion(ours, np.ones((3, 3)))
        assert not ((ours ^ theirs) & ~outline).any()
        shares.append((ours ^ theirs).sum() / ours.sum())
    assert 0 < max(shares) < 0.005


def theirs_of(ring, shape):
    return coco.decode(coco.frPyObjects([[v for point in ring for v in point]], *shape))[..., 0].astype(bool)


# --- run lengths ----------------------------------------------------------------------------------------------------


@given(masks)
def test_run_lengths_are_those_of_pycocotools(mask):
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = encode_runs(mask)
    assert pack_runs(counts) == theirs["counts"].decode()
    assert unpack_runs(theirs["counts"].decode()) == counts
    assert (decode_runs(counts, mask.shape) == mask).all()
    assert (mask_of(brush_of(mask), mask.shape) == mask).all()


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=9))
def test_long_runs_survive_their_text(counts):
    assert unpack_runs(pack_runs(counts)) == counts


@pytest.mark.parametrize("text", ["\n", "o", "1é", "~", "ooooooooooooooooooooo1", "O"])
def test_nonsense_is_no_run_length_text(text):
    with pytest.raises(BadInput):
        unpack_runs(text)


def test_run_lengths_must_cover_the_film():
    with pytest.raises(BadInput, match="cover 5 pixels; expected 6"):
        decode_runs([2, 3], (2, 3))
    with pytest.raises(BadInput, match=r"painted pixels of a film of \(2, 3\) stand on one of \(3, 2\)"):
        mask_of({"kind": "mask", "size": [2, 3], "counts": [6]}, (3, 2))


# --- regions --------------------------------------------------------------------------------------------------------


def row(label, geometry, deleted=False):
    return Annotation(label=label, geometry=geometry, deleted=deleted)


def test_areas_of_a_label_are_united_and_points_and_deleted_ones_are_none():
    box = {"kind": "rectangle", "x": 0, "y": 0, "width": 2, "height": 2}
    rows = [row("apex", box), row("apex", box | {"x": 1}), row("column", box | {"y": 5}, deleted=True),
            row("column", {"kind": "landmark", "at": [1, 1]})]  # fmt: skip
    regions = region_of(rows, SHAPE)
    assert list(regions) == ["apex"]
    assert regions["apex"].sum() == 6 and regions["apex"][:2, :3].all()


def test_points_and_nonsense_have_no_pixels():
    with pytest.raises(BadInput, match="a landmark covers no pixels"):
        mask_of({"kind": "landmark", "at": [1, 2]}, SHAPE)
    with pytest.raises(BadInput, match=r"polygon\.exterior"):
        geometry_of({"kind": "polygon", "exterior": [[0, 0]]})
