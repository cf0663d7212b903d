"""Where cells are computed: the store, the progress, the classifier at hand, and a count of what went through it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Precision
from xai_bench.environment import environment
from xai_bench.errors import BadInput
from xai_bench.pictures import Pictures, TrainingFilms
from xai_bench.progress import Progress
from xai_bench.score_cache import ScoreCache
from xai_bench.spec import digest
from xai_bench.store import Cell, Store


@dataclass
class Counter:
    """Counts the pictures that go through a classifier, by a hook and not by bookkeeping."""

    evaluations: int = 0

    @contextlib.contextmanager
    def on(self, classifier: Classifier) -> Iterator[Counter]:
        """Count within the block."""

        def add(_: Any, args: tuple[Tensor, ...]) -> None:
            self.evaluations += args[0].shape[0]

        handle = classifier.register_forward_pre_hook(add)
        try:
            yield self
        finally:
            handle.remove()


@dataclass(frozen=True)
class Model:
    """A classifier of the study, ready to use, with what its rows say of it."""

    name: str
    replicate: int
    train_seed: int | None
    regime: str
    classifier: Classifier
    weights: str
    pictures: Pictures
    training: TrainingFilms | None
    batch_size: int
    fold: int | None = None
    resample: int | None = None
    validation: Pictures | None = None  # films on which thresholds are tuned

    @property
    def label(self) -> str:
        """For progress lines."""
        parts = (("seed", self.train_seed), ("fold", self.fold), ("resample", self.resample))
        return ", ".join([self.name, *(f"{what} {n}" for what, n in parts if n is not None)])


@dataclass(frozen=True)
class Workbench:
    """What every cell needs: where it is kept, how progress is shown, the numerical mode, scores asked before."""

    store: Store
    progress: Progress
    precision: Precision | Literal["auto"] = "float32"
    compile: bool = False
    cache: ScoreCache | None = None
    memo: dict[str, Any] = field(default_factory=dict)

    def cell(self, kind: str, parts: Any, compute: Callable[[Path], Mapping[str, Any]]) -> Cell:
        """The cell with this key, computed and committed if it is missing.

        `compute` fills a folder and returns lines for the receipt.
        """
        key = digest(parts)
        found = self.store.get(kind, key)
        if found is None:
            start = time.monotonic()
            receipt: dict[str, Any] = {"environment": environment()}
            with self.store.commit(kind, key, receipt) as folder:
                receipt |= compute(folder)
                receipt |= {"seconds": time.monotonic() - start}
            found = self.store.get(kind, key)
        if found is None:
            raise BadInput(f"cell {kind}/{key} vanished after it was written; is another process deleting the store?")
        return found
