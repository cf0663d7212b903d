"""Several processes on this machine fill one store, a classifier each; whoever assembles the run finds it all there.

One-thread processes side by side are faster than one process with many threads, above all on a busy machine, and their
numbers do not depend on how many cores there are. A worker only ever adds whole cells to the store: if one dies, what
it did not finish is computed where the run is assembled, and a user's mistake is reported there.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.managers import SyncManager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from xai_bench.errors import XaiBenchError
from xai_bench.progress import Advance, Progress
from xai_bench.store import Store, writing
from xai_bench.study import Given, Study, Trained


def fill(study: Study, store: Store, progress: Progress, *, workers: int | None = None) -> None:
    """Compute a study's cells in `workers` processes (default: one a core, at most one a classifier and twin).

    Does nothing where it cannot help: one worker, a GPU, a classifier in memory, or a study that was finished before.
    """
    parts = _parts(study)
    count = min(workers or os.cpu_count() or 1, len(parts))
    if count < 2 or torch.cuda.is_available() or finished(study, store):
        return
    _measure(study, store, progress)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with contextlib.ExitStack() as stack:
        with _interrupts_wait(), _without_main():
            manager = SyncManager(ctx=context)
            manager.start(_follow_parent)
            events = stack.enter_context(manager).Queue()
            before = set(multiprocessing.active_children())
            pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(events, stop))
            jobs = {pool.submit(_work, part, str(store.root)) for part in parts}
            started = set(multiprocessing.active_children()) - before
        stack.callback(pool.shutdown, cancel_futures=True)
        try:
            _watch(jobs, events, stack.enter_context(progress.live()))
        except BaseException:  # Ctrl-C above all: what runs leaves in order, and what waits never starts
            stop.set()
            for worker in started:
                if worker.is_alive() and worker.pid:
                    os.kill(worker.pid, signal.SIGINT)
            raise


def _measure(study: Study, store: Store, progress: Progress) -> None:
    """Batch sizes are measured before the workers disturb each other, on one thread as each of them has."""
    from xai_bench.benchmark import bench_of
    from xai_bench.models import batch_size

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for entry in study.classifiers:
            batch_size(study, bench_of(study, store, progress), entry)
    finally:
        torch.set_num_threads(threads)


def _watch(jobs: set[Future[None]], events: Any, live: Callable[[str, str, int, int], None]) -> None:
    while jobs:
        done, jobs = wait(jobs, timeout=0.2, return_when=FIRST_COMPLETED)
        while not events.empty():
            live(*events.get())
        for job in done:
            with contextlib.suppress(BrokenProcessPool):  # the assembling process computes what is missing
                job.result()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C is kept for the end of the block, here and in processes that begin in it, until they ask for it."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Processes that begin in the block do not run the caller's script again; they need nothing of it.

    Else every script would need `if __name__ == "__main__":` around its first line.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def finished(study: Study, store: Store) -> bool:
    """Whether this study has been assembled from this store before."""
    return _flag(study, store).exists()


def mark_finished(study: Study, store: Store) -> None:
    """Remember that nothing is missing."""
    with writing(store.root):
        _flag(study, store).parent.mkdir(exist_ok=True)
        _flag(study, store).touch()


def _flag(study: Study, store: Store) -> Path:
    return store.root / "finished" / study.key


def _parts(study: Study) -> list[dict[str, Any]]:
    """The study once for each classifier and seed, as plain values that another process can build again."""
    if any(isinstance(c, Given) for c in study.classifiers) or getattr(study.dataset, "in_process", False):
        return []
    asking = tuple(s for s in study.summaries if getattr(s, "needs_shuffled", False))  # for more scores than others
    return [
        replace(study, classifiers=(one,), summaries=asking).spec()
        for entry in study.classifiers
        for one in ([replace(entry, only=(t.number,)) for t in entry.twins] if isinstance(entry, Trained) else [entry])
    ]


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
_stop: Any = None
_busy = False


def _start(events: Any, stop: Any) -> None:
    global _events, _stop  # set once when a worker starts
    _events, _stop = events, stop
    _follow_parent()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _follow_parent() -> None:
    """Nobody would collect the work of an orphan: it ends when the calling process was killed."""

    def wait_for_its_end() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait_for_its_end, daemon=True).start()


def _interrupt(*_: Any) -> None:
    """The first Ctrl-C ends what is computed; a second one must not disturb how that is put away."""
    global _busy
    if _busy:
        _busy = False
        raise KeyboardInterrupt


def _work(part: Mapping[str, Any], store: str) -> None:
    from xai_bench.benchmark import bench_of, gather

    global _busy
    warnings.simplefilter("ignore")  # what is worth saying is said where the run is assembled
    # The same mistake is met, and reported, where the run is assembled; an interrupt is met there too.
    with contextlib.suppress(XaiBenchError, KeyboardInterrupt):
        _busy = True
        if not _stop.is_set():
            study = Study.of(part)
            gather(study, bench_of(study, Store(Path(store)), _Remote(events=_events)))
    _busy = False
