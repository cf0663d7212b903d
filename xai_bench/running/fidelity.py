"""May a faster numerical mode be used? Only where a sample's predictions and maps say the same as in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.engine import Engine, Mode
from xai_bench.environment import bfloat16_unit
from xai_bench.perturbation import Scene, evaluate_all, grid
from xai_bench.pictures import pad
from xai_bench.protocols import Batch, Imputer
from xai_bench.running.tuning import forward_seconds
from xai_bench.saliency import constant, spearman

LOWEST = 0.99
FILMS = 4
"""Films in the sample."""
CELLS = 8
ROUNDS = 5

Explain = Callable[[Classifier, Batch], Float[Tensor, "b h w"]]


@dataclass(frozen=True)
class Fidelity:
    """What a mode did on the sample.

    `same`: films with the same predicted classes. `lowest`: the smallest rank correlation of a film's map with its
    float32 map, in [-1, 1]. `speed`: how many times faster the forward pass is.
    """

    mode: Mode
    films: int
    same: int
    lowest: float
    speed: float

    @property
    def passed(self) -> bool:
        """Same predictions, maps that agree, and faster."""
        return self.same == self.films and self.lowest >= LOWEST and self.speed > 1

    def __str__(self) -> str:
        return (
            f"{self.mode}: {self.same} of {self.films} predictions the same, lowest rank correlation "
            f"{self.lowest:.4f}, forward pass x {self.speed:.1f}"
        )


def candidates(classifier: Classifier, compiled: bool) -> list[Mode]:
    """Faster modes that this device may have, the fastest first."""
    device = classifier.device.type
    found = [Mode("float32", compile=True)] if compiled else []
    if device == "cuda":
        found = [Mode("float16", compiled), *found]
    if (device == "cuda" and torch.cuda.is_bf16_supported()) or (device == "cpu" and bfloat16_unit()):
        found = [Mode("bfloat16", compiled), *found]
    return found


def best_mode(
    classifier: Classifier, batch: Batch, explain: Explain, modes: Sequence[Mode]
) -> tuple[Mode, list[Fidelity]]:
    """The first mode that passes, else float32; and what each one tried did.

    A method that never asks the classifier's engine stays in float32 and nothing is tried.
    """
    engine = classifier.engine or Engine()
    asked = engine.asked
    reference = _run(classifier, engine, Mode(), batch, explain)
    if engine.asked == asked:
        return Mode(), []
    tried = []
    for mode in modes:
        found = _run(classifier, engine, mode, batch, explain)
        same = sum(a == b for a, b in zip(reference.classes, found.classes, strict=True))
        lowest = agreement(reference.maps, found.maps)
        speed = _speed(classifier, engine, mode, batch.images.shape[1:])
        tried.append(Fidelity(mode, len(batch), same, lowest, speed))
        if tried[-1].passed:
            return mode, tried
    return Mode(), tried


def agreement(a: Float[Tensor, "b h w"], b: Float[Tensor, "b h w"]) -> float:
    """The lowest rank correlation of two sets of maps; two maps that are both constant agree."""
    everywhere = torch.ones(a.shape, dtype=torch.bool, device=a.device)
    flat = constant(a, everywhere) & constant(b, everywhere)
    found = spearman(a, b, everywhere).masked_fill(flat, 1.0)
    return float(found.nan_to_num(-1.0).min())


def grid_probe(imputer: Imputer) -> Explain:
    """How much the score falls where one cell of an 8 x 8 grid is hidden: a map for what makes none by itself."""

    def explain(classifier: Classifier, batch: Batch) -> Float[Tensor, "b h w"]:
        _, _, h, w = batch.images.shape
        labels = grid(h, w, CELLS).expand(len(batch), -1, -1)
        keep = torch.cat([torch.ones(1, CELLS**2, dtype=torch.bool), ~torch.eye(CELLS**2, dtype=torch.bool)])
        scores = evaluate_all(classifier, Scene.of(batch, labels, imputer), keep.expand(len(batch), -1, -1))
        return (scores[:, :1] - scores[:, 1:]).view(-1, CELLS, CELLS)

    return explain


@dataclass(frozen=True)
class _Said:
    """Each film's predicted classes, one a head, and its map."""

    classes: list[tuple[int, ...]]
    maps: Float[Tensor, "b h w"]


def _run(classifier: Classifier, engine: Engine, mode: Mode, batch: Batch, explain: Explain) -> _Said:
    before, classifier.engine = classifier.engine, engine
    was, engine.mode = engine.mode, mode
    try:
        with torch.inference_mode(), untouched(classifier), engine.running(classifier, batch.images.shape[1:]):
            logits = classifier(pad(batch, engine.batch_size).images)[: len(batch)]
        return _Said(list(_classes(classifier, logits)), explain(classifier, batch))
    finally:
        classifier.engine, engine.mode = before, was


def _speed(classifier: Classifier, engine: Engine, mode: Mode, shape: Sequence[int]) -> float:
    """How many times faster than float32 the forward pass is; both are timed in turns, the machine may be busy."""
    plain, fast = (replace(engine, mode=m) for m in (Mode(), mode))
    times = [
        (forward_seconds(classifier, plain, shape, 1), forward_seconds(classifier, fast, shape, 1))
        for _ in range(ROUNDS)
    ]
    return min(slow for slow, _ in times) / min(quick for _, quick in times)


def _classes(classifier: Classifier, logits: Float[Tensor, "b classes"]) -> Iterator[tuple[int, ...]]:
    sizes = [len(head.classes) for head in classifier.heads]
    parts = torch.split(logits, sizes, dim=1)
    links = [head.link for head in classifier.heads]
    said = [
        p.argmax(1, keepdim=True) if link != "sigmoid" else (p > 0).long() for p, link in zip(parts, links, strict=True)
    ]
    for row in torch.cat(said, 1).tolist():
        yield tuple(row)
