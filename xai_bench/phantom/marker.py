"""Side markers, stamped on a finished film beside the box that holds the column: twins differ in nothing else."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from xai_bench.errors import BadInput
from xai_bench.phantom.canvas import ellipse, smooth
from xai_bench.phantom.chance import Chance

Style = Literal["disc", "plate"]
Box = tuple[int, int, int, int]  # top, bottom, left, right; the ends are not included
_FINE = 8
_GRAY = {"disc": (245, 12), "plate": (12, 245)}  # ground and letter
_L = np.array([(-0.45, -0.62), (-0.14, -0.62), (-0.14, 0.34), (0.46, 0.34), (0.46, 0.62), (-0.45, 0.62)])
_R_STEM = np.array([(-0.46, -0.62), (-0.17, -0.62), (-0.17, 0.62), (-0.46, 0.62)])
_R_BOWL = np.array([(-0.46, -0.62), (0.15, -0.62), (0.45, -0.45), (0.45, -0.08), (0.15, 0.1), (-0.46, 0.1)])
_R_HOLE = np.array([(-0.17, -0.4), (0.08, -0.4), (0.17, -0.3), (0.17, -0.22), (0.08, -0.12), (-0.17, -0.12)])
_R_LEG = np.array([(-0.1, 0.08), (0.22, 0.08), (0.5, 0.62), (0.16, 0.62)])


@dataclass(frozen=True)
class Marker:
    """How side markers relate to the class.

    A marker is a bright disc with a dark letter or a dark plate with a bright one. `random`: the style tells nothing.
    `leaking`: films with a finding have the disc and normal films the plate, with probability `leak`. `wrong`: always
    the other class's style. `none`: no marker. `size` is the marker's diameter as a share of the film's width.
    """

    mode: Literal["random", "leaking", "wrong", "none"] = "random"
    leak: float = 0.95
    size: float = 0.09

    def __post_init__(self) -> None:
        if not 0.5 <= self.leak <= 1:
            raise BadInput(f"Marker(leak={self.leak}): expected 0.5 (tells nothing) to 1 (tells the class).")
        if not 0.04 <= self.size <= 0.12:
            raise BadInput(f"Marker(size={self.size}): expected 0.04 to 0.12 of the film's width.")

    def style(self, chance: Chance, finding: bool) -> Style | None:
        """What a film of this class gets; the same draw decides in every mode."""
        if self.mode == "none":
            return None
        u, own = chance.film("marker style").random(), finding
        if self.mode == "random":
            own = u < 0.5
        elif self.mode == "wrong" or u >= self.leak:
            own = not finding
        return "disc" if own else "plate"


def stamp(
    film: UInt8[np.ndarray, "h w"], chance: Chance, style: Style, size: float, box: Box
) -> tuple[UInt8[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """The film with a marker in a corner beside the box, and its pixels; place and letter are the film's own."""
    cover, letter, mask = _shapes(chance, style, round(size * film.shape[1]))
    top, left = _corner(chance, film.shape, cover.shape[0], box)
    window = np.s_[top : top + cover.shape[0], left : left + cover.shape[1]]
    ground, ink = _GRAY[style]
    stamped, marked = film.copy(), np.zeros(film.shape, np.bool_)
    shown = film[window] * (1 - cover) + cover * (ground * (1 - letter) + ink * letter)
    stamped[window], marked[window] = np.rint(shown), mask
    return stamped, marked


def marker_mask(chance: Chance, style: Style, size: float, shape: tuple[int, int], box: Box) -> Bool[np.ndarray, "h w"]:
    """The pixels that `stamp` would change, without a film."""
    return stamp(np.zeros(shape, np.uint8), chance, style, size, box)[1]


def _corner(chance: Chance, shape: tuple[int, int], side: int, box: Box) -> tuple[int, int]:
    """Top left pixel of the marker: any of the four corners, in the strips that the box leaves free."""
    rng, (height, width) = chance.film("marker place"), shape
    left_strip, right_strip = (0, box[2] - side), (box[3], width - side)
    if left_strip[1] < 0 or right_strip[0] > right_strip[1]:
        raise BadInput(
            f"a marker of {side} pixels does not fit beside the column on a film {width} pixels wide; widen the film."
        )
    low, high = left_strip if _on_left(chance) else right_strip
    top = rng.uniform(0.02, 0.2) if rng.random() < 0.5 else rng.uniform(0.72, 0.97 - side / height)
    return round(top * height), int(rng.integers(low, high + 1))


def _on_left(chance: Chance) -> bool:
    return bool(chance.film("marker side").random() < 0.5)


def _shapes(
    chance: Chance, style: Style, side: int
) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"], Bool[np.ndarray, "s s"]]:
    """How much of each pixel the marker and its letter cover, and which pixels are the marker's."""
    outline = ellipse([0.0, 0.0], [1.0, 1.0]) if style == "disc" else np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    outline = smooth(outline, 60) if style == "disc" else outline
    cover = _drawn(side, [(outline, 1.0)])
    # Seen from the front the patient's right is on the film's left.
    right = [(_R_STEM, 1.0), (_R_BOWL, 1.0), (_R_HOLE, 0.0), (_R_LEG, 1.0)]
    letter = _drawn(side, right if _on_left(chance) else [(_L, 1.0)])
    return cover, letter, cover > 0.5


def _drawn(side: int, polygons: list[tuple[Float[np.ndarray, "n 2"], float]]) -> Float[np.ndarray, "s s"]:
    import cv2

    layer = np.zeros((side * _FINE, side * _FINE), np.float32)
    for points, value in polygons:
        pixels = np.rint(((points + 1) / 2 * side * _FINE - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(layer, [pixels], value, shift=4)
    cover: Float[np.ndarray, "s s"] = layer.reshape(side, _FINE, side, _FINE).mean((1, 3)).astype(np.float64)
    return cover
