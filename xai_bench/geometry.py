"""Spine geometry from corner points: Cobb angles, curves, slip, and the nested regions of a finding.

Units: `corners` are (vertebrae, 4, 2) floats, (x, y) in NATIVE pixels, x to the right and y down, order top-left,
top-right, bottom-left, bottom-right, the top vertebra first; `left` and `right` are sides of the picture. Angles are
degrees, slips percent. Construct angles and regions before any resizing: stretching changes angles.

Pixel convention: pixel (column c, row r) covers [c, c+1) x [r, r+1), so its center is (c + 0.5, r + 0.5). A pixel
belongs to a polygon if its center does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from skimage.draw import polygon

from xai_bench.errors import BadInput

Convention = Literal["mean_edge", "end_plate"]
Side = Literal["left", "right"]
Corners = Float[np.ndarray, "vertebrae 4 2"]
Mask = Bool[np.ndarray, "h w"]
Pixels = tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]  # rows, columns
TL, TR, BL, BR = range(4)
OUTSIDE = "a corner lies outside the frame"


class CobbAngle(NamedTuple):
    """An angle in degrees and the indices of the vertebrae that enclose it."""

    degrees: float
    upper: int
    lower: int


@dataclass(frozen=True)
class Curve:
    """One scoliotic curve: its end vertebrae and apex (indices), Cobb angle and convex side in the picture."""

    upper: int
    lower: int
    apex: int
    degrees: float
    side: Side


# --- angles ---------------------------------------------------------------------------------------------------------


def vertebra_tilt(corners: Corners) -> Float[np.ndarray, "vertebrae"]:
    """Tilt of each vertebra in degrees: direction of the mean of its upper and lower edge, left to right.

    Positive = the right end is lower (clockwise on the screen). Continuous along the spine, so that differences of more
    than 180 degrees cannot arise between neighbors, and turning the picture only adds a constant.

    >>> square = np.array([[[0, 0], [10, 0], [0, 10], [10, 10]]], dtype=float)
    >>> vertebra_tilt(square).tolist()
    [0.0]
    """
    edges = (corners[:, TR] - corners[:, TL]) + (corners[:, BR] - corners[:, BL])
    return np.degrees(np.unwrap(np.arctan2(edges[:, 1], edges[:, 0])))


def end_tilts(corners: Corners, convention: Convention = "mean_edge") -> Float[np.ndarray, "vertebrae 2"]:
    """Each vertebra's tilt in degrees where it ends a curve above (column 0) and below (column 1).

    `mean_edge`: the vertebra's own tilt, twice. `end_plate`: its upper end plate as an upper end vertebra, its lower
    end plate as a lower one (Cobb 1948). Raises BadInput for another convention.
    """
    tilt = vertebra_tilt(corners)
    if convention == "mean_edge":
        return np.stack([tilt, tilt], axis=1)
    if convention != "end_plate":
        raise BadInput(f"convention {convention!r} is not known; use 'mean_edge' or 'end_plate'.")
    plates = np.stack([corners[:, TR] - corners[:, TL], corners[:, BR] - corners[:, BL]], axis=1)
    raw = np.degrees(np.arctan2(plates[..., 1], plates[..., 0]))
    ends: Float[np.ndarray, "vertebrae 2"] = tilt[:, None] + (raw - tilt[:, None] + 180) % 360 - 180
    return ends


def cobb_angle(corners: Corners, convention: Convention = "mean_edge") -> CobbAngle:
    """The largest angle in degrees between two vertebrae, and which two; AASCE's labels are `mean_edge`.

    Of several equal pairs the uppermost one. Raises BadInput for fewer than two vertebrae.

    >>> import math
    >>> t = math.tan(math.radians(30)) * 10
    >>> spine = np.array([[[0, 0], [10, 0], [0, 8], [10, 8]], [[0, 20], [10, 20 + t], [0, 28], [10, 28 + t]]])
    >>> angle = cobb_angle(spine)
    >>> round(angle.degrees, 6), angle.upper, angle.lower
    (30.0, 0, 1)
    """
    if len(corners) < 2:
        raise BadInput(f"a Cobb angle needs two vertebrae or more, and there are {len(corners)}; mark more corners.")
    tilts = end_tilts(corners, convention)
    between = np.abs(tilts[:, None, 0] - tilts[None, :, 1])
    between[np.tril_indices(len(corners))] = -1.0
    upper, lower = np.unravel_index(np.argmax(between), between.shape)
    return CobbAngle(float(between[upper, lower]), int(upper), int(lower))


def curves(corners: Corners, min_angle: float = 10.0) -> tuple[Curve, ...]:
    """All curves with a Cobb angle (`mean_edge`) of at least `min_angle` degrees, from top to bottom.

    End vertebrae are the alternate extremes of the tilts along the spine; a swing back of less than `min_angle` does
    not end a curve. Neighboring curves therefore share an end vertebra and bend to opposite sides. The apex is the
    vertebra whose center lies farthest from the line through the end vertebrae's centers. The largest curve is smaller
    than `cobb_angle` where a counter-curve lies between the two most tilted vertebrae. Raises BadInput unless
    min_angle > 0.
    """
    if not min_angle > 0:
        raise BadInput(f"min_angle = {min_angle}: expected more than 0 degrees; 10 is the usual definition of a curve.")
    tilt = vertebra_tilt(corners)
    ends = _turning_points(tilt, min_angle)
    return tuple(_curve(corners, tilt, upper, lower) for upper, lower in pairwise(ends))


def _turning_points(tilt: Float[np.ndarray, "vertebrae"], threshold: float) -> list[int]:
    """Alternate extremes, each `threshold` or more from the one before and the one after; [] if there are none."""
    low = high = 0
    ends: list[int] = []
    rising: bool | None = None  # unknown until the first swing is wide enough
    for i, value in enumerate(tilt):
        if rising is not False and value > tilt[high]:
            high = i
        if rising is not True and value < tilt[low]:
            low = i
        if rising is not True and value - tilt[low] >= threshold:
            ends.append(low)
            rising, high = True, i
        elif rising is not False and tilt[high] - value >= threshold:
            ends.append(high)
            rising, low = False, i
    return [*ends, high if rising else low] if ends else []


def _curve(corners: Corners, tilt: Float[np.ndarray, "vertebrae"], upper: int, lower: int) -> Curve:
    centers = corners[upper : lower + 1].mean(1)
    (x, y), (dx, dy) = centers[0], centers[-1] - centers[0]
    offset = np.abs((centers[:, 0] - x) * dy - (centers[:, 1] - y) * dx)  # distance from the line, times its length
    swing = float(tilt[lower] - tilt[upper])
    # Vertebrae stand across the spine: above the apex of a curve to the right their right ends are up, below it down.
    return Curve(upper, lower, upper + int(np.argmax(offset)), abs(swing), "right" if swing > 0 else "left")


# --- slip -----------------------------------------------------------------------------------------------------------


def slip(upper: Float[np.ndarray, "4 2"], lower: Float[np.ndarray, "4 2"], anterior: Side = "left") -> float:
    """How far a vertebra has slid on the one below: percent of the lower body's upper end plate, anterior positive.

    The offset of the posterior-inferior corner above from the posterior-superior corner below, along that end plate
    (Meyerding 1932). `anterior` is the side of the picture to which the patient faces. Retrolisthesis is negative.

    >>> below = np.array([[0, 20], [40, 20], [0, 40], [40, 40]], dtype=float)
    >>> slip(below + [-10, -25], below, "left"), slip(below + [-10, -25], below, "right")
    (25.0, -25.0)
    """
    step, plate = _step(upper, lower, anterior)
    return float(100 * (step @ plate) / (plate @ plate))


def _step(
    upper: Float[np.ndarray, "4 2"], lower: Float[np.ndarray, "4 2"], anterior: Side
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    if anterior == "left":
        return upper[BR] - lower[TR], lower[TL] - lower[TR]
    if anterior == "right":
        return upper[BL] - lower[TL], lower[TR] - lower[TL]
    raise BadInput(
        f"anterior = {anterior!r}: expected 'left' or 'right', the side of the picture to which the patient faces."
    )


def meyerding(slip_percent: float, min_slip: float = 5.0) -> int:
    """Meyerding grade 0 to 5 of a slip's size: none below `min_slip`, I to 25, II to 50, III to 75, IV to 100, V above.

    >>> [meyerding(s) for s in (4.9, 5, 25, 25.1, -60, 100, 130)]
    [0, 1, 1, 2, 3, 4, 5]
    """
    size = abs(slip_percent)
    return 0 if size < min_slip else 1 + sum(size > limit for limit in (25, 50, 75, 100))


# --- regions --------------------------------------------------------------------------------------------------------


def capsule_mask(
    start: Float[np.ndarray, "2"], end: Float[np.ndarray, "2"], radius: float, shape: tuple[int, int]
) -> Mask:
    """Pixels whose centers lie within `radius` pixels of the segment between two (x, y) points."""
    y, x = np.ogrid[0.5 : shape[0] : 1, 0.5 : shape[1] : 1]
    along, length2 = end - start, float((end - start) @ (end - start))
    t = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (length2 or 1.0), 0, 1)
    near: Mask = np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1]) <= radius
    return near


def chain_mask(corners: Corners, shape: tuple[int, int]) -> Mask:
    """The region of consecutive vertebrae in a picture of `shape` (height, width): their bodies and the discs between.

    A union of quadrilaterals rather than one outline, so that bodies that overlap leave no hole.
    """
    return _span(_pieces(corners, shape), 0, len(corners) - 1, shape)


def _pieces(corners: Corners, shape: tuple[int, int]) -> list[Pixels]:
    """Pixels of body 0, disc 0-1, body 1, disc 1-2 ... of a column."""
    bodies = corners[:, [TL, TR, BR, BL]]
    discs = np.stack([corners[:-1, BL], corners[:-1, BR], corners[1:, TR], corners[1:, TL]], axis=1)
    quads = np.empty((2 * len(corners) - 1, 4, 2))
    quads[::2], quads[1::2] = bodies, discs
    return [polygon(quad[:, 1] - 0.5, quad[:, 0] - 0.5, shape) for quad in quads]


def _span(pieces: list[Pixels], first: int, last: int, shape: tuple[int, int]) -> Mask:
    mask: Mask = np.zeros(shape, dtype=np.bool_)
    for pixels in pieces[2 * first : 2 * last + 1]:
        mask[pixels] = True
    return mask


def scoliosis_regions(corners: Corners, shape: tuple[int, int], min_angle: float = 10.0) -> dict[str, Mask | None]:
    """Nested regions of a scoliosis in a picture of `shape` (height, width); None where no curve reaches `min_angle`.

    `scoliosis.R1` apex +-1 (inside the curve) and `scoliosis.R2` end vertebra to end vertebra, each the union over all
    curves; `.largest` the same of the largest curve alone; `column` the whole column.
    """
    found, pieces = curves(corners, min_angle), _pieces(corners, shape)
    largest = sorted(found, key=lambda c: -c.degrees)[:1]

    def apices(of: Sequence[Curve]) -> Mask | None:
        spans = [(max(c.apex - 1, c.upper), min(c.apex + 1, c.lower)) for c in of]
        return _union([_span(pieces, first, last, shape) for first, last in spans])

    def whole(of: Sequence[Curve]) -> Mask | None:
        return _union([_span(pieces, c.upper, c.lower, shape) for c in of])

    return {
        "scoliosis.R1": apices(found),
        "scoliosis.R2": whole(found),
        "scoliosis.R1.largest": apices(largest),
        "scoliosis.R2.largest": whole(largest),
        "column": _span(pieces, 0, len(corners) - 1, shape),
    }


def _union(masks: Sequence[Mask]) -> Mask | None:
    return np.logical_or.reduce(masks) if masks else None


def spondylolisthesis_regions(
    corners: Corners, slipped: int, shape: tuple[int, int], anterior: Side = "left"
) -> dict[str, Mask | None]:
    """Nested regions of a slip of vertebra `slipped` (an index) on the one below it, in a lateral picture of `shape`.

    `spondylolisthesis.R1` the step: all within a quarter of the lower body's upper end plate of the line from the
    posterior-inferior corner above to the posterior-superior corner below; `spondylolisthesis.R2` the motion segment
    (two bodies and the disc) with the step; `column` all vertebrae given, with the step. Raises BadInput for a
    vertebra with none below it.
    """
    if not 0 <= slipped < len(corners) - 1:
        raise BadInput(
            f"vertebra {slipped} of {len(corners)} has none below it to slip on; expected 0 to {len(corners) - 2}."
        )
    upper, lower = corners[slipped], corners[slipped + 1]
    _, plate = _step(upper, lower, anterior)
    corner_above, corner_below = (upper[BR], lower[TR]) if anterior == "left" else (upper[BL], lower[TL])
    step = capsule_mask(corner_above, corner_below, float(np.hypot(*plate)) / 4, shape)
    segment = step | chain_mask(corners[slipped : slipped + 2], shape)
    return {
        "spondylolisthesis.R1": step,
        "spondylolisthesis.R2": segment,
        "column": segment | chain_mask(corners, shape),
    }


# --- checks ---------------------------------------------------------------------------------------------------------


def odd_corners(corners: Corners, shape: tuple[int, int]) -> tuple[str, ...]:
    """What is odd about the corner points of a picture of `shape` (height, width), in words; () if all is well."""
    if not np.isfinite(corners).all():
        return ("a corner is not a number",)
    odd = []
    if (corners < 0).any() or (corners > np.array([shape[1], shape[0]])).any():
        odd.append(OUTSIDE)
    steps = np.diff(corners.mean(1), axis=0)
    if (steps[:, 1] <= 0).any():
        odd.append("vertebrae are not in order from top to bottom")
    lengths = np.hypot(*steps.T)
    if (lengths < np.median(lengths) / 4).any():
        odd.append("a vertebra is marked twice")
    if (corners[:, [TL, BL], 0] >= corners[:, [TR, BR], 0]).any():
        odd.append("left and right corners are exchanged")
    if (corners[:, [TL, TR], 1] >= corners[:, [BL, BR], 1]).any():
        odd.append("upper and lower corners are exchanged")
    return tuple(odd)
