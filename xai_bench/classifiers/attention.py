"""Reading the attention weights of a transformer classifier, without changing what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.classifiers.layers import is_attention
from xai_bench.errors import Unfit


class Attention(NamedTuple):
    """What one forward pass looked at: a row of `weights` sums to 1 and says what a token reads from.

    The last rows x columns tokens are the picture's patches, row by row; the `n_prefix_tokens` before them are class
    tokens.
    """

    logits: Float[Tensor, "b logits"]
    weights: tuple[Float[Tensor, "b heads tokens tokens"], ...]
    n_prefix_tokens: int
    grid: tuple[int, int]


def read_attention(classifier: Classifier, images: Float[Tensor, "b c h w"]) -> Attention:
    """The logits and every block's attention weights, first block first, with the classifier left as it was.

    Works for `nn.MultiheadAttention` and for timm's attention modules. Raises Unfit where there is none, where it
    stays within windows (Swin), or where a block reads from other tokens than the picture's.
    """
    blocks = [m for m in classifier.model.modules() if is_attention(m)]
    windows = [m for m in classifier.model.modules() if "Window" in type(m).__name__]
    if windows:
        raise Unfit(
            f"{classifier.architecture} attends within windows, not over the picture; use a plain vision transformer."
        )
    if not blocks:
        raise Unfit(f"{classifier.architecture} has no attention weights that can be read; use a vision transformer.")
    weights: list[Tensor] = []
    maps: list[tuple[int, int]] = []

    def see_map(_module: nn.Module, _args: Any, output: Tensor) -> None:
        if not weights and output.ndim == 4:  # the last one before the first attention is cut into tokens
            maps.append((output.shape[2], output.shape[3]))

    with untouched(classifier), torch.no_grad(), _read(blocks, weights.append):
        convolutions = [m for m in classifier.model.modules() if isinstance(m, nn.Conv2d)]
        handles = [m.register_forward_hook(see_map) for m in convolutions]
        try:
            logits = classifier(images)
        finally:
            for handle in handles:
                handle.remove()
    tokens = _checked(classifier, weights, len(images))
    grid = maps[-1] if maps else (0, 0)
    prefix = tokens - grid[0] * grid[1]
    if not maps or prefix < 0:
        raise Unfit(
            f"{classifier.architecture} has {tokens} tokens, not the cells of its last convolution's map, so its "
            "attention has no place in the picture; use a plain vision transformer."
        )
    return Attention(logits, tuple(weights), prefix, grid)


def _checked(classifier: Classifier, weights: list[Tensor], pictures: int) -> int:
    """The number of tokens. Raises Unfit unless every block attends from all tokens to all tokens of each picture."""
    shapes = {(w.shape[0], *w.shape[2:]) for w in weights}
    tokens = weights[0].shape[-1] if weights else 0
    if shapes != {(pictures, tokens, tokens)}:
        raise Unfit(
            f"{classifier.architecture} does not attend from every token to every token in each block; "
            "use a plain vision transformer."
        )
    if any((w.sum(-1) - 1).abs().max() > 1e-3 for w in weights):
        raise Unfit(
            f"{classifier.architecture} has attention rows that do not sum to 1; use a plain vision transformer."
        )
    return tokens


@contextmanager
def _read(blocks: list[Any], keep: Callable[[Tensor], None]) -> Iterator[None]:
    """Have every block compute its weights and hand them over; all is undone at the end."""
    handles = []
    fused: dict[Any, bool] = {}
    for block in blocks:
        if isinstance(block, nn.MultiheadAttention):
            handles.append(block.register_forward_pre_hook(_ask_for_weights, with_kwargs=True))
            handles.append(block.register_forward_hook(lambda _m, _args, output: keep(output[1])))
        else:
            if hasattr(block, "fused_attn"):
                fused[block] = block.fused_attn
                block.fused_attn = False
            handles.append(block.attn_drop.register_forward_hook(lambda _m, _args, output: keep(output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for block, was in fused.items():
            block.fused_attn = was


def _ask_for_weights(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    # What may follow query, key and value by position in MultiheadAttention.forward.
    named = dict(
        zip(
            ("key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal"),
            args[3:],
            strict=False,
        )
    )
    return args[:3], {**named, **kwargs, "need_weights": True, "average_attn_weights": False}
