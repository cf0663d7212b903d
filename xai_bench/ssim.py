"""SSIM of two maps or of many pairs of them: what a map needs by itself is computed once for all of its pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
"""The Gaussian window in grid cells (Wang et al. 2004)."""
BLOCK, TILE = 1 << 15, 54
"""Cells of pairs whose windows are compared at once, and pixels of a side in one product: what a cache holds."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What SSIM needs of a map, at the pixels whose whole window lies in the map (along a short side: at all).

    Values and means are times the root of 2, which saves doublings for each pair; two of `luminance` and two of
    `contrast` make SSIM's denominator.
    """

    span: float
    values: Float64[Tensor, "m h w"]
    means: Float64[Tensor, "m r c"]
    luminance: Float64[Tensor, "m r c"]
    contrast: Float64[Tensor, "m r c"]
    counted: Bool[Tensor, "m r c"]
    window: Window

    @staticmethod
    def of(maps: Float[Tensor, "m h w"], content: Bool[Tensor, "m h w"], span: float) -> Moments:
        """Maps whose data range is `span`; outside `content` they count as 0."""
        c1, c2 = _constants(span)
        values = maps.double() * content * math.sqrt(2)
        window = Window.of(maps.shape[1:], maps.device)
        means, squares = window(values), window(values * values)
        mean_squares = means * means
        rows, columns = (_whole(side, content.device) for side in content.shape[1:])
        counted = content[:, rows][:, :, columns]
        luminance, contrast = (mean_squares + c1) / 2, (squares - mean_squares + c2) / 2
        return Moments(span, values, means, luminance, contrast, counted, window)

    def ssim(self, i: Int[Tensor, "p"], j: Int[Tensor, "p"]) -> Float64[Tensor, "p"]:
        """Structural similarity of the maps `i` and `j`, mean over the counted pixels."""
        if not len(i):
            return torch.zeros(0, dtype=torch.float64, device=i.device)
        size = max(1, BLOCK // self.values[0].numel())
        pairs = zip(torch.split(i, size), torch.split(j, size), strict=True)
        return torch.cat([self._block(one, other) for one, other in pairs])

    def _block(self, i: Int[Tensor, "p"], j: Int[Tensor, "p"]) -> Float64[Tensor, "p"]:
        c1, c2 = _constants(self.span)
        values, means, luminance, contrast = (
            (part.index_select(0, i), part.index_select(0, j))
            for part in (self.values, self.means, self.luminance, self.contrast)
        )
        products = means[0].mul_(means[1])
        covariance = self.window(values[0].mul_(values[1])).sub_(products)
        above = products.add_(c1).mul_(covariance.add_(c2))
        below = luminance[0].add_(luminance[1]).mul_(contrast[0].add_(contrast[1]))
        counted = self.counted.index_select(0, i)
        similar = above.div_(below).mul_(counted)
        return similar.flatten(1).sum(1) / counted.flatten(1).sum(1)


def _constants(span: float) -> tuple[float, float]:
    return (0.01 * span) ** 2, (0.03 * span) ** 2


def ssim(
    a: Float[Tensor, "b h w"], b: Float[Tensor, "b h w"], content: Bool[Tensor, "b h w"], data_range: float
) -> Float64[Tensor, "b"]:
    """Structural similarity (Wang et al. 2004) of two maps, mean over `content`, in [-1, 1].

    11 x 11 Gaussian of sigma 1.5, population covariance, borders mirrored. As in scikit-image only pixels with a whole
    window count, except along a side that is shorter than the window, where all do (Grad-CAM's 7 x 7 grid).
    """
    at = torch.arange(len(a), device=a.device)
    return Moments.of(torch.cat([a, b]), content.repeat(2, 1, 1), data_range).ssim(at, at + len(a))


Tile = tuple[slice, Float64[Tensor, "_ _"]]  # cells along one side, and their weights in each pixel's mean


@dataclass(frozen=True, eq=False)
class Window:
    """The Gaussian window's weighted mean at each pixel that SSIM looks at: small matrices along each axis.

    Far quicker on a CPU than a convolution of single channels; one matrix for a whole axis would mostly hold zeros.
    """

    rows: tuple[Tile, ...]
    columns: tuple[Tile, ...]

    @staticmethod
    def of(size: Sequence[int], device: torch.device) -> Window:
        """For maps of this size."""
        rows, columns = (tuple(_tiles(_smoother(side, device))) for side in size)
        return Window(rows, columns)

    def __call__(self, maps: Float64[Tensor, "b h w"]) -> Float64[Tensor, "b r c"]:
        """The weighted means."""
        parts = [torch.matmul(maps[:, :, seen], weights.T) for seen, weights in self.columns]
        narrow = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
        parts = [torch.matmul(weights, narrow[:, seen]) for seen, weights in self.rows]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _tiles(weights: Float64[Tensor, "inner side"]) -> Iterator[Tile]:
    """The matrix in blocks of rows, each with the columns that are not zero there."""
    inner, side = weights.shape
    for start in range(0, inner, TILE):
        stop = min(start + TILE, inner)
        seen = slice(start, stop + side - inner)
        yield seen, weights[start:stop, seen].contiguous()


def _smoother(side: int, device: torch.device) -> Float64[Tensor, "inner side"]:
    """The window along one side as a matrix: a row has the weights of the cells that one pixel looks at."""
    radius = WINDOW // 2
    at = torch.arange(-radius, radius + 1, device=device, dtype=torch.float64)
    weights = torch.exp(-(at**2) / (2 * SIGMA**2))
    cells = _mirrored(side, radius, device).unfold(0, WINDOW, 1)
    empty = torch.zeros(side, side, device=device, dtype=torch.float64)
    full = empty.scatter_add(1, cells, (weights / weights.sum()).expand(side, WINDOW))
    return full[_whole(side, device)]


def _whole(side: int, device: torch.device) -> Bool[Tensor, "side"]:
    """Where the window lies inside a side, if it fits into it at all."""
    edge = WINDOW // 2 if side >= WINDOW else 0
    at = torch.arange(side, device=device)
    return (at >= edge) & (at < side - edge)


def _mirrored(side: int, radius: int, device: torch.device) -> Int[Tensor, "padded"]:
    at = torch.arange(-radius, side + radius, device=device) % (2 * side)
    return torch.where(at < side, at, 2 * side - 1 - at)
