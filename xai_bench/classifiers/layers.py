"""Finding and replacing layers of a model that nobody described: where CAM methods look, and the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from xai_bench.classifiers.classifier import untouched
from xai_bench.errors import BadInput

_PASSING_ON = (nn.Identity, nn.modules.dropout._DropoutNd, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
"""Modules that only pass on or resample what an earlier one found; CAM methods look at the earlier one."""


class Call(NamedTuple):
    """A module that ran: its dotted name and the shape of what it returned."""

    name: str
    module: nn.Module
    shape: torch.Size


def is_attention(module: nn.Module) -> bool:
    """True for the multi-head attention of torch, timm (heads, a dropout on the weights) and Hugging Face."""
    timms = hasattr(module, "num_heads") and isinstance(getattr(module, "attn_drop", None), nn.Module)
    return isinstance(module, nn.MultiheadAttention) or timms or hasattr(module, "num_attention_heads")


def find_cam_layer(model: nn.Module, channels: int, size: tuple[int, int]) -> str | None:
    """The dotted name of the module that CAM methods look at, found by one forward pass of a black picture.

    It is the last module before pooling and before the last layer whose output is a map of the picture, its channels
    first or, as in a Swin transformer, last. Where attention on tokens follows, it is the norm before the last
    attention (Grad-CAM of the later tokens is zero: only the class token is read). None where there is neither, as in
    an MLP-Mixer. Raises BadInput where the model refuses a picture of (height, width) `size`.

    >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> find_cam_layer(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2)), 1, (8, 8))
    '1'
    """
    calls = _calls(model, channels, size)
    ends = last_layers(model)
    stop = max((i for i, call in enumerate(calls) if call.name in ends), default=len(calls))
    before = calls[:stop]
    spatial = [i for i, call in enumerate(before) if _is_map(call, size)]
    attention = [i for i, call in enumerate(before) if is_attention(call.module)]
    last_map = max(spatial, default=-1)
    if attention and attention[-1] > last_map:
        return _norm_before(before[: attention[-1] + 1])
    if last_map < 0 or any(_is_tokens(call) for call in before[last_map + 1 :]):
        return None
    return before[last_map].name


def _calls(model: nn.Module, channels: int, size: tuple[int, int]) -> list[Call]:
    """Every inner module in the order in which it finished."""
    calls: list[Call] = []

    def record(name: str, module: nn.Module, output: object) -> None:
        found = output[0] if isinstance(output, tuple) else output
        if isinstance(found, Tensor):
            calls.append(Call(name, module, found.shape))

    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
        for name, module in model.named_modules()
        if name
    ]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        with untouched(model), torch.no_grad():
            model(torch.zeros(1, channels, *size, device=device))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BadInput(
            f"{type(model).__name__} does not take a picture of {channels} x {size[0]} x {size[1]}: {reason}."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return calls


def channel_axis(shape: Sequence[int], size: tuple[int, int]) -> int | None:
    """Where a layer's output over a picture of (height, width) `size` has its channels: 1, or 3 in (b, h, w, c).

    The two axes beside it have the picture's aspect ratio, to a pixel. None where there are none, as in attention
    weights.

    >>> channel_axis((1, 768, 7, 7), (224, 224)), channel_axis((1, 7, 7, 768), (224, 224))
    (1, 3)
    """
    for axis, (height, width) in ((1, shape[2:]), (3, shape[1:3])):
        if height <= size[0] and width <= size[1] and abs(height - width * size[0] / size[1]) <= 1:
            return axis
    return None


def _is_map(call: Call, size: tuple[int, int]) -> bool:
    """A map of the picture, of more than one row and column, with its channels first or last."""
    if len(call.shape) != 4 or isinstance(call.module, _PASSING_ON):
        return False
    axis = channel_axis(call.shape, size)
    grid = {1: call.shape[2:], 3: call.shape[1:3]}.get(axis or 0, (1, 1))
    return min(grid) > 1


def _is_tokens(call: Call) -> bool:
    return len(call.shape) == 3 and call.shape[1] > 1


def _norm_before(calls: list[Call]) -> str | None:
    inside = calls[-1].name + "."
    norms = [
        c.name
        for c in calls[:-1]
        if "Norm" in type(c.module).__name__ and _is_tokens(c) and not c.name.startswith(inside)
    ]
    return norms[-1] if norms else None


def last_layers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layers that make the logits, by dotted name: one, or several where timm says so (a distilled transformer).

    >>> list(last_layers(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2))))
    ['2']
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    if hasattr(model, "get_classifier"):
        named: Any = cast("Any", model).get_classifier()
        wanted = named if isinstance(named, tuple) else (named,)
        found = {name: m for name, m in layers.items() if any(m is w for w in wanted)}
        if found:
            return found
    return dict(list(layers.items())[-1:])


def replace_last_layer(model: nn.Module, outputs: int) -> None:
    """Put a new layer with `outputs` outputs in the place of the last one. Raises BadInput where there is none."""
    found = last_layers(model)
    if len(found) != 1:
        raise BadInput(
            f"{type(model).__name__} has {len(found)} last layers; expected one nn.Linear or nn.Conv2d to replace."
        )
    ((name, old),) = found.items()
    parent, _, child = name.rpartition(".")
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, outputs)
    else:
        new = nn.Conv2d(old.in_channels, outputs, old.kernel_size, old.stride, old.padding)  # type: ignore[arg-type]  # torch stores the tuples that it accepts
    setattr(model.get_submodule(parent), child, new)
