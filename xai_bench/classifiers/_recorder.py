"""Attention computed openly: every softmax of queries and keys is kept while a model runs, whoever wrote the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_bench.classifiers._places import Places

_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


class Seen(NamedTuple):
    """The weights of one attention as they were computed, and where its tokens are (None: nothing is known)."""

    weights: Float[Tensor, "n heads queries tokens"]
    places: Places | None


class Recorder(TorchFunctionMode):
    """While entered, fused attention is computed step by step, and all weights are kept in `seen`, first block first.

    Works for torch's, torchvision's, timm's and Hugging Face's attention, fused or not, and patches none of them: torch
    asks this object about each of its functions, in the thread that entered it and until it is left, also by an
    exception. For models in eval mode (dropout of a fused attention is not applied). Where gradients are enabled the
    weights are part of the graph, and the first ones are its leaves: what comes before them gets no gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.places: Places | None = None  # of the block that runs now

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its functions."""
        named = kwargs or {}
        if func is F.multi_head_attention_forward:
            return self._multi_head(*args, **named)
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **named)
        result = func(*args, **named)
        if func in _SOFTMAX and result.ndim == 4:
            dim = named.get("dim", args[1] if len(args) > 1 else None)
            if dim in (-1, 3):
                self._keep(result)
        return result

    def _multi_head(
        self, *args: Any, need_weights: bool = True, average_attn_weights: bool = True, **named: Any
    ) -> Any:
        with self:  # else torch switches this object off while it is asked
            output, _ = _INNER(*args, need_weights=False, **named)
        weights = self.seen[-1].weights
        return output, (weights.mean(1) if average_attn_weights else weights) if need_weights else None

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """The steps of `scaled_dot_product_attention`, with its very arguments: models call it by place and by name."""
        if enable_gqa:
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        weights = scores.softmax(-1)
        if weights.ndim == 4:
            self._keep(weights)
        return weights @ value

    def _keep(self, weights: Tensor) -> None:
        if torch.is_grad_enabled() and not weights.requires_grad:
            weights.requires_grad_()
        self.seen.append(Seen(weights, self.places))


# torch's own function, except that it does not hand itself over to the recorder a second time.
_INNER = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**F.multi_head_attention_forward.__globals__, "has_torch_function": lambda _tensors: False},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)
