"""Methods that call the model hundreds of times a picture explain a padded batch's repeated last picture only once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.protocols import Batch, Saliency


def each_picture(batch: Batch, explain: Callable[[int], Float[Tensor, "h w"]]) -> Saliency:
    """`explain(i)` of every picture, stacked; a picture that repeats the one before it gets the same map again."""
    maps: list[Tensor] = []
    for i in range(len(batch)):
        maps.append(maps[-1] if i > 0 and _repeats(batch, i) else explain(i))
    return torch.stack(maps)


def _repeats(batch: Batch, i: int) -> bool:
    same_name = batch.ids[i] == batch.ids[i - 1] and bool(batch.targets[i] == batch.targets[i - 1])
    return same_name and torch.equal(batch.images[i], batch.images[i - 1])
