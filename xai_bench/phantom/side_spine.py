"""The lumbar column seen from the side: T11 to S1, facing left, one vertebra slipped by a share that one sets.

Body units: L1 to L5 are about 1 long, x is 0 half way between the bodies' front and the spinous processes' tips.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from xai_bench.errors import BadInput
from xai_bench.geometry import slip as measured_slip
from xai_bench.phantom.chance import Chance

NAMES = ("L1", "L2", "L3", "L4", "L5", "S1")
MAX_SLIP = 50.0
_EXTRA = 2  # vertebrae drawn above L1, not part of the truth
_TILT = np.array(
    [-24, -23, -19, -12, -4, 8, 23, 40]
)  # degrees, T11 to S1: thoracolumbar kyphosis, lordosis, sacral slope
_DEPTH = np.array([0.178, 0.184, 0.19, 0.196, 0.202, 0.206, 0.208, 0.196])
_HEIGHT = np.array([0.128, 0.136, 0.146, 0.15, 0.153, 0.153, 0.15, 0.15])
_GAP = np.array([0.03, 0.036, 0.043, 0.052, 0.06, 0.066, 0.058])
_WEDGE = np.array([-2, -2.5, -1.5, -0.5, 0.5, 1.5, 4, 0])  # degrees between an end plate and the vertebra's own tilt

Corners = Float[np.ndarray, "vertebrae 4 2"]


@dataclass(frozen=True)
class SideColumn:
    """A drawn column: corners of T11, T12 and L1 to S1; which of L1 ... S1 has slipped; the slip as measured, percent.

    `rear` are the corners that the vertebral arches follow: in an isthmic slip (L5) the arch stays behind.
    """

    all_corners: Corners
    rear: Corners
    slipped: int

    @property
    def corners(self) -> Corners:
        """L1 to S1."""
        return self.all_corners[_EXTRA:]

    @property
    def slip(self) -> float:
        """Percent of the lower body's upper end plate, forward positive, measured on the corners."""
        return measured_slip(self.corners[self.slipped], self.corners[self.slipped + 1], "left")


def side_column(chance: Chance, slip: float) -> SideColumn:
    """A patient's lumbar column with a slip of `slip` percent (measured on its corners) of L4 or L5.

    Raises BadInput outside 0 to 50 percent.

    >>> round(side_column(Chance(0, 0), 20.0).slip, 6)
    20.0
    """
    if not 0 <= slip <= MAX_SLIP:
        raise BadInput(f"slip = {slip}: a phantom's slip is 0 to {MAX_SLIP:g} percent.")
    slipped = int(chance.patient("level").choice([3, 4]))
    straight, moved = (_shifted(_stack(chance, slipped, share), chance) for share in (0.0, slip / 100))
    rear = moved.copy()
    if NAMES[slipped] == "L5":
        rear[slipped + _EXTRA] = straight[slipped + _EXTRA]
    return SideColumn(moved, rear, slipped)


def _stack(chance: Chance, slipped: int, share: float) -> Corners:
    """Vertebrae put on one another from S1 upwards; each rear edge stands above the one below, but for small steps."""
    rng = chance.patient("side vertebrae")
    tilts = np.radians(_TILT * rng.uniform(0.8, 1.15) + chance.film("bow").normal(0, 1.2))
    wedge, depth = np.radians(_WEDGE), _DEPTH * rng.uniform(0.95, 1.05)
    steps = rng.uniform(-0.015, 0.015, len(tilts))
    steps[slipped + _EXTRA] = share
    quads = np.empty((len(tilts), 4, 2))
    foot = np.zeros(2)  # posterior-inferior corner of the next vertebra
    for i in reversed(range(len(tilts))):
        upper, lower = _backward(tilts[i] - wedge[i]), _backward(tilts[i] + wedge[i])
        middle = foot - lower * depth[i] / 2 + _upward(tilts[i]) * _HEIGHT[i]
        quads[i] = middle - upper * depth[i] / 2, middle + upper * depth[i] / 2, foot - lower * depth[i], foot
        if i:
            opening = depth[i] / 2 * np.tan(max(tilts[i] - wedge[i] - tilts[i - 1] - wedge[i - 1], 0.0))
            gap = max(_GAP[i - 1] - opening, 0.016)
            foot = quads[i, 1] + _upward(tilts[i] - wedge[i]) * gap - upper * depth[i] * steps[i - 1]
    return quads


def _shifted(quads: Corners, chance: Chance) -> Corners:
    """Moved so that the sacrum, which never slips, has its place on the film."""
    moved: Corners = quads - quads[-1, 1] + [0.07, 1.03] + chance.film("stance").normal(0, 0.006, 2)
    return moved


def _backward(tilt: float) -> Float[np.ndarray, "2"]:
    return np.array([np.cos(tilt), -np.sin(tilt)])


def _upward(tilt: float) -> Float[np.ndarray, "2"]:
    return np.array([-np.sin(tilt), -np.cos(tilt)])
