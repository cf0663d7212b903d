"""One film by its id, drawn from the front or from the side, with its corner points, spacing, and the fixed box.

A film's id says everything about its body, pose, exposure and noise. Only the column and what hangs on it depend on the
angle or the slip that one asks for.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from xai_bench.errors import BadInput
from xai_bench.phantom import front, side
from xai_bench.phantom.canvas import Canvas
from xai_bench.phantom.chance import Chance
from xai_bench.phantom.marker import Box
from xai_bench.phantom.side_spine import SideColumn, side_column
from xai_bench.phantom.spine import Column, column
from xai_bench.phantom.thorax import REACH

View = Literal["ap", "lateral"]
SHAPE = (224, 176)
_SIDE_REACH = 0.42  # from the mid line to the farthest end plate or spinous process at the largest slip, body units
_MARGIN = 0.014  # blurs, in film heights


@dataclass(frozen=True)
class Film:
    """A drawn film (0 to 255), its vertebrae's corners in film pixels, top first, and (row, column) mm a pixel."""

    image: UInt8[np.ndarray, "h w"]
    corners: Float[np.ndarray, "vertebrae 4 2"]
    spacing_mm: tuple[float, float]


def film_id(number: int) -> str:
    """The id of a film; its first five digits are the patient's.

    >>> film_id(120), number_of("phantom-000120")
    ('phantom-000120', 120)
    """
    return f"phantom-{number:06d}"


def number_of(picture: str) -> int:
    """The number in a film's id. Raises BadInput for anything else."""
    head, _, digits = picture.rpartition("-")
    if head != "phantom" or len(digits) != 6 or not (digits.isascii() and digits.isdigit()):
        raise BadInput(
            f"{picture!r} is not a phantom's id; expected 'phantom-' and six digits, such as 'phantom-000120'."
        )
    return int(digits)


def draw_ap(picture: str, cobb: float, *, seed: int = 0, shape: tuple[int, int] = SHAPE) -> Film:
    """A film from the front: T1 to L5 with a largest Cobb angle of `cobb` degrees (0 to 60), `shape` = (height, width).

    >>> film = draw_ap("phantom-000120", 30.0, shape=(96, 76))
    >>> film.image.shape, film.corners.shape
    ((96, 76), (17, 4, 2))
    """
    chance = Chance(seed, number_of(picture))
    bent, canvas = column(chance, cobb), front.front_canvas(chance, shape)
    image = front.front_image(chance, shape, bent)
    return Film(image, canvas.to_film(bent.corners), spacing_mm("ap", chance, shape))


def draw_lateral(picture: str, slip: float, *, seed: int = 0, shape: tuple[int, int] = SHAPE) -> Film:
    """A film from the side, facing left: L1 to S1 with a slip of `slip` percent (0 to 50) of L4 or L5."""
    chance = Chance(seed, number_of(picture))
    slid, canvas = side_column(chance, slip), side.side_canvas(chance, shape)
    image = side.side_image(chance, shape, slid)
    return Film(image, canvas.to_film(slid.corners), spacing_mm("lateral", chance, shape))


def canvas_of(view: View, chance: Chance, shape: tuple[int, int]) -> Canvas:
    """Where the patient stands on the film."""
    return front.front_canvas(chance, shape) if view == "ap" else side.side_canvas(chance, shape)


def film_corners(
    view: View, chance: Chance, shape: tuple[int, int], amount: float
) -> tuple[Float[np.ndarray, "v 4 2"], Column | SideColumn]:
    """Corner points in film pixels without drawing the film, and the column they belong to."""
    drawn = column(chance, amount) if view == "ap" else side_column(chance, amount)
    return canvas_of(view, chance, shape).to_film(drawn.corners), drawn


def spacing_mm(view: View, chance: Chance, shape: tuple[int, int]) -> tuple[float, float]:
    """(row, column) millimeters a pixel: a patient's T1 to L5 are 380 to 450 mm, L1 to L5 165 to 190 mm long."""
    long = chance.patient("stature").uniform(0, 1)
    column_mm = 380 + 70 * long if view == "ap" else 165 + 25 * long
    pixel = float(column_mm / (canvas_of(view, chance, shape).length * shape[0]))
    return pixel, pixel


def fixed_box(view: View, shape: tuple[int, int] = SHAPE) -> Box:
    """One rectangle (top, bottom, left, right; ends excluded) that holds all that can move with the column on any film.

    It holds the column, the ribs' moving parts and whatever their blur touches, at every angle (0 to 60 degrees) or
    slip (0 to 50 percent) and wherever the patient stands. Outside of it two films of one id are equal; markers stand
    there.

    >>> fixed_box("ap", (224, 176))
    (0, 224, 19, 157)
    """
    if view == "ap":
        half = front.OFF_CENTER + REACH * front.LENGTH[1]
    else:
        half = side.OFF_CENTER + _SIDE_REACH * side.LENGTH[1]
    height, width = shape
    reach = (half + _MARGIN) * height
    return 0, height, max(0, int(width / 2 - reach)), min(width, int(np.ceil(width / 2 + reach)))
