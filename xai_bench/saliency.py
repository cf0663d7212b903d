"""Tools on saliency maps, batched and on the maps' own device: sizes, parts and ties.

`mask` and `content` say which pixels count; what lies outside them changes no number. How alike two maps are is in
`xai_bench.similarity`.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.protocols import Saliency
from xai_bench.similarity import Ranks, spearman, top_k_iou
from xai_bench.ssim import ssim

__all__ = ["constant", "invalid", "positive_part", "ranks", "spearman", "ssim", "to_grid", "top_k_iou", "upsample"]


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
    return (Ranks.of(values, mask).doubled + mask.sum(1, keepdim=True) + 1).double() / 2 * mask
