"""Maps that come from outside, in the shape that everything else expects."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Saliency


def as_maps(found: Any, batch: Batch, who: str) -> Saliency:
    """Float maps (b, h, w) on the batch's device from an array or tensor (b, h, w) or (b, c, h, w), channels summed.

    Raises BadInput for anything else, in the name of `who`.
    """
    try:
        values = found if isinstance(found, Tensor) else torch.as_tensor(np.asarray(found))
    except (TypeError, ValueError):
        raise BadInput(f"{who} returned a {type(found).__name__}; return an array or tensor of maps.") from None
    values = values.detach().to(batch.images.device)
    if values.ndim not in (3, 4) or len(values) != len(batch) or values.is_complex():
        raise BadInput(
            f"{who} returned {values.dtype} of shape {tuple(values.shape)} for {len(batch)} pictures; return one map "
            "a picture, (b, h, w) or (b, c, h, w)."
        )
    values = values if values.is_floating_point() else values.float()
    return (values.sum(1) if values.ndim == 4 else values).float()
