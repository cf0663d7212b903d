"""Tools on saliency maps, batched and on the maps' own device: sizes, parts, ties, and how alike two maps are.

`mask` and `content` say which pixels count; what lies outside them changes no number.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.protocols import Saliency

WINDOW, SIGMA = 11, 1.5
"""SSIM's Gaussian window in grid cells (Wang et al. 2004)."""


def upsample(
    maps: Saliency, size: tuple[int, int], mode: Literal["bilinear", "nearest"] = "bilinear"
) -> Float[Tensor, "b height width"]:
    """Maps at another size, pixel centers aligned.

    >>> upsample(torch.tensor([[[0.0, 1.0]]]), (1, 4), "nearest").tolist()
    [[[0.0, 0.0, 1.0, 1.0]]]
    """
    if maps.shape[1:] == size:
        return maps
    if mode == "nearest":
        return F.interpolate(maps[:, None], size, mode="nearest-exact")[:, 0]
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def to_grid(maps: Saliency, size: tuple[int, int]) -> Float[Tensor, "b height width"]:
    """Maps averaged over the cells of a coarser grid.

    >>> to_grid(torch.tensor([[[0.0, 1.0, 2.0, 4.0]]]), (1, 2)).tolist()
    [[[0.5, 3.0]]]
    """
    return F.adaptive_avg_pool2d(maps[:, None], size)[:, 0]


def positive_part(maps: Saliency) -> Saliency:
    """Evidence for the target only; NaN stays NaN."""
    return maps.clamp(min=0)


def invalid(maps: Saliency) -> Bool[Tensor, "b"]:
    """Maps that hold NaN or an infinite value anywhere."""
    return ~maps.isfinite().flatten(1).all(1)


def constant(maps: Saliency, content: Bool[Tensor, "b h w"]) -> Bool[Tensor, "b"]:
    """Maps with one value in all of `content`: they point nowhere.

    >>> constant(torch.tensor([[[1.0, 1.0, 5.0]]]), torch.tensor([[[True, True, False]]])).item()
    True
    """
    inf = torch.inf
    low, high = maps.masked_fill(~content, inf).flatten(1).amin(1), maps.masked_fill(~content, -inf).flatten(1).amax(1)
    return low >= high


