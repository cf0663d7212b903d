"""A film from the front (AP): tissue, bones and a column with a given Cobb angle."""

from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from xai_bench.phantom.canvas import Canvas, Layer
from xai_bench.phantom.chance import Chance
from xai_bench.phantom.exposure import expose
from xai_bench.phantom.spine import Column, column
from xai_bench.phantom.thorax import girdle, pelvis, ribs
from xai_bench.phantom.tissue import soft_tissue
from xai_bench.phantom.vertebrae import bodies, column_soft, posterior

OFF_CENTER = 0.075
"""Largest distance of the mid line from the film's center, in film heights."""
LENGTH = (0.82, 0.9)
"""The column's length in film heights."""


def front_canvas(chance: Chance, shape: tuple[int, int]) -> Canvas:
    """Where the patient stands on a film of (height, width) pixels."""
    rng = chance.film("framing")
    middle = 0.5 * shape[1] / shape[0] + rng.uniform(-OFF_CENTER, OFF_CENTER)
    length = rng.uniform(*LENGTH)
    top = rng.uniform(0.025, 0.975 - length)
    return Canvas(*shape, middle, top, length, 2 * max(1, round(210 / shape[0])))


def front_image(chance: Chance, shape: tuple[int, int], bent: Column) -> UInt8[np.ndarray, "height width"]:
    """The film without a side marker."""
    fine = front_canvas(chance, shape)
    canvas = replace(fine, oversample=fine.oversample // 2)  # tissue is soft: half the bones' resolution is enough
    bones = fine.reduce(_bones(fine, chance, bent), 2)
    rng = chance.patient("density")
    bones *= rng.uniform(0.85, 1.15) * (1 + 0.06 * canvas.cloud(rng, 0.02, octaves=2))
    return expose(canvas, chance, soft_tissue(canvas, chance) + bones)


def _bones(canvas: Canvas, chance: Chance, bent: Column) -> Layer:
    _, y = canvas.axes()
    grade = np.interp(y, [0, 0.5, 0.8, 1.0], [0.2, 0.26, 0.34, 0.34]).astype(np.float32)
    spine = canvas.blur(bodies(canvas, bent.all_corners) + 0.85 * posterior(canvas, bent), 0.0013)
    soft = canvas.blur(column_soft(canvas, bent.all_corners), 0.0035)
    cage = canvas.blur(ribs(canvas, chance, bent, column(chance, 0.0)), 0.0015)
    cage *= np.interp(y, [0.1, 0.3, 0.5, 0.7], [0.26, 0.19, 0.17, 0.14]).astype(np.float32)
    frame = 0.2 * girdle(canvas, chance) + 0.36 * pelvis(canvas, chance)
    total: Layer = grade * spine + grade * soft + cage + canvas.blur(frame, 0.0022)
    return total
