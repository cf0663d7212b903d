"""A film from the side (lateral): a lumbar column with a given slip among bowel, ribs, ilium and sacrum."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8

from xai_bench.phantom.canvas import Canvas, Layer, smooth
from xai_bench.phantom.chance import Chance
from xai_bench.phantom.exposure import expose
from xai_bench.phantom.side_spine import SideColumn
from xai_bench.phantom.tissue import colon
from xai_bench.phantom.vertebrae import bodies, place

OFF_CENTER = 0.035
"""Largest distance of the column's frame from the film's center, in film heights."""
LENGTH = (0.56, 0.63)
"""Length of L1 to L5 in film heights."""
_PEDICLE = smooth([(0.9, -0.75), (1.4, -0.62), (1.45, -0.1), (0.9, 0.0), (0.9, -0.75)], 24)
_SUPERIOR = smooth([(1.25, -0.4), (1.3, -1.15), (1.5, -1.3), (1.72, -0.7), (1.6, -0.2), (1.25, -0.4)], 26)
_INFERIOR = smooth([(1.35, -0.3), (1.8, -0.2), (1.95, 0.7), (1.8, 1.45), (1.58, 1.3), (1.5, 0.4), (1.35, -0.3)], 30)
_SPINOUS = smooth([(1.75, -0.1), (2.4, 0.2), (3.15, 0.45), (3.2, 1.15), (2.6, 1.15), (1.85, 0.7), (1.75, -0.1)], 34)


def side_canvas(chance: Chance, shape: tuple[int, int]) -> Canvas:
    """Where the patient stands on a film of (height, width) pixels."""
    rng = chance.film("framing")
    middle = 0.5 * shape[1] / shape[0] + rng.uniform(-OFF_CENTER, OFF_CENTER)
    length = rng.uniform(*LENGTH)
    return Canvas(*shape, middle, rng.uniform(0.13, 0.93 - 1.2 * length), length, 2 * max(1, round(210 / shape[0])))


def side_image(chance: Chance, shape: tuple[int, int], column: SideColumn) -> UInt8[np.ndarray, "height width"]:
    """The film without a side marker."""
    fine = side_canvas(chance, shape)
    canvas = replace(fine, oversample=fine.oversample // 2)
    rng = chance.patient("density")
    bones = fine.reduce(_bones(fine, chance, column), 2) * (1 + 0.08 * canvas.cloud(rng, 0.018, octaves=2))
    return expose(canvas, chance, _tissue(canvas, chance) + rng.uniform(0.85, 1.15) * bones)


def _bones(canvas: Canvas, chance: Chance, column: SideColumn) -> Layer:
    trunk = column.all_corners[:-1]
    spine = 0.36 * bodies(canvas, trunk) + 0.3 * canvas.blur(_filled(canvas, trunk), 0.004)
    arches = 0.17 * _arches(canvas, column.rear[:-1])
    bones = canvas.blur(spine + arches + _sacrum(canvas, column.all_corners[-1]) + _ribs(canvas, chance), 0.0028)
    total: Layer = bones + canvas.blur(_ilium(canvas, chance), 0.006)
    return total


def _filled(canvas: Canvas, quads: Float[np.ndarray, "v 4 2"]) -> Layer:
    layer = canvas.blank()
    canvas.fill(layer, quads[:, [0, 1, 3, 2]], 1.0)
    return layer


def _arches(canvas: Canvas, quads: Float[np.ndarray, "v 4 2"]) -> Layer:
    total = canvas.blank()
    for shape, value in ((_SPINOUS, 0.85), (_INFERIOR, 0.9), (_SUPERIOR, 0.8), (_PEDICLE, 1.1)):
        layer = canvas.blank()
        outlines = place(quads, shape)
        canvas.fill(layer, outlines, 0.75 * value)
        canvas.ribbon(layer, outlines, 0.004, value)
        total += layer
    return total


def _sacrum(canvas: Canvas, top: Float[np.ndarray, "4 2"]) -> Layer:
    """S1 and what follows it, bending backwards; its upper end plate is bright."""
    layer = canvas.blank()
    front, rear = (
        [(-1, -1), (-0.86, 0.2), (-0.55, 1.6), (0.1, 3.6), (0.4, 6.0)],
        [(1.5, 5.6), (1.7, 3.2), (1.6, 1.4), (1.2, 0.0), (1, -1)],
    )
    outline = place(top[None], smooth([*front, *rear, (-1, -1)], 60))
    canvas.fill(layer, outline, 0.3)
    canvas.ribbon(layer, outline[:, 1:], 0.004, 0.46)
    for b in (1.0, 2.7):
        canvas.ribbon(
            layer, place(top[None], np.array([[-0.7 + 0.24 * b, b], [0.3, b - 0.06], [1.2, b - 0.15]])), 0.004, 0.46
        )
    canvas.ribbon(layer, place(top[None], np.array([[-0.98, -0.96], [0.0, -0.9], [0.98, -0.96]])), 0.006, 0.7)
    return layer


def _ribs(canvas: Canvas, chance: Chance) -> Layer:
    """The last ribs of both sides, thin and fixed to the trunk's wall: they do not follow a slip."""
    rng, layer = chance.patient("side ribs"), canvas.blank()
    y = rng.uniform(-0.2, -0.05, 4)[:, None]
    far, drop = rng.uniform(0.3, 0.65, 4)[:, None], rng.uniform(0.1, 0.3, 4)[:, None]
    t = np.linspace(0, 1, 14)
    paths = np.stack([0.3 - far * t, y + np.array([-0.2, -0.06, -0.16, -0.02])[:, None] + drop * t**1.4], -1)
    canvas.ribbon(layer, paths, 0.014 * (1 - 0.4 * t), 0.1)
    canvas.ribbon(layer, paths, 0.007 * (1 - 0.4 * t), 0.055)
    return layer


