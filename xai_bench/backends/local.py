"""Several processes on this machine fill one store, a classifier each; whoever assembles the run then finds it all there.

One-thread processes side by side are faster than one process with many threads, above all on a busy machine, and their
numbers do not depend on how many cores there are. A worker only ever adds whole cells to the store: if one dies, what it
did not finish is computed where the run is assembled, and a user's mistake is reported there.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from xai_bench.errors import XaiBenchError
from xai_bench.progress import Advance, Progress
from xai_bench.store import Store
from xai_bench.study import Given, Study, Trained


def fill(study: Study, store: Store, progress: Progress, *, workers: int | None = None) -> None:
    """Compute a study's cells in `workers` processes (default: one a core, at most one a classifier and twin).

    Does nothing where it cannot help: one worker, a GPU, a classifier in memory, or a study that was finished before.
    """
    parts = _parts(study)
    count = min(workers or os.cpu_count() or 1, len(parts))
    if count < 2 or torch.cuda.is_available() or finished(study, store):
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        events = manager.Queue()
        with (
            ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(events,)) as pool,
            progress.live() as live,
        ):
            jobs = {pool.submit(_work, part, str(store.root)) for part in parts}
            while jobs:
                done, jobs = wait(jobs, timeout=0.2, return_when=FIRST_COMPLETED)
                while not events.empty():
                    live(*events.get())
                for job in done:
                    with contextlib.suppress(BrokenProcessPool):  # the assembling process computes what is missing
                        job.result()


def finished(study: Study, store: Store) -> bool:
    """Whether this study has been assembled from this store before."""
    return _flag(study, store).exists()


def mark_finished(study: Study, store: Store) -> None:
    """Remember that nothing is missing."""
    _flag(study, store).parent.mkdir(exist_ok=True)
    _flag(study, store).touch()


def _flag(study: Study, store: Store) -> Path:
    return store.root / "finished" / study.key


def _parts(study: Study) -> list[dict[str, Any]]:
    """The study once for each classifier and seed, as plain values that another process can build again."""
    if any(isinstance(c, Given) for c in study.classifiers) or getattr(study.dataset, "in_process", False):
        return []
    parts = []
    for entry in study.classifiers:
        for one in [replace(entry, seeds=(s,)) for s in entry.seeds] if isinstance(entry, Trained) else [entry]:
            parts.append(replace(study, classifiers=(one,), summaries=()).spec())
    return parts


@dataclass
class _Remote(Progress):
    """Progress of a worker, told to the process that shows it."""

    events: Any = None

    @contextlib.contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        key = f"{os.getpid()} {description}"
        self.events.put((key, description, total, 0))
        yield lambda steps: self.events.put((key, description, total, steps))


_events: Any = None


def _start(events: Any) -> None:
    global _events  # set once when a worker starts
    _events = events
    torch.set_num_threads(1)


def _work(part: Mapping[str, Any], store: str) -> None:
    from xai_bench.benchmark import assemble

    warnings.simplefilter("ignore")  # what is worth saying is said where the run is assembled
    with contextlib.suppress(XaiBenchError):  # the same mistake is met, and reported, where the run is assembled
        assemble(Study.of(part), Store(Path(store)), _Remote(events=_events))
