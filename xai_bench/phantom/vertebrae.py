"""Vertebrae seen from the front: shapes in a vertebra's own coordinates, placed at every level of a column."""

import numpy as np
from jaxtyping import Float

from xai_bench.phantom.canvas import Canvas, Layer, Paths, ellipse
from xai_bench.phantom.spine import Column

_B = np.linspace(-1, 1, 9)
_WAIST = 0.12  # how far the sides of a body are drawn in at its middle
_RIGHT = np.stack([1 - _WAIST * (1 - _B**2), _B], 1)
_LEFT = (_RIGHT * [-1, 1])[::-1]
_PLATE = np.stack([_B * 0.97, np.zeros(9)], 1)


def place(quads: Float[np.ndarray, "v 4 2"], shapes: Float[np.ndarray, "*v n 2"]) -> Float[np.ndarray, "v n 2"]:
    """From vertebrae's own coordinates (-1 to 1, left to right and top to bottom) to where their corners lie."""
    a, b = (shapes[..., :1] + 1) / 2, (shapes[..., 1:] + 1) / 2
    top_left, top_right, bottom_left, bottom_right = np.moveaxis(quads[:, :, None], 1, 0)
    placed: Float[np.ndarray, "v n 2"]
    placed = (1 - b) * ((1 - a) * top_left + a * top_right) + b * ((1 - a) * bottom_left + a * bottom_right)
    return placed


def bodies(canvas: Canvas, quads: Float[np.ndarray, "v 4 2"]) -> Layer:
    """Bodies: a fill with brighter end plates (seen as thin ellipses) and walls."""
    layer = canvas.blank()
    high = np.hypot(*np.moveaxis(quads[:, 2] - quads[:, 0], 1, 0))[:, None]
    canvas.fill(layer, place(quads, np.concatenate([_RIGHT, _LEFT])), 0.3)
    for wall in (_RIGHT, _LEFT):
        canvas.ribbon(layer, place(quads, wall), 0.0022, 0.72)
    for end in (-1, 1):
        rim = _PLATE + np.stack([0 * _B, end * (0.95 - 0.13 * (1 - _B**2))], 1)
        canvas.ribbon(layer, place(quads, rim), 0.0016, 0.6)
        canvas.ribbon(layer, place(quads, _PLATE + np.array([0, end * 0.97])), np.maximum(0.002, 0.042 * high), 1.0)
    return layer


def column_soft(canvas: Canvas, quads: Float[np.ndarray, "v 4 2"]) -> Layer:
    """Discs and ligaments: the band that the bodies lie in."""
    layer = canvas.blank()
    left, right = (quads[:, [k, k + 2]].reshape(-1, 2) for k in (0, 1))
    canvas.fill(layer, np.concatenate([left, right[::-1]]), 1.0)
    return layer


def posterior(canvas: Canvas, column: Column) -> Layer:
    """What lies behind the bodies: transverse processes, laminae and facets, pedicles, spinous processes."""
    layer, quads, turn = canvas.blank(), column.all_corners, column.turn
    lumbar = np.clip((np.arange(len(quads)) - len(quads) + 7) / 3, 0, 1)  # 0 in the thoracic, 1 in the lumbar column
    aside = np.stack([turn, 0 * turn], 1)
    for side in (-1.0, 1.0):
        _process(canvas, layer, quads, lumbar, side)
        facet = np.stack([side * (0.42 + 0.08 * lumbar) + turn, 0.98 + 0 * turn], 1)
        canvas.fill(layer, place(quads, ellipse(facet, [0.15, 0.46], 0.22 * side)), 0.25 + 0.2 * lumbar)
    canvas.fill(layer, place(quads, ellipse(aside + np.array([0, 0.4]), [0.36, 0.34])), 0.15)
    for side in (-1.0, 1.0):
        pedicle = np.stack([side * (0.6 - 0.03 * lumbar) + 0.8 * turn, -0.25 + 0 * turn], 1)
        canvas.fill(layer, place(quads, ellipse(pedicle, [0.2, 0.48])), 1.0)
        canvas.fill(layer, place(quads, ellipse(pedicle, [0.11, 0.3])), 0.3)
    canvas.fill(layer, place(quads, ellipse(1.15 * aside + np.array([0, 0.62]), [0.105, 0.5])), 1.15)
    canvas.fill(layer, place(quads, ellipse(1.15 * aside + np.array([0, 0.58]), [0.045, 0.3])), 0.6)
    return layer


def _process(
    canvas: Canvas, layer: Layer, quads: Float[np.ndarray, "v 4 2"], lumbar: Float[np.ndarray, "v"], side: float
) -> None:
    """Transverse processes: short and rising in the thoracic, long in the lumbar column."""
    reach, rise = 1.5 + 0.22 * lumbar, -0.5 + 0.2 * lumbar
    x = np.stack([0.75 + 0 * reach, 1.15 + 0 * reach, reach], 1) * side
    y = np.stack([-0.15 + 0 * rise, rise + 0.08, rise], 1)
    paths: Paths = place(quads, np.stack([x, y], -1))
    canvas.ribbon(layer, paths, np.array([0.012, 0.008, 0.0085]), 0.45)
