"""Cases for metrics that look only at maps and regions: no classifier, blank films."""

import torch
from torch import Tensor

from xai_bench.protocols import Batch, Case


def make_case(saliency: Tensor, region: Tensor, content: Tensor | None = None, spacing: object = None) -> Case:
    """Maps (b, h, w) against drawn regions; `spacing` in mm for all films alike, by default unknown."""
    b, h, w = saliency.shape
    shown = torch.ones(b, h, w, dtype=torch.bool) if content is None else content
    millimeters = torch.as_tensor(float("nan") if spacing is None else spacing, dtype=torch.float32).expand(b, 2)
    ids = tuple(map(str, range(b)))
    batch = Batch(torch.zeros(b, 1, h, w), torch.zeros(b, dtype=torch.long), ids, shown, None, millimeters)
    return Case(None, batch, None, saliency, region, ("drawn",) * b)
