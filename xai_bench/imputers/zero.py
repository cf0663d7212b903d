"""Removed pixels are black."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.protocols import Batch
from xai_bench.registry import imputer


@imputer("zero", cite="Zeiler & Fergus 2014")
@dataclass(frozen=True)
class Zero:
    """Black."""

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        return torch.zeros_like(batch.images)
