"""From attenuation to gray values: quantum noise, window, tone, the collimator's edge. None looks at the column."""

import numpy as np
from jaxtyping import Float, UInt8

from xai_bench.phantom.canvas import Canvas, Layer
from xai_bench.phantom.chance import Chance


def expose(canvas: Canvas, chance: Chance, attenuation: Layer) -> UInt8[np.ndarray, "height width"]:
    """A film of 0 to 255, bright = dense.

    Photons per pixel fall as exp(-attenuation), and the noise of -log(photons) is one over their square root (the
    normal limit of Poisson noise). Window and noise field are drawn from the film's own numbers, never measured on the
    picture: a change of the column changes no pixel elsewhere.
    """
    import cv2

    rng = chance.film("exposure")
    small = canvas.reduce(canvas.blur(attenuation, 0.0015), canvas.oversample)
    photons = np.exp(rng.uniform(np.log(6000), np.log(60000))) * np.exp(-small)
    quanta = rng.standard_normal(small.shape, np.float32)
    quanta = 0.75 * quanta + 0.25 * cv2.blur(quanta, (3, 3), borderType=cv2.BORDER_REPLICATE) * 3
    low, high, gamma = rng.uniform(0.1, 0.65), rng.uniform(2.1, 3.1), np.exp(rng.uniform(-0.3, 0.35))
    gray = (small + quanta / np.sqrt(photons) + _shading(canvas, rng) - low) / (high - low)
    gray = np.clip(gray, 0, 1.25) ** gamma
    gray = 1 - np.exp(-1.2 * gray**1.15)  # the toe and the shoulder of a film's tone curve
    film = gray / (1 - np.exp(-1.2 * 1.25**1.15)) * _shutter(canvas, chance)
    grays: UInt8[np.ndarray, "height width"] = np.clip(np.rint(film * 255), 0, 255).astype(np.uint8)
    return grays


def _shading(canvas: Canvas, rng: np.random.Generator) -> Float[np.ndarray, "height width"]:
    """Uneven exposure; a third of the films are stitched from two, and the seam shows."""
    x, y = np.linspace(-1, 1, canvas.width), np.linspace(-1, 1, canvas.height)[:, None]
    seam = np.clip((y - rng.uniform(-0.3, 0.3)) * canvas.height / 6, 0, 1) * (rng.random() < 0.33)
    shading: Float[np.ndarray, "height width"] = rng.normal(0, 0.05) * x + rng.normal(0, 0.05) * y
    return shading + rng.normal(0, 0.08) * seam


def _shutter(canvas: Canvas, chance: Chance) -> Layer:
    """1 inside the collimated field, nearly 0 outside; half of the films are cropped inside the field."""
    rng = chance.film("shutter")
    if rng.random() < 0.5:
        return np.ones((canvas.height, canvas.width), np.float32)
    x = (np.arange(canvas.width, dtype=np.float32) + 0.5)[None] / canvas.height
    y = (np.arange(canvas.height, dtype=np.float32) + 0.5)[:, None] / canvas.height
    tilt, aspect = rng.normal(0, 0.006), canvas.width / canvas.height
    edges = rng.uniform(0.0, 0.022, 4)
    inside = np.minimum(
        np.minimum(x - edges[0] + tilt * (y - 0.5), aspect - x - edges[1] - tilt * (y - 0.5)),
        np.minimum(y - edges[2] - tilt * (x - 0.4), 1 - y - edges[3] + tilt * (x - 0.4)),
    )
    open_field: Layer = (0.04 + 0.96 * np.clip(inside * canvas.height + 0.5, 0, 1)).astype(np.float32)
    return open_field