def ranks(values: Float[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Ascending ranks from 1 among the entries of `mask`, ties averaged; 0 outside. float64.

    >>> ranks(torch.tensor([[3.0, 1.0, 3.0, 0.0]]), torch.tensor([[True, True, True, False]])).tolist()
    [[2.5, 1.0, 2.5, 0.0]]
    """
    ordered, order = values.masked_fill(~mask, torch.inf).sort(dim=1)
    steps = F.pad((ordered[:, 1:] != ordered[:, :-1]).long(), (1, 0))
    group = steps.cumsum(1)
    position = torch.arange(1, values.shape[1] + 1, device=values.device, dtype=torch.float64).expand(values.shape)
    total = torch.zeros_like(position).scatter_add(1, group, position)
    count = torch.zeros_like(position).scatter_add(1, group, torch.ones_like(position))
    mean = (total / count.clamp(min=1)).gather(1, group)
    return torch.zeros_like(mean).scatter(1, order, mean) * mask


def top_pixels(
    values: Float[Tensor, "b n"], mask: Bool[Tensor, "b n"], k: Int[Tensor, "b"]
) -> tuple[Bool[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """The k largest of the entries of `mask`: which are surely in, and which share the remaining places by a tie.

    >>> values = torch.tensor([[5.0, 1.0, 1.0, 0.0]])
    >>> sure, tied = top_pixels(values, values > -1, torch.tensor([2]))
    >>> sure.tolist(), tied.tolist()
    ([[True, False, False, False]], [[False, True, True, False]])
    """
    k = k.clamp(min=1)
    ordered = values.masked_fill(~mask, -torch.inf).topk(int(k.max()), dim=1).values
    last = ordered.gather(1, (k - 1)[:, None])
    return (values > last) & mask, (values == last) & mask


def spearman(a: Saliency, b: Saliency, content: Bool[Tensor, "b h w"]) -> Float[Tensor, "b"]:
    """Rank correlation of two maps inside `content`, in [-1, 1], ties averaged; NaN where a map is constant."""
    mask = content.flatten(1)
    x, y = (_centered(ranks(m.flatten(1), mask), mask) for m in (a, b))
    return (x * y).sum(1) / ((x**2).sum(1) * (y**2).sum(1)).sqrt()


def _centered(values: Float[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    return (values - values.sum(1, keepdim=True) / mask.sum(1, keepdim=True)) * mask


def top_k_iou(a: Saliency, b: Saliency, content: Bool[Tensor, "b h w"], share: float = 0.1) -> Float[Tensor, "b"]:
    """Overlap of the largest `share` of two maps' pixels, in [0, 1].

    Pixels tied for the last places belong by the fraction that fits, and the overlap is sum(min) / sum(max): the usual
    IoU without ties, 1 for equal maps, and independent of memory order.
    """
    mask = content.flatten(1)
    k = (share * mask.sum(1)).round().long().clamp(min=1)
    x, y = (_membership(m.flatten(1), mask, k) for m in (a, b))
    return torch.minimum(x, y).sum(1) / torch.maximum(x, y).sum(1)


def _membership(values: Float[Tensor, "b n"], mask: Bool[Tensor, "b n"], k: Int[Tensor, "b"]) -> Float[Tensor, "b n"]:
    sure, tied = top_pixels(values, mask, k)
    fraction = (k - sure.sum(1)).double() / tied.sum(1)
    return sure.double() + tied * fraction[:, None]


def ssim(a: Saliency, b: Saliency, content: Bool[Tensor, "b h w"], data_range: float) -> Float[Tensor, "b"]:
    """Structural similarity (Wang et al. 2004) of two maps, mean over `content`, in [-1, 1].

    11 x 11 Gaussian of sigma 1.5, population covariance, borders mirrored. As in scikit-image only pixels with a whole
    window count, except along a side that is shorter than the window, where all do (Grad-CAM's 7 x 7 grid).
    """
    x, y = (m.double() * content for m in (a, b))
    mx, my, xx, yy, xy = _window(torch.stack([x, y, x * x, y * y, x * y], 1)).unbind(1)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    means = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    similarity = means * (2 * (xy - mx * my) + c2) / (xx - mx**2 + yy - my**2 + c2)
    counted = content & _whole(content.shape[1], content.device)[:, None] & _whole(content.shape[2], content.device)
    return (similarity * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)


def _whole(side: int, device: torch.device) -> Bool[Tensor, "side"]:
    """Where the window lies inside a side, if it fits into it at all."""
    edge = WINDOW // 2 if side >= WINDOW else 0
    at = torch.arange(side, device=device)
    return (at >= edge) & (at < side - edge)


def _window(maps: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """The Gaussian window's weighted mean at each pixel; mirrored borders of any width, also wider than the map."""
    height, width = (_smoother(side, maps) for side in maps.shape[-2:])
    return height @ maps @ width.T  # far quicker on a CPU than a convolution of single channels


def _smoother(side: int, like: Tensor) -> Float[Tensor, "side side"]:
    """The window along one side as a matrix: row i has the weights of the cells that pixel i looks at."""
    radius = WINDOW // 2
    at = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    weights = torch.exp(-(at**2) / (2 * SIGMA**2))
    cells = _mirrored(side, radius, like.device).unfold(0, WINDOW, 1)
    empty = torch.zeros(side, side, device=like.device, dtype=like.dtype)
    return empty.scatter_add(1, cells, (weights / weights.sum()).expand(side, WINDOW))


def _mirrored(side: int, radius: int, device: torch.device) -> Int[Tensor, "padded"]:
    at = torch.arange(-radius, side + radius, device=device) % (2 * side)
    return torch.where(at < side, at, 2 * side - 1 - at)
