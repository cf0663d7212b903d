"""Where the tokens of attention blocks that cut the picture up are: windows, shifted windows, unfolded patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Int
from torch import Tensor, nn


class Places(NamedTuple):
    """The cell of `grid` (counted row by row) of each token of each group that attends within itself; -1 is padding.

    Cells that lie in no group have no attention. `one_row`: each group has one row of weights for all of its tokens,
    and the weights come as (b, 1, groups, tokens).
    """

    cells: Int[Tensor, "groups tokens"]
    grid: tuple[int, int]
    one_row: bool = False


class Placed(Protocol):
    """Whoever wants to know the places of the block that runs now."""

    places: Places | None


def windows(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], pad_first: bool) -> Places:
    """Windows of a map of (rows, columns) `size` that is rolled back by `shift` and padded below and at the right.

    What the blocks do with their features is done here with a picture of the cells' numbers.

    >>> windows((2, 4), (2, 2), (0, 1), pad_first=True).cells
    tensor([[1, 2, 5, 6],
            [3, 0, 7, 4]])
    """
    cells = torch.arange(size[0] * size[1]).view(size)
    if pad_first:
        cells = _padded(cells, window)
    cells = cells.roll((-shift[0], -shift[1]), (0, 1))
    return Places(rearrange(_padded(cells, window), "(r i) (c j) -> (r c) (i j)", i=window[0], j=window[1]), size)


def _padded(cells: Tensor, window: tuple[int, int]) -> Tensor:
    rows, columns = cells.shape
    return F.pad(cells, (0, -columns % window[1], 0, -rows % window[0]), value=-1)


def unfolded(size: tuple[int, int], patch: tuple[int, int], one_row: bool = False) -> Places:
    """Groups of the cells that have the same position within their patch (MobileViT); the map has whole patches.

    >>> unfolded((2, 4), (2, 2)).cells
    tensor([[0, 2],
            [1, 3],
            [4, 6],
            [5, 7]])
    """
    grid = (size[0] + -size[0] % patch[0], size[1] + -size[1] % patch[1])
    cells = torch.arange(grid[0] * grid[1]).view(grid)
    return Places(rearrange(cells, "(r i) (c j) -> (i j) (r c)", i=patch[0], j=patch[1]), grid, one_row)


def _torchvision_swin(module: Any, features: Tensor) -> Places:
    rows, columns = module.window_size
    window, size = (rows, columns), (features.shape[1], features.shape[2])
    shift = [s if w < n else 0 for n, w, s in zip(size, window, module.shift_size, strict=True)]
    return windows(size, window, (shift[0], shift[1]), pad_first=True)


def _timm_swin(module: Any, features: Tensor) -> Places:
    return windows((features.shape[1], features.shape[2]), module.window_size, module.shift_size, pad_first=False)


def _tiny_vit(module: Any, features: Tensor) -> Places:
    window = (module.window_size, module.window_size)
    return windows((features.shape[1], features.shape[2]), window, (0, 0), pad_first=False)


def _transformers_swin(module: Any, _features: Tensor, input_dimensions: tuple[int, int], *_: Any, **__: Any) -> Places:
    rows, columns = input_dimensions
    whole = min(rows, columns) <= module.window_size  # then the block does not shift, and shrinks its window
    window, shift = (min(rows, columns), 0) if whole else (module.window_size, module.shift_size)
    return windows((rows, columns), (window, window), (shift, shift), pad_first=True)


def _patch(block: Any) -> tuple[int, int]:
    return block.patch_size if hasattr(block, "patch_size") else (block.patch_height, block.patch_width)


_WINDOWS: Mapping[str, Callable[..., Places]] = {
    "torchvision.ShiftedWindowAttention": _torchvision_swin,
    "timm.SwinTransformerBlock": _timm_swin,
    "timm.SwinTransformerV2Block": _timm_swin,
    "timm.TinyVitBlock": _tiny_vit,
    "transformers.SwinLayer": _transformers_swin,
    "transformers.Swinv2Layer": _transformers_swin,
}
_UNFOLDING = {  # whether one row of weights serves a group
    "timm.MobileVitBlock": False,
    "timm.MobileVitV2Block": True,
    "transformers.MobileViTLayer": False,
    "transformers.MobileViTV2Layer": True,
}


@contextmanager
def placed(model: nn.Module, listener: Placed) -> Iterator[None]:
    """Tell the listener the places of each block of a known kind while it runs; all hooks are gone at the end."""
    handles: list[Any] = []

    def leave(*_: Any) -> None:
        listener.places = None

    try:
        for module in model.modules():
            kinds = [f"{c.__module__.split('.')[0]}.{c.__name__}" for c in type(module).__mro__]
            window = next((_WINDOWS[k] for k in kinds if k in _WINDOWS), None)
            one_row = next((_UNFOLDING[k] for k in kinds if k in _UNFOLDING), None)
            if window is not None:
                handles.append(module.register_forward_pre_hook(_entering(window, listener), with_kwargs=True))
            elif one_row is not None:
                last: Any = module.conv_1x1  # its output is what the block unfolds
                handles.append(last.register_forward_hook(_unfolding(module, one_row, listener)))
            if window is not None or one_row is not None:
                handles.append(module.register_forward_hook(leave))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entering(reader: Callable[..., Places], listener: Placed) -> Callable[..., None]:
    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        listener.places = reader(module, *args, **kwargs)

    return enter


def _unfolding(block: nn.Module, one_row: bool, listener: Placed) -> Callable[..., None]:
    def enter(_module: nn.Module, _args: Any, features: Tensor) -> None:
        listener.places = unfolded((features.shape[2], features.shape[3]), _patch(block), one_row)

    return enter
