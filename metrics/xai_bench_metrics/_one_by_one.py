"""What the adapters to packages of metrics share: one picture after the other, and why a package gives no score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from xai_bench.contained import FAILURES, contained, words
from xai_bench.engine import out_of_memory
from xai_bench.pictures import select, unpadded
from xai_bench.protocols import Batch, Case, Reason, Result, Saliency, Traits
from xai_bench.saliency import upsample
from xai_bench.seeding import derive
from xai_bench_metrics._contract import Checked, Mark, conclude
from xai_bench_metrics._explained_again import explain


def one_by_one(name: str, case: Case, found: Checked, seed: int, score: Callable[[int], float]) -> Result:
    """The score `name` of each picture that is not excluded already; where a package fails, its words are the reason.

    Global random states start from (seed, picture id). A padded batch's repeated last picture is scored once.
    """
    count, device = unpadded(case.batch), found.saliency.device
    values = torch.full((len(case.batch),), torch.nan, dtype=torch.float64)
    told: dict[str, list[int]] = {}
    gone = torch.stack([mask for mask, reason in found.marks if reason.state != "note"]).any(0).tolist()
    for i in range(count):
        if gone[i]:
            continue
        try:
            with contained(derive(seed, case.batch.ids[i]), device):
                values[i] = score(i)
        except FAILURES as error:
            if out_of_memory(error):
                raise
            told.setdefault(f"{name} refuses it: {words(error)}", []).append(i)
    values[count:] = values[count - 1].clone()
    marks = [_mark(reason, rows, count, len(case.batch), device) for reason, rows in told.items()]
    return conclude(found, {name: values.to(device)}, {name: marks})


def _mark(reason: str, rows: list[int], count: int, whole: int, device: torch.device) -> Mark:
    mask = torch.zeros(whole, dtype=torch.bool, device=device)
    mask[rows] = True
    mask[count:] = mask[count - 1].clone()
    return mask, Reason("excluded", reason)


def copies_of(case: Case, i: int, images: torch.Tensor, target: torch.Tensor | None = None) -> Batch:
    """Variants of picture `i` as a batch, always under its id; with its own target unless others are given."""
    batch = select(case.batch, torch.full((len(images),), i))
    targets = batch.targets if target is None else target.to(batch.targets)
    return replace(batch, images=images.to(batch.images), targets=targets)


def maps_of(case: Case, batch: Batch, classifier: torch.nn.Module | None = None) -> Saliency:
    """The explainer's maps of these pictures, by the classifier or a copy of it; at their size, 0 outside content."""
    maps = explain(case, batch, classifier)  # type: ignore[arg-type]  # a package hands back what it was given
    size = (batch.images.shape[2], batch.images.shape[3])
    return upsample(maps, size, Traits.of(case.explainer).upsampling).masked_fill(~batch.content, 0)
