"""Window partition undone: the told places are what the blocks' own code makes of a picture of the cells' numbers."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from timm.models.byobnet import LayerFn
from timm.models.mobilevit import MobileVitBlock, MobileVitV2Block
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from timm.models.tiny_vit import TinyVitBlock
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.swin_transformer import ShiftedWindowAttention

from xai_bench.classifiers._places import placed, unfolded, windows


def numbered(size: tuple[int, int]) -> Tensor:
    """Cells counted from 1, so that padding is 0, on four channels that come last."""
    return (1.0 + torch.arange(size[0] * size[1])).view(1, *size, 1).expand(-1, -1, -1, 4).contiguous()


def what_is_told_and_seen(block: nn.Module, attention: nn.Module, *args: Any) -> tuple[Any, Tensor]:
    """The places told while the attention runs, and the features that it gets."""
    listener, found = SimpleNamespace(places=None), []

    def see(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append((listener.places, inputs[0]))

    with placed(block, listener), torch.no_grad():
        handle = attention.register_forward_pre_hook(see)
        block.eval()(*args)
        handle.remove()
    assert listener.places is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in block.modules())
    return found[0]


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("size", [(6, 9), (5, 7), (3, 3)])
@pytest.mark.parametrize("kind", [SwinTransformerBlock, SwinTransformerV2Block])
def test_timms_shifted_windows(kind: type, size: tuple[int, int], shift: int) -> None:
    block = kind(dim=4, input_resolution=size, num_heads=1, window_size=3, shift_size=shift)
    if kind is SwinTransformerBlock:
        block.norm1 = nn.Identity()
    told, seen = what_is_told_and_seen(block, block.attn, numbered(size))
    assert told.grid == size
    assert torch.equal(told.cells + 1, seen[..., 0].long())


@pytest.mark.parametrize("size", [(6, 9), (5, 7), (3, 3), (2, 3)])
def test_windows_of_tiny_vit(size: tuple[int, int]) -> None:
    block = TinyVitBlock(dim=4, num_heads=1, window_size=3)
    told, seen = what_is_told_and_seen(block, block.attn, numbered(size))
    assert torch.equal(told.cells + 1, seen[..., 0].long())


class Linear(TorchFunctionMode):
    """Keeps what goes into linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is nn.functional.linear:
            self.inputs.append(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("size", [(6, 9), (5, 7), (3, 3), (2, 7)])
def test_torchvisions_shifted_windows(size: tuple[int, int], shift: int) -> None:
    block, listener, told = ShiftedWindowAttention(4, [3, 3], [shift, shift], 1), SimpleNamespace(places=None), []
    with placed(block, listener), Linear() as linear:
        block.register_forward_pre_hook(lambda *_: told.append(listener.places))
        block.eval()(numbered(size))
    assert torch.equal(told[0].cells + 1, linear.inputs[0][..., 0].long())


@pytest.mark.parametrize("kind", [MobileVitBlock, MobileVitV2Block])
@pytest.mark.parametrize("patch", [2, 3])
def test_unfolded_patches_of_mobile_vit(kind: type, patch: int) -> None:
    block = kind(in_chs=4, transformer_dim=4, patch_size=patch, num_heads=1, layers=LayerFn())
    block.conv_kxk, block.conv_1x1 = nn.Identity(), nn.Identity()
    told, seen = what_is_told_and_seen(block, block.transformer, numbered((6, 12)).permute(0, 3, 1, 2))
    one_row = kind is MobileVitV2Block
    assert told.one_row == one_row
    assert torch.equal(told.cells + 1, (seen[0, 0] if one_row else seen[..., 0]).long())


def test_unfolded_map_is_resized_to_whole_patches() -> None:
    block = MobileVitBlock(in_chs=4, transformer_dim=4, patch_size=2, num_heads=1, layers=LayerFn())
    told, seen = what_is_told_and_seen(block, block.transformer, torch.rand(1, 4, 3, 5))
    assert told.grid == (4, 6)
    assert told.cells.shape == seen.shape[:2]


@pytest.mark.parametrize("places", [windows((5, 7), (3, 2), (1, 1), True), unfolded((5, 7), (2, 3))])
def test_every_cell_has_one_place(places: Any) -> None:
    cells = places.cells[places.cells >= 0]
    assert sorted(cells.tolist()) == list(range(places.grid[0] * places.grid[1]))


def test_nothing_stays_on_the_model_after_an_exception() -> None:
    block = TinyVitBlock(dim=4, num_heads=1, window_size=3)
    with pytest.raises(RuntimeError), placed(block, SimpleNamespace(places=None)):
        block(torch.rand(1, 3, 3, 5))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in block.modules())
