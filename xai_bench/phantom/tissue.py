"""What is not bone on a film from the front: outline, lungs with vessels, heart, diaphragm, breasts, bowel gas."""

import numpy as np
from jaxtyping import Float32

from xai_bench.phantom.canvas import Canvas, Layer, Paths, ellipse, smooth
from xai_bench.phantom.chance import Chance
from xai_bench.phantom.thorax import chest_width

_COARSE = 2
_VESSELS = 60
_LEVELS = [-0.3, -0.06, 0.0, 0.06, 0.16, 0.3, 0.5, 0.72, 0.9, 1.1, 1.4]


def soft_tissue(canvas: Canvas, chance: Chance) -> Layer:
    """Attenuation of a front view without bone and without the column."""
    lungs = lung_masks(canvas, chance)
    total = canvas.upsample(_trunk(canvas, chance), _COARSE)
    air = _lung_depth(canvas, chance, lungs)
    return total - air + _vessels(canvas, chance) * lungs + _heart(canvas, chance) - _gas(canvas, chance)


def _trunk(canvas: Canvas, chance: Chance) -> Layer:
    """Elliptic cross sections whose width and depth change from neck to hips."""
    rng, wide = chance.patient("trunk"), chest_width(chance)
    depth, waist = rng.uniform(0.9, 1.1), rng.uniform(0.86, 1.0)
    x, y = canvas.axes(_COARSE)
    half = np.interp(y, _LEVELS, [0.12, 0.135, 0.27, 0.5, 0.56, wide + 0.1, wide + 0.06, waist * wide + 0.05, wide + 0.06, wide + 0.12, wide + 0.12])
    thick = np.interp(y, _LEVELS, [0.75, 0.75, 0.85, 1.0, 1.2, 1.4, 1.6, 1.7, 1.75, 1.9, 1.95]) * depth
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
            (inner + 0.02, 0.03), (0.12, 0.008), (0.66 * wide, 0.06), (0.9 * wide, 0.17), (wide, 0.32), (wide, base + 0.07),
            (0.97 * wide, base + 0.12), (0.85 * wide, base + 0.045), (0.5 * wide, base), (inner + 0.03, base + 0.035),
            (inner, 0.36), (inner, 0.2), (inner + 0.02, 0.03),
        ]  # fmt: skip
        canvas.fill(layer, smooth(outline, 90) * [side, 1], 1.0)
    middle = canvas.blank()
    canvas.fill(middle, smooth([(-0.075, 0.06), (0.075, 0.06), (0.085, 0.3), (0.06, dome), (-0.06, dome), (-0.08, 0.3), (-0.075, 0.06)], 50), 0.42)
    return np.maximum(canvas.blur(layer, 0.005), canvas.blur(middle, 0.012))


def _lung_depth(canvas: Canvas, chance: Chance, lungs: Layer) -> Layer:
    rng, wide = chance.film("inspiration"), chest_width(chance)
    x, y = canvas.axes()
    deep = (1 - 0.55 * np.clip(np.abs(np.abs(x) / wide - 0.5) * 1.6, 0, 1) ** 2.2) * np.interp(y, [0, 0.12, 0.4, 0.6], [0.72, 1, 1, 0.85])
    air: Layer = (rng.uniform(0.86, 1.0) * deep.astype(np.float32)) * lungs
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
    canvas.ribbon(layer, paths * np.stack([side, np.ones_like(side)], -1), 0.005 * (1.15 - t), rng.uniform(0.08, 0.2, _VESSELS))
    hila = canvas.blank()
    canvas.fill(hila, ellipse(np.array([[-0.075, 0.245], [0.075, 0.245]]), [0.022, 0.05], np.array([0.3, -0.3])), 0.25)
    mottle = canvas.cloud(chance.film("mottle"), 0.03, octaves=2)
    return canvas.blur(layer, 0.0032) + canvas.blur(hila, 0.012) + 0.03 * mottle


def _heart(canvas: Canvas, chance: Chance) -> Layer:
    """Mediastinum, aortic arch, heart (to the right of the film), windpipe."""
    rng, layer = chance.patient("heart"), canvas.blank()
    size, droop = rng.uniform(0.9, 1.15), rng.uniform(-0.01, 0.03)
    y = 0.37 + droop
    heart = [(-0.075, y - 0.1), (-0.09 * size, y + 0.02), (-0.06, y + 0.12), (0.06, y + 0.125), (0.17 * size, y + 0.1), (0.185 * size, y + 0.055), (0.14 * size, y - 0.03), (0.085, y - 0.1), (0.06, 0.2), (-0.06, 0.2), (-0.075, y - 0.1)]
    canvas.fill(layer, smooth(heart, 70), 0.5)
    canvas.fill(layer, ellipse([0.052, 0.16], [0.036, 0.035]), 0.3)
    vessels = [(-0.058, 0.02), (-0.055, 0.2), (0.055, 0.2), (0.055, 0.02), (-0.058, 0.02)]
    canvas.fill(layer, smooth(vessels, 40), 0.12)
    wind = canvas.blank()
    canvas.ribbon(wind, np.array([[0.0, -0.2], [0.002, 0.06], [-0.004, 0.17]]), 0.017, 0.3)
    soft: Layer = canvas.blur(layer, 0.011) - canvas.blur(wind, 0.005)
    return soft


def _gas(canvas: Canvas, chance: Chance) -> Layer:
    """Stomach bubble, colon as chains of round blobs, and mottled stool."""
    rng, layer = chance.film("gas"), canvas.blank()
    if rng.random() < 0.7:
        x, y, wide = rng.uniform(0.11, 0.18), rng.uniform(0.55, 0.6), rng.uniform(0.03, 0.075)
        bubble = ellipse([x, y], [wide, rng.uniform(0.02, 0.045)], rng.normal(0, 0.2))
        bubble[:, 1] = np.minimum(bubble[:, 1], y + 0.014)  # standing: a level of fluid below the gas
        canvas.fill(layer, bubble, rng.uniform(0.3, 0.6))
    for _ in range(rng.integers(1, 5)):
        canvas.fill(layer, _colon(rng), rng.uniform(0.15, 0.5))
    x, y = canvas.axes()
    belly = np.clip((y - 0.68) / 0.1, 0, 1) * np.clip((1.08 - y) / 0.1, 0, 1) * np.clip((0.3 - np.abs(x)) / 0.06, 0, 1)
    stool = np.clip(canvas.cloud(rng, 0.035, octaves=2) * canvas.cloud(rng, 0.16) - 0.25, 0, 1.5)
    mottled: Float32[np.ndarray, "h w"] = canvas.blur(layer, 0.0065) + (0.1 * belly * stool).astype(np.float32)
    return mottled


def _colon(rng: np.random.Generator) -> Paths:
    """A chain of gas-filled haustra in a flank."""
    count, size, side = rng.integers(2, 8), rng.uniform(0.014, 0.032), rng.choice([-1.0, 1.0])
    way = rng.uniform(0, np.pi) + np.cumsum(rng.normal(0, 0.6, count))
    steps = 1.35 * size * np.stack([np.cos(way), np.sin(way)], 1)
    centers = [side * rng.uniform(0.1, 0.27), rng.uniform(0.72, 1.0)] + np.cumsum(steps, axis=0)
    return ellipse(centers, size * rng.uniform(0.7, 1.25, (count, 2)), way)
