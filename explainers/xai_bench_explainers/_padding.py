"""Methods that call the model hundreds of times a picture explain a padded batch's repeated last picture only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from xai_bench.pictures import repeats, select, unpadded
from xai_bench.protocols import Batch, Saliency


def each_picture(batch: Batch, explain: Callable[[int], Float[Tensor, "h w"]]) -> Saliency:
    """`explain(i)` of every picture, stacked; a picture that repeats the one before it gets the same map again."""
    maps: list[Tensor] = []
    for i in range(len(batch)):
        maps.append(maps[-1] if i > 0 and repeats(batch, i) else explain(i))
    return torch.stack(maps)


def distinct(batch: Batch) -> Batch:
    """The batch without the repeats of its last picture that fill it."""
    return select(batch, torch.arange(unpadded(batch)))


def refilled(values: Shaped[Tensor, "n ..."], size: int) -> Shaped[Tensor, "size ..."]:
    """The last one repeated up to `size`, as in a padded batch.

    >>> refilled(torch.tensor([1.0, 2.0]), 4).tolist()
    [1.0, 2.0, 2.0, 2.0]
    """
    return values[torch.arange(size).clamp(max=len(values) - 1)]


def each_copy(
    batch: Batch, size: int, copies: Iterable[Float[Tensor, "n c h w"]], explain: Callable[[Batch], Tensor]
) -> Iterator[Float[Tensor, "n ..."]]:
    """`explain` of each copy of a batch's `distinct` pictures, one copy after the other, in batches of one `size`.

    A batch is filled up with the next copies, only the very last one with repeats.
    """
    rows = (image.clone() for images in copies for image in images)  # a view would keep its whole copy
    start, maps = 0, list[Tensor]()
    while part := list(islice(rows, size)):
        shown = refilled(torch.stack(part), size)
        whose = refilled((start + torch.arange(len(part))) % len(batch), size)
        maps += explain(replace(select(batch, whose), images=shown))[: len(part)]
        start += len(part)
        while len(maps) >= len(batch):
            yield torch.stack(maps[: len(batch)])
            del maps[: len(batch)]
