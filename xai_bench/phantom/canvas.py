"""A supersampled drawing surface in body units: polygons, ribbons, blurs and smooth noise, all on float32 arrays."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray

Layer = Float32[np.ndarray, "h w"]
Paths = Float[np.ndarray, "*batch n 2"]
_SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
_ROUND = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_COS, _SIN = np.cos(_ROUND), np.sin(_ROUND)


@dataclass(frozen=True)
class Canvas:
    """Where the body lies on the film.

    Points are (x, y) in body units: x from the mid line (to the right), y down from the column's top, 1 = the column's
    length. `middle` and `top` place that origin, `length` is the unit, all three in film heights. `height` and `width`
    are the film's pixels; layers have `oversample` times as many each way.
    """

    height: int
    width: int
    middle: float
    top: float
    length: float
    oversample: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a layer."""
        return self.height * self.oversample, self.width * self.oversample

    @property
    def unit(self) -> float:
        """Layer pixels in one body unit."""
        return self.length * self.height * self.oversample

    def blank(self) -> Layer:
        """An empty layer."""
        return np.zeros(self.shape, np.float32)

    def to_film(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Body units to film pixels, where pixel (c, r) covers [c, c + 1) x [r, r + 1)."""
        scale = self.length * self.height
        return np.stack(
            [
                self.middle * self.height + points[..., 0] * scale,
                self.top * self.height + points[..., 1] * scale,
            ],
            -1,
        )

    def reduce(self, layer: Layer, factor: int) -> Layer:
        """A layer with `factor` times fewer rows and columns; each pixel is the mean of what it covers."""
        import cv2

        small: Layer = cv2.resize(
            layer, (layer.shape[1] // factor, layer.shape[0] // factor), interpolation=cv2.INTER_AREA
        )
        return small

    def axes(self, coarse: int = 1) -> tuple[Float32[np.ndarray, "1 w"], Float32[np.ndarray, "h 1"]]:
        """Body coordinates of the columns and of the rows of a layer that is `coarse` times smaller."""
        rows, columns = (-(-n // coarse) for n in self.shape)
        x = ((np.arange(columns) + 0.5) * coarse / self.shape[0] - self.middle) / self.length
        y = ((np.arange(rows) + 0.5) * coarse / self.shape[0] - self.top) / self.length
        return x[None].astype(np.float32), y[:, None].astype(np.float32)

    def upsample(self, small: Layer, coarse: int) -> Layer:
        """A coarse layer (see `axes`) at full size."""
        import cv2

        rows, columns = small.shape[0] * coarse, small.shape[1] * coarse
        large: Layer = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)
        return large[: self.shape[0], : self.shape[1]]

    def fill(self, layer: Layer, polygons: Paths, value: float | NDArray[np.float64]) -> None:
        """Set the inside of polygons, one after the other; each may have its own value."""
        import cv2

        fixed_point = np.rint((self.to_film(polygons) * self.oversample - 0.5) * (1 << _SHIFT))
        pixels = fixed_point.astype(np.int32, order="C")
        values = np.broadcast_to(np.asarray(value, float), pixels.shape[:-2]).ravel().tolist()
        for outline, gray in zip(pixels.reshape(-1, *pixels.shape[-2:]), values, strict=True):
            cv2.fillPoly(layer, [outline], gray, shift=_SHIFT)

    def ribbon(
        self, layer: Layer, paths: Paths, half_width: float | NDArray[np.float64], value: float | NDArray[np.float64]
    ) -> None:
        """Set bands along paths; the half width may change from path to path and along them."""
        along = np.empty_like(paths)
        along[..., 1:-1, :] = paths[..., 2:, :] - paths[..., :-2, :]
        along[..., 0, :], along[..., -1, :] = paths[..., 1, :] - paths[..., 0, :], paths[..., -1, :] - paths[..., -2, :]
        normal = along[..., ::-1] * [-1, 1] / np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9)[..., None]
        offset = normal * np.broadcast_to(half_width, paths.shape[:-1])[..., None]
        self.fill(layer, np.concatenate([paths + offset, (paths - offset)[..., ::-1, :]], axis=-2), value)

    def blur(self, layer: Layer, sigma: float) -> Layer:
        """Gaussian blur, sigma in body units, cut off at three sigma so that what is far stays untouched."""
        import cv2

        size = 2 * int(np.ceil(3 * sigma * self.unit)) + 1
        blurred: Layer = cv2.GaussianBlur(layer, (size, size), sigma * self.unit, borderType=cv2.BORDER_REPLICATE)
        return blurred

    def cloud(self, rng: np.random.Generator, size: float, octaves: int = 1) -> Layer:
        """Smooth noise, mean 0, standard deviation about 1; blobs of `size` body units, halved in each octave."""
        import cv2

        total = self.blank()
        for octave in range(octaves):
            cells = [max(2, round(n / (size * self.unit) * 2**octave)) + 3 for n in self.shape]
            grid = rng.standard_normal(cells, np.float32)
            total += cv2.resize(grid, self.shape[::-1], interpolation=cv2.INTER_CUBIC) * 0.6**octave
        # Cubic interpolation keeps 0.72 of white noise's variance, averaged over the places between the grid points.
        return total / np.float32(np.sqrt(0.72 * sum(0.36**k for k in range(octaves))))


def ellipse(center: Paths | list[float], radii: Paths | list[float], angle: float | NDArray[np.float64] = 0.0) -> Paths:
    """Outlines of ellipses; angles are in radians, clockwise on the film. Leading axes are broadcast.

    >>> ellipse([0.0, 0.0], [2.0, 1.0]).shape, ellipse(np.zeros((5, 2)), [2.0, 1.0]).shape
    ((20, 2), (5, 20, 2))
    """
    (cx, cy), (rx, ry) = (np.moveaxis(np.asarray(v, float)[..., None], -2, 0) for v in (center, radii))
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = rx * _COS, ry * _SIN
    cos, sin = np.asarray(cos)[..., None], np.asarray(sin)[..., None]
    return np.stack([cx + x * cos - y * sin, cy + x * sin + y * cos], -1)


def smooth(points: Paths | list[tuple[float, float]], samples: int = 40) -> Paths:
    """Smooth paths (Catmull-Rom splines) through a few points each.

    >>> smooth([(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)], samples=3).round(6).tolist()
    [[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]
    """
    array = np.asarray(points, float)
    path: Paths = _spline(array.shape[-2], samples) @ array
    return path


@cache
def _spline(points: int, samples: int) -> Float[np.ndarray, "samples points"]:
    """Weights of the points in each sample (Catmull and Rom 1974); beyond the ends the path goes on straight."""
    t = np.linspace(0, points - 1, samples)
    first = np.minimum(t.astype(int), points - 2)
    u = t - first
    weights = np.stack([-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, -(u**2) + u**3], 1) / 2
    extended = np.zeros((points + 2, points))
    extended[1:-1] = np.eye(points)
    extended[0, :2], extended[-1, -2:] = (2, -1), (-1, 2)
    matrix = np.zeros((samples, points + 2))
    for k in range(4):
        matrix[np.arange(samples), first + k] = weights[:, k]
    return matrix @ extended
