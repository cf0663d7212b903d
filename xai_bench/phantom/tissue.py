"""What is not bone on a film from the front: outline, lungs with vessels, heart, diaphragm, breasts, bowel gas."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from xai_bench.phantom.canvas import Canvas, Layer, Paths, ellipse, smooth
from xai_bench.phantom.chance import Chance
from xai_bench.phantom.thorax import chest_width

_COARSE = 2
_VESSELS = 60
_LEVELS = [-0.3, -0.06, 0.0, 0.06, 0.16, 0.3, 0.5, 0.72, 0.9, 1.1]
_DEPTHS = [0.75, 0.75, 0.85, 1.0, 1.2, 1.4, 1.6, 1.7, 1.75, 1.92]


def soft_tissue(canvas: Canvas, chance: Chance) -> Layer:
    """Attenuation of a front view without bone and without the column."""
    # A patient who stands turned a little shows heart and lungs shifted against the column.
    turned = replace(canvas, middle=canvas.middle + canvas.length * float(chance.film("turn").normal(0, 0.02)))
    lungs = lung_masks(turned, chance)
    chest = (_vessels(turned, chance) - _lung_depth(turned, chance)) * lungs + _heart(turned, chance)
    total: Layer = canvas.upsample(_trunk(canvas, chance), _COARSE) + chest - _gas(canvas, chance)
    return total


def _trunk(canvas: Canvas, chance: Chance) -> Layer:
    """Elliptic cross sections whose width and depth change from neck to hips."""
    rng, wide = chance.patient("trunk"), chest_width(chance)
    depth, waist = rng.uniform(0.9, 1.1), rng.uniform(0.86, 1.0)
    x, y = canvas.axes(_COARSE)
    widths = [0.12, 0.135, 0.27, 0.5, 0.56, wide + 0.1, wide + 0.06, waist * wide + 0.05, wide + 0.06, wide + 0.12]
    half = np.interp(y, _LEVELS, widths)
    thick = np.interp(y, _LEVELS, _DEPTHS) * depth
    r = np.abs(x) / half
    profile: Layer = (thick * np.clip(1 - np.clip(r, 0, 1) ** 4, 0, 1) ** 0.6).astype(np.float32)
    fat = canvas.cloud(rng, 0.15)[::_COARSE, ::_COARSE]
    return profile * (1 + 0.03 * fat[: profile.shape[0], : profile.shape[1]])


def lung_masks(canvas: Canvas, chance: Chance) -> Layer:
    """1 in the lungs; the domes' height belongs to the film (breathing), the rest to the patient."""
    rng, wide = chance.patient("lungs"), chest_width(chance) - 0.015
    dome = chance.film("breath").uniform(0.43, 0.52)
    layer, lower = canvas.blank(), rng.uniform(0.01, 0.035)
    for side, base in ((-1.0, dome), (1.0, dome + lower)):
        inner = 0.042 if side < 0 else 0.05
        outline = [
            (inner + 0.02, 0.03), (0.12, 0.008), (0.66 * wide, 0.06), (0.9 * wide, 0.17), (wide, 0.32),
            (wide, base + 0.07),
            (0.97 * wide, base + 0.12), (0.85 * wide, base + 0.045), (0.5 * wide, base), (inner + 0.03, base + 0.035),
            (inner, 0.36), (inner, 0.2), (inner + 0.02, 0.03),
        ]  # fmt: skip
        canvas.fill(layer, smooth(outline, 90) * [side, 1], 1.0)
    middle = canvas.blank()
    between = [(-0.075, 0.06), (0.075, 0.06), (0.085, 0.3), (0.06, dome), (-0.06, dome), (-0.08, 0.3), (-0.075, 0.06)]
    canvas.fill(middle, smooth(between, 50), rng.uniform(0.3, 0.55))  # lung in front of and behind the great vessels
    masks: Layer = np.maximum(canvas.blur(layer, 0.005), canvas.blur(middle, 0.012))
    return masks


def _lung_depth(canvas: Canvas, chance: Chance) -> Layer:
    """What the lungs' air takes away: most in the middle of each lung, less towards apex, base and edges."""
    rng, wide = chance.film("inspiration"), chest_width(chance)
    x, y = canvas.axes()
    across = 1 - 0.55 * np.clip(np.abs(np.abs(x) / wide - 0.5) * 1.6, 0, 1) ** 2.2
    air: Layer = (rng.uniform(0.72, 1.02) * across * np.interp(y, [0, 0.12, 0.4, 0.6], [0.72, 1, 1, 0.85])).astype(
        np.float32
    )
    return air


