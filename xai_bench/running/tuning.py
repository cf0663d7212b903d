"""The batch size of a classifier on this machine, by a short measurement."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from xai_bench.classifiers.checkpoint import bare, load_checkpoint
from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.engine import Engine, out_of_memory
from xai_bench.running.machine import device
from xai_bench.study import Checkpoint, Given, Study, Trained

SLACK = 1.03
"""A larger batch must be more than so much faster: a small one wastes less on the last batch and on memory."""
ON_CPU, ON_GPU = (4, 8, 16, 32), (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Tuned:
    """The chosen batch size, and the seconds a picture of each size tried."""

    batch_size: int
    seconds: Mapping[int, float]


def tune(classifier: Classifier, sizes: Sequence[int] = ()) -> Tuned:
    """The smallest batch that is nearly as fast as the fastest, by the best of a few forward passes of each size."""
    resize = classifier.reader.resize
    asked = sizes or (ON_GPU if classifier.device.type == "cuda" else ON_CPU)
    found: dict[int, float] = {}
    for size in asked:
        try:
            found[size] = forward_seconds(classifier, Engine(batch_size=size), (1, resize.height, resize.width))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or not found:
                raise
            break
    best = min(found.values())
    return Tuned(next(size for size, seconds in found.items() if seconds <= best * SLACK), found)


def forward_seconds(classifier: Classifier, engine: Engine, shape: Sequence[int], repeats: int = 3) -> float:
    """Seconds a picture of the engine's forward pass: the best of `repeats`, after one to warm up."""
    images, best = torch.rand(engine.batch_size, *shape, device=classifier.device), float("inf")
    with torch.inference_mode(), untouched(classifier), engine.running(classifier, shape):
        for n in range(repeats + 1):
            start = time.perf_counter()
            classifier(images).cpu()  # waits for the device
            best = min(best, time.perf_counter() - start) if n else best
    return best / engine.batch_size


def stand_in(entry: Trained | Checkpoint | Given, study: Study) -> Classifier:
    """A classifier that is as fast as this one: itself, or with random weights where it is still to be trained."""
    if isinstance(entry, Given):
        return entry.classifier
    if isinstance(entry, Checkpoint):
        return load_checkpoint(entry.checkpoint)[0].to(device())
    built: Classifier = bare(entry.architecture).build(study.dataset.heads, study.reader, 0)
    return built.to(device())