def _ilium(canvas: Canvas, chance: Chance) -> Layer:
    """Two iliac wings, not quite on top of each other."""
    rng, total = chance.film("ilium"), canvas.blank()
    for _ in range(2):
        dx, dy = rng.normal(0, 0.02, 2)
        wing = [(-0.32, 1.5), (-0.24, 1.22), (-0.1, 1.04), (0.08, 0.94), (0.27, 0.97), (0.36, 1.12), (0.3, 1.5)]
        path, layer = smooth([(a + dx, b + dy) for a, b in wing], 50), canvas.blank()
        canvas.fill(layer, path, 0.13)
        canvas.ribbon(layer, path, 0.007, 0.24)
        total += layer
    return total


def _tissue(canvas: Canvas, chance: Chance) -> Layer:
    """Trunk with its back to the right, lung above, bowel gas in front."""
    rng, (x, y) = chance.patient("side trunk"), canvas.axes()
    back = (
        0.5
        + rng.uniform(-0.02, 0.06)
        - 0.07 * np.sin(np.clip((y + 0.2) * 2.2, -1, 3.0))
        + 0.16 * np.clip(y - 0.95, 0, 1)
    )
    front = -0.95 - rng.uniform(0, 0.2)
    depth = np.clip(1 - np.abs((x - (back + front) / 2) / ((back - front) / 2)) ** 3, 0, 1) ** 0.55
    muscle = 0.25 * np.exp(-(((x - 0.22) / 0.2) ** 2))
    trunk = (rng.uniform(1.25, 1.5) + muscle + 0.25 * np.clip((y - 0.8) / 0.5, 0, 1)) * depth
    cloud = 0.04 * canvas.cloud(chance.film("fat"), 0.16, octaves=2)
    total: Layer = trunk.astype(np.float32) * (1 + cloud) - _lung(canvas, chance) - _gas(canvas, chance)
    return total


def _lung(canvas: Canvas, chance: Chance) -> Layer:
    rng, layer = chance.film("breath"), canvas.blank()
    low = rng.uniform(-0.28, -0.08)
    edge = [
        (-1.2, low - 0.3),
        (-0.7, low - 0.22),
        (-0.2, low - 0.06),
        (0.2, low + 0.08),
        (0.34, low + 0.16),
        (0.4, low - 0.1),
        (0.4, -1.2),
        (-1.2, -1.2),
    ]
    canvas.fill(layer, smooth(edge, 60), rng.uniform(0.25, 0.5))
    return canvas.blur(layer, 0.012)


def _gas(canvas: Canvas, chance: Chance) -> Layer:
    rng, layer = chance.film("gas"), canvas.blank()
    for _ in range(rng.integers(2, 6)):
        chain = colon(rng, rng.uniform([-0.7, 0.05], [-0.25, 1.1]), rng.uniform(0.018, 0.045))
        canvas.fill(layer, chain, rng.uniform(0.15, 0.45))
    x, _ = canvas.axes()
    stool = np.clip(canvas.cloud(rng, 0.05, octaves=2) * canvas.cloud(rng, 0.2) - 0.2, 0, 1.5)
    layer += 0.13 * stool * np.clip((-0.2 - x) / 0.1, 0, 1)
    return canvas.blur(layer, 0.01)