def _vessels(canvas: Canvas, chance: Chance) -> Layer:
    """Branching vessels from the hila, thinner and fainter outwards, on a fine mottle."""
    rng, layer = chance.patient("vessels"), canvas.blank()
    side, angle = rng.choice([-1.0, 1.0], (_VESSELS, 1)), rng.uniform(-1.45, 1.5, (_VESSELS, 1))
    start = np.stack([rng.uniform(0.055, 0.085, _VESSELS), rng.normal(0.24, 0.025, _VESSELS)], 1)[:, None]
    t = np.linspace(0, 1, 7)
    far, aside = rng.uniform(0.07, 0.21, (_VESSELS, 1)) * t, rng.normal(0, 0.025, (_VESSELS, 1)) * np.sin(np.pi * t)
    cos, sin = np.cos(angle), np.sin(angle)
    paths = start + np.stack([far * cos - aside * sin, far * sin + aside * cos], -1)
    canvas.ribbon(
        layer, paths * np.stack([side, np.ones_like(side)], -1), 0.005 * (1.15 - t), rng.uniform(0.08, 0.2, _VESSELS)
    )
    hila = canvas.blank()
    canvas.fill(hila, ellipse(np.array([[-0.075, 0.245], [0.075, 0.245]]), [0.022, 0.05], np.array([0.3, -0.3])), 0.25)
    mottle = canvas.cloud(chance.film("mottle"), 0.03, octaves=2)
    vessels: Layer = canvas.blur(layer, 0.0032) + canvas.blur(hila, 0.012) + 0.03 * mottle
    return vessels


def _heart(canvas: Canvas, chance: Chance) -> Layer:
    """Mediastinum, aortic arch, heart (to the right of the film), windpipe."""
    rng, layer = chance.patient("heart"), canvas.blank()
    size, droop, dense = rng.uniform(0.85, 1.2), rng.uniform(-0.02, 0.03), rng.uniform(0.38, 0.64)
    y = 0.37 + droop
    heart = [
        (-0.075, y - 0.1),
        (-0.09 * size, y + 0.02),
        (-0.06, y + 0.12),
        (0.06, y + 0.125),
        (0.17 * size, y + 0.1),
        (0.185 * size, y + 0.055),
        (0.14 * size, y - 0.03),
        (0.085, y - 0.1),
        (0.06, 0.2),
        (-0.06, 0.2),
        (-0.075, y - 0.1),
    ]
    canvas.fill(layer, smooth(heart, 70), dense)
    _, rows = canvas.axes()
    layer *= np.clip((rows - 0.1) / 0.17, 0, 1)  # thinner towards the great vessels
    upper, wind = canvas.blank(), canvas.blank()
    canvas.fill(upper, smooth([(-0.05, 0.02), (-0.058, 0.22), (0.058, 0.22), (0.05, 0.02), (-0.05, 0.02)]), 0.14)
    canvas.fill(upper, ellipse([0.05, 0.165], [0.034, 0.034]), 0.34)
    canvas.ribbon(wind, np.array([[0.0, -0.2], [0.0, 0.06], [-0.004, 0.16]]), np.array([0.018, 0.017, 0.008]), 0.26)
    heart_and_vessels: Layer = canvas.blur(layer + upper, 0.011) - canvas.blur(wind, 0.009)
    return heart_and_vessels


def _gas(canvas: Canvas, chance: Chance) -> Layer:
    """Stomach bubble, colon as chains of round blobs, and mottled stool."""
    rng, layer = chance.film("gas"), canvas.blank()
    if rng.random() < 0.7:
        center, radii = rng.uniform([0.11, 0.55], [0.18, 0.6]), rng.uniform([0.03, 0.02], [0.075, 0.045])
        bubble = ellipse(center, radii, rng.normal(0, 0.2))
        bubble[:, 1] = np.minimum(bubble[:, 1], center[1] + 0.014)  # standing: a level of fluid below the gas
        canvas.fill(layer, bubble, rng.uniform(0.3, 0.6))
    for _ in range(rng.integers(1, 5)):
        start = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.1, 0.24), rng.uniform(0.72, 1.0)])
        canvas.fill(layer, colon(rng, start, rng.uniform(0.014, 0.032)), rng.uniform(0.15, 0.5))
    x, y = canvas.axes()
    belly = np.clip((y - 0.68) / 0.1, 0, 1) * np.clip((1.08 - y) / 0.1, 0, 1) * np.clip((0.3 - np.abs(x)) / 0.06, 0, 1)
    stool = np.clip(canvas.cloud(rng, 0.035, octaves=2) * canvas.cloud(rng, 0.16) - 0.25, 0, 1.5)
    layer += 0.13 * belly * stool
    layer *= np.clip((chest_width(chance) - np.abs(x)) / 0.04, 0, 1)  # none in the wall of the belly
    return canvas.blur(layer, 0.006)


def colon(rng: np.random.Generator, start: Float[np.ndarray, "2"], size: float) -> Paths:
    """A winding chain of 2 to 7 gas-filled haustra, each about `size` (body units) in radius."""
    count = int(rng.integers(2, 8))
    way = rng.uniform(0, np.pi) + np.cumsum(rng.normal(0, 0.6, count))
    centers = np.cumsum(1.35 * size * np.stack([np.cos(way), np.sin(way)], 1), axis=0) + start
    return ellipse(centers, size * rng.uniform(0.7, 1.25, (count, 2)), way)
