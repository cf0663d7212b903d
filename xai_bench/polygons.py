"""From polygons to pixels: one rasterizer for everything that is drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

Mask = Bool[np.ndarray, "h w"]
Floats = NDArray[np.float64]


def polygon_mask(xy: Float[np.ndarray, "points 2"], shape: tuple[int, int]) -> Mask:
    """Pixels of a picture of `shape` (height, width) whose centers lie in a polygon of (x, y) points, clipped to it.

    Pixel (column c, row r) covers [c, c+1) x [r, r+1). A center exactly on the outline is inside; every other one if an
    odd number of edges crosses its row to the right of it (O'Rourke, Computational Geometry in C, 1998, section 7.4).
    The time grows with outline and area, not with their product.

    >>> polygon_mask(np.array([[1, 0], [3, 0], [3, 1], [1, 1]], dtype=float), (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    # Each crossing toggles all that lies right of it, once for the crossings to the right and once for those to the
    # left: both agree but on the outline. From here on centers are whole numbers.
    xy = np.asarray(xy, dtype=np.float64) - 0.5
    toggles = np.zeros((2, shape[0], shape[1] + 1), np.uint8)
    for edges in _in_parts(np.concatenate([xy, np.roll(xy, -1, axis=0)], axis=1), shape[0]):
        (x0, y0, x1, y1), low, high = edges.T, edges[:, 1::2].min(axis=1), edges[:, 1::2].max(axis=1)
        for side, (first, last) in enumerate([(np.ceil(low), np.ceil(high)), (np.floor(low) + 1, np.floor(high) + 1)]):
            edge, row = _rows(first, last, shape[0])
            x = x0[edge] + (row - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
            column = np.floor(x) + 1 if side else np.ceil(x)
            np.bitwise_xor.at(toggles[side], (row, np.clip(column, 0, shape[1]).astype(np.intp)), 1)
    right, left = np.bitwise_xor.accumulate(toggles[:, :, :-1], axis=2)
    mask: Mask = (right | left).astype(np.bool_)
    corners = xy[(np.abs(xy - np.round(xy)) < 1e-12).all(axis=1)].round().astype(np.intp)
    corners = corners[((corners >= 0) & (corners < shape[::-1])).all(axis=1)]
    mask[corners[:, 1], corners[:, 0]] = True
    return mask


def _rows(first: Floats, last: Floats, height: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of all rows that edges cross, from `first` to before `last`: the edge, and the row."""
    start = np.clip(first, 0, height).astype(np.intp)
    counts = np.maximum(np.clip(last, 0, height).astype(np.intp) - start, 0)
    edge = np.repeat(np.arange(len(counts)), counts)
    return edge, np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts - start, counts)


def _in_parts(edges: Floats, height: int) -> Iterator[Floats]:
    """Edges that are not horizontal, so many at a time that memory stays small however long the outline is."""
    edges = edges[edges[:, 1] != edges[:, 3]]
    at_once = max(1, 2_000_000 // height)
    return (edges[start : start + at_once] for start in range(0, len(edges), at_once))
