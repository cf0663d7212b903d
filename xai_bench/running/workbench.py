"""Where cells are computed: the store, the progress, the classifier at hand, and a count of what went through it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Precision
from xai_bench.environment import environment, peak_memory
from xai_bench.errors import BadInput, CellFailed, Unfit, XaiBenchError
from xai_bench.pictures import Pictures, TrainingFilms
from xai_bench.progress import Progress
from xai_bench.score_cache import ScoreCache
from xai_bench.spec import digest
from xai_bench.store.key_parts import brief
from xai_bench.store.scratch import host
from xai_bench.store.store import Cell, Store

if TYPE_CHECKING:
    from xai_bench.running.targets import Request

T = TypeVar("T")

BLAMED = ("train", "predictions", "fitted", "modes", "maps", "tuned", "scores", "summaries")
"""Kinds of cell whose failure is a row of the run and not its end; it is remembered, and not tried again unasked."""

Compute = Callable[[Path], Mapping[str, Any]]
"""Fills a folder, which becomes a cell, and gives lines for its receipt."""


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

    def asked(self, requests: Sequence[Request]) -> dict[str, list[Any]]:
        """Which films, with which content, are explained for which class: for the key of what comes of them."""
        return {
            "ids": [r.picture for r in requests],
            "films": [self.pictures.samples[r.picture].digest for r in requests],
            "targets": [r.target for r in requests],
        }


@dataclass(frozen=True)
class Workbench:
    """What every cell needs: where it is kept, how progress is shown, the numerical mode, scores asked before."""

    store: Store
    progress: Progress
    precision: Precision | Literal["auto"] = "float32"
    compile: bool = False
    cache: ScoreCache | None = None
    memo: dict[str, Any] = field(default_factory=dict)

    def cell(self, kind: str, label: str, parts: Mapping[str, Any], compute: Compute) -> Cell:
        """The cell whose key is the hash of `parts`, computed and committed if it is missing.

        `label` tells people what it is. Raises CellFailed where a plugin fails on it, or failed before and its failure
        was not forgotten (`Store.forget_failures`).
        """
        key = digest(parts)
        found = self.store.get(kind, key)
        if found is None:
            known = self.store.failure(kind, key)
            if known is not None and known["status"] == "failed":
                raise CellFailed(known["reason"])
            with self._remembering(kind, key, label):
                self._compute(kind, key, {"label": label, "parts": brief(parts)}, compute)
            if known is not None:
                self.store.forget(kind, key)
            found = self.store.get(kind, key)
        if found is None:
            raise BadInput(f"cell {kind}/{key} vanished after it was written; is another process deleting the store?")
        return found

    def _compute(self, kind: str, key: str, about: Mapping[str, Any], compute: Compute) -> None:
        start = time.monotonic()
        receipt = {**about, "environment": environment(), "host": host()}
        with self.store.commit(kind, key, receipt) as folder, peak_memory() as peak:
            receipt |= compute(folder)
            receipt |= {"seconds": time.monotonic() - start, **peak()}

    @contextlib.contextmanager
    def _remembering(self, kind: str, key: str, label: str) -> Iterator[None]:
        """A plugin's failure is kept for the other processes and the next run; the machine's own troubles are not."""
        try:
            yield
        except Unfit as error:
            if kind in BLAMED:
                self.store.fail(kind, key, label, "skipped", str(error))
            raise
        except (XaiBenchError, OSError):
            raise
        except Exception as error:
            if kind not in BLAMED:
                raise
            reason = f"{type(error).__name__}: {error}"
            self.store.fail(kind, key, label, "failed", reason)
            raise CellFailed(reason) from error


def guarded(work: Callable[[], T]) -> T | tuple[str, str]:
    """The work's result, or (status, reason). A user's mistake ends the run; a plugin's failure is a row."""
    try:
        return work()
    except Unfit as error:
        return "skipped", str(error)
    except CellFailed as error:
        return "failed", str(error)
    except XaiBenchError:
        raise
    except Exception as error:  # one failed cell never stops a run
        return "failed", f"{type(error).__name__}: {error}"
