"""The column seen from the front: vertebrae T1 to L5 along a curve with a Cobb angle that one sets.

Everything is in body units (see canvas.py): the column is 1 long, x is 0 on the mid line, y is 0 at T1's upper end.
Sizes of the bodies are medians of adolescents' standing films (AASCE 2019: Wu et al. 2017), as shares of the length.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from xai_bench.errors import BadInput
from xai_bench.geometry import cobb_angle
from xai_bench.phantom.chance import Chance

NAMES = (*(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)))
MAX_COBB = 60.0
WIDTH = np.array([74, 69, 64, 64, 65, 67, 70, 72, 75, 79, 83, 88, 92, 95, 99, 104, 110]) / 1000
HEIGHT = np.array([29, 32, 36, 38, 41, 41, 42, 43, 44, 47, 48, 51, 52, 53, 55, 57, 53]) / 1000
GAP = np.array([12, 13, 13, 13, 13, 13, 14, 14, 15, 17, 19, 21, 23, 24, 24, 24]) / 1000
_EXTRA = 2  # vertebrae drawn above T1, not part of the truth
_WEDGE = 0.35  # share of a level's bend that the body takes; the disc takes the rest

Corners = Float[np.ndarray, "vertebrae 4 2"]
Bend = Float[np.ndarray, "bumps 3"]  # place of the apex, spread and size of each side bump


@dataclass(frozen=True)
class Column:
    """A drawn column: corners of C6, C7 and T1 to L5, and how far each vertebra is turned about the column's axis."""

    all_corners: Corners
    turn: Float[np.ndarray, "vertebrae"]

    @property
    def corners(self) -> Corners:
        """T1 to L5."""
        return self.all_corners[_EXTRA:]

    @cached_property
    def cobb(self) -> float:
        """The largest Cobb angle in degrees, measured on the corners (mean of the end plates)."""
        return cobb_angle(self.corners).degrees


def column(chance: Chance, cobb: float) -> Column:
    """A patient's column bent to a Cobb angle of `cobb` degrees (measured on its corners, within 0.01).

    Which curve it is (single or double, level, side) belongs to the patient, a slight lean to the film.
    Raises BadInput outside 0 to 60 degrees.

    >>> round(column(Chance(0, 0), 25.0).cobb, 2)
    25.0
    """
    if not 0 <= cobb <= MAX_COBB:
        raise BadInput(f"cobb = {cobb}: a phantom's curve has 0 to {MAX_COBB:g} degrees.")
    bend, lean = _bend(chance), np.radians(chance.film("lean").normal(0, 0.6))
    scale = chance.patient("vertebrae").uniform(0.94, 1.06)
    size = np.radians(cobb) / max(_swing(bend), 1e-9)
    for _ in range(4):  # nearly linear, so that a few proportional steps hit the angle
        drawn = _column(bend * [1, 1, size], lean, scale)
        if abs(drawn.cobb - cobb) < 1e-3:
            break
        size *= cobb / drawn.cobb
    return drawn


def _bend(chance: Chance) -> Bend:
    """Sideways bumps of a patient: one (thoracic, thoracolumbar or lumbar) or two to opposite sides."""
    rng = chance.patient("curve")
    side = rng.choice([-1.0, 1.0])
    if rng.random() < 0.55:
        return np.array([[rng.uniform(0.3, 0.78), rng.uniform(0.125, 0.155), side]])
    upper, lower = rng.uniform(0.26, 0.36), rng.uniform(0.66, 0.76)
    balance = rng.uniform(0.7, 1.4)
    return np.array([[upper, rng.uniform(0.105, 0.125), side], [lower, rng.uniform(0.105, 0.125), -side * balance]])


def _tilt(bend: Bend, s: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Direction of the column in radians (0 = straight down) at arc length s: the slope of Gaussian bumps."""
    z = (s[:, None] - bend[:, 0]) / bend[:, 1]
    tilt: Bend = -(z * np.exp(0.5 - z**2 / 2) * bend[:, 2]).sum(1)
    return tilt


def _swing(bend: Bend) -> float:
    tilt = _tilt(bend, np.linspace(0, 1, 60))
    return float(tilt.max() - tilt.min())


def _column(bend: Bend, lean: float, scale: float) -> Column:
    middles, widths, heights = _levels(scale)
    s = np.linspace(middles[0] - 0.05, 1.02, 500)
    tilt = _tilt(bend, s) + lean
    step = np.stack([np.sin(tilt), np.cos(tilt)], 1) * (s[1] - s[0])
    path = np.cumsum(step, axis=0)
    path -= [np.interp(1.0, s, path[:, 0]), np.interp(1.0, s, path[:, 1]) - 1]  # L5's lower end plate stays where it is
    centers = np.stack([np.interp(middles, s, path[:, 0]), np.interp(middles, s, path[:, 1])], 1)
    own = _tilt(bend, middles) + lean
    ends = [_WEDGE * (_tilt(bend, middles + k * heights / 2) + lean - own) + own for k in (-1, 1)]
    plates = [_plate(centers, own, edge, widths, k * heights / 2) for k, edge in zip((-1, 1), ends, strict=True)]
    aside = centers[:, 0] - np.sin(lean) * (middles - 1)
    return Column(np.concatenate(plates, axis=1), np.clip(-5.0 * aside, -0.5, 0.5))


def _levels(scale: float) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Arc length of the centers, widths and heights of C6 to L5."""
    total = HEIGHT.sum() + GAP.sum()
    tops = np.concatenate([[0.0], np.cumsum(HEIGHT[:-1] + GAP)]) / total
    heights = np.concatenate([[0.026, 0.027], HEIGHT / total])
    middles = np.concatenate([[-0.064, -0.026], tops + HEIGHT / total / 2])
    return middles, np.concatenate([[0.062, 0.07], WIDTH]) * scale, heights


def _plate(
    centers: Float[np.ndarray, "n 2"],
    own: Float[np.ndarray, "n"],
    edge: Float[np.ndarray, "n"],
    widths: Float[np.ndarray, "n"],
    down: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n 2 2"]:
    """Left and right end of the end plates that lie `down` below the centers."""
    middle = centers + down[:, None] * np.stack([np.sin(own), np.cos(own)], 1)
    half = np.stack([np.cos(edge), -np.sin(edge)], 1) * widths[:, None] / 2
    return np.stack([middle - half, middle + half], 1)
