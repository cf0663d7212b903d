"""Bones around the column on a film from the front: ribs that follow it, clavicles, shoulder blades, pelvis."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from xai_bench.phantom.canvas import Canvas, Layer, Paths, smooth
from xai_bench.phantom.chance import Chance
from xai_bench.phantom.spine import Column

REACH = 0.24
"""How far from the mid line (body units) the ribs still follow a bent column; farther out nothing moves."""
_SAMPLES = 26  # points along a rib


def chest_width(chance: Chance) -> float:
    """Half the width of a patient's rib cage in body units."""
    return float(chance.patient("chest").uniform(0.3, 0.345))


def ribs(canvas: Canvas, chance: Chance, bent: Column, straight: Column) -> Layer:
    """Rear arcs from vertebra to flank, and fainter front arcs back towards the mid line."""
    rng, wide = chance.patient("ribs"), chest_width(chance)
    slope, thick = rng.uniform(0.9, 1.15), rng.uniform(0.9, 1.1)
    taper = np.interp(np.arange(12), [8, 11], [1.0, 0.72])[:, None] * np.linspace(1.0, 0.85, _SAMPLES)
    rear, front = canvas.blank(), canvas.blank()
    for side in (-1, 1):
        heads = _heads(straight, side)
        paths = _rear(side, wide, slope, heads[:, 1])
        _tubes(canvas, rear, _follow(paths, heads, _heads(bent, side)), 0.0095 * thick * taper, 1.0)
        _tubes(canvas, front, _front(side, wide, slope, paths[1:9, -1]), 0.0115 * thick, 0.55)
    both: Layer = rear + front
    return both


def _heads(column: Column, side: int) -> Float[np.ndarray, "12 2"]:
    """Where ribs meet their vertebrae: on the side, a quarter of the way down."""
    top = 0 if side < 0 else 1
    heads: Float[np.ndarray, "12 2"] = 0.75 * column.corners[:12, top] + 0.25 * column.corners[:12, top + 2]
    return heads


def _rear(side: int, wide: float, slope: float, y: Float[np.ndarray, "12"]) -> Float[np.ndarray, "12 n 2"]:
    """Rear arcs on a straight column: up and out, then down along the flank; the last two end in the air."""
    k = np.arange(12)
    out = wide * np.interp(k, [0, 1, 3, 6, 9, 10, 11], [0.42, 0.68, 0.9, 1.0, 0.98, 0.8, 0.5])
    drop = slope * np.interp(k, [0, 1, 3, 7, 9, 10, 11], [0.035, 0.065, 0.1, 0.15, 0.18, 0.17, 0.14])
    across = np.array([0.1, 0.34, 0.66, 0.9, 1.0])
    down = np.where(k[:, None] < 10, [0.0, -0.06, 0.14, 0.5, 1.0], [0.0, 0.16, 0.5, 0.84, 1.0])
    return smooth(np.stack([side * across * out[:, None], y[:, None] + down * drop[:, None]], -1), _SAMPLES)


def _front(side: int, wide: float, slope: float, ends: Float[np.ndarray, "8 2"]) -> Float[np.ndarray, "8 n 2"]:
    """Front arcs of ribs 2 to 9, from the flank down and back towards the breastbone; the cartilage is not seen."""
    k = np.arange(1, 9)
    x, y = np.abs(ends[:, 0]), ends[:, 1]
    drop = slope * np.interp(k, [1, 4, 8], [0.05, 0.08, 0.05])
    inner = np.maximum(np.interp(k, [1, 4, 8], [0.3, 0.36, 0.62]) * wide, REACH / 2)
    xs = np.stack([x, 0.95 * x + 0.05 * inner, 0.55 * x + 0.45 * inner, inner], 1)
    ys = y[:, None] + drop[:, None] * [0.0, 0.4, 0.95, 1.02]
    return smooth(np.stack([side * xs, ys], -1), 20)


def _follow(
    paths: Float[np.ndarray, "12 n 2"], heads: Float[np.ndarray, "12 2"], moved: Float[np.ndarray, "12 2"]
) -> Float[np.ndarray, "12 n 2"]:
    """The paths with their starts at the moved rib heads; the shift fades to nothing at REACH."""
    x = np.abs(paths[..., 0])
    fade = np.clip((REACH - x) / (REACH - x[:, :1]), 0, 1) ** 1.5
    shifted: Float[np.ndarray, "12 n 2"] = paths + fade[..., None] * (moved - heads)[:, None]
    return shifted


def _tubes(canvas: Canvas, layer: Layer, paths: Paths, half: float | NDArray[np.float64], value: float) -> None:
    """Long bones: bright cortex, darker marrow."""
    canvas.ribbon(layer, paths, half, value)
    canvas.ribbon(layer, paths, 0.55 * half, 0.6 * value)


def girdle(canvas: Canvas, chance: Chance) -> Layer:
    """Clavicles and the inner borders of the shoulder blades."""
    rng, wide, layer = chance.film("shoulders"), chest_width(chance), canvas.blank()
    for side in (-1.0, 1.0):
        lift = rng.normal(0, 0.012)
        blade = [
            (0.62 * wide, 0.07),
            (0.74 * wide, 0.16),
            (0.86 * wide, 0.3),
            (1.0 * wide, 0.33),
            (1.12 * wide, 0.2),
            (1.2 * wide, 0.05),
        ]
        edge = smooth([(x, y + lift) for x, y in blade]) * [side, 1]
        canvas.fill(layer, edge, 0.22)
        canvas.ribbon(layer, edge[:22], 0.005, 0.5)
        clavicle = [(0.05, 0.1), (0.13, 0.072), (0.24, 0.04), (0.36, 0.028), (0.5, 0.0)]
        path = smooth([(x, y + lift * x / 0.2) for x, y in clavicle]) * [side, 1]
        _tubes(canvas, layer, path, 0.0135, 0.85)
    return layer


def pelvis(canvas: Canvas, chance: Chance) -> Layer:
    """Sacrum and the wings of the ilium, as far as the film shows them."""
    rng, layer = chance.patient("pelvis"), canvas.blank()
    wide, crest = rng.uniform(0.29, 0.34), rng.uniform(0.93, 0.99)
    sacrum = [
        (-0.125, 1.04),
        (-0.1, 1.01),
        (-0.055, 1.015),
        (0.055, 1.015),
        (0.1, 1.01),
        (0.125, 1.04),
        (0.1, 1.2),
        (0.0, 1.32),
        (-0.1, 1.2),
    ]
    for side in (-1.0, 1.0):
        wing = [
            (0.1, 1.06),
            (0.13, crest + 0.05),
            (0.2, crest),
            (0.27, crest + 0.01),
            (wide, crest + 0.08),
            (wide, 1.2),
            (0.2, 1.4),
            (0.1, 1.25),
        ]
        edge = smooth([*wing, wing[0]], 60) * [side, 1]
        canvas.fill(layer, edge, 0.6)
        canvas.ribbon(layer, edge[4:34], 0.006, 1.0)
    bone = canvas.blank()
    canvas.fill(bone, smooth([*sacrum, sacrum[0]], 60), 0.75)
    canvas.ribbon(bone, np.array([[-0.055, 1.018], [0.0, 1.024], [0.055, 1.018]]), 0.004, 1.1)
    for y in (1.07, 1.13, 1.18):
        hole = np.array([[0.07, y - 0.008], [0.055, y], [0.039, y + 0.012]])
        canvas.ribbon(bone, np.stack([hole, hole * [-1, 1]]), 0.007, 0.45)
    both: Layer = layer + bone
    return both
