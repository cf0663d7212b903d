"""Supervised processes on this machine, one a GPU or a share of the cores each.

A worker that dies is replaced and its job begun again, which finds what was finished in the store. Every worker has a
pipe of its own: one that is killed while it writes disturbs nobody else.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from xai_bench.backends import Pool, available
from xai_bench.backends.jobs import DEATHS, Desk, Job, Receipt, Task, next_task
from xai_bench.backends.starting import interrupts_wait, own_gpu, surroundings, without_main
from xai_bench.errors import BadInput
from xai_bench.interruption import GRACE, Stopped, between_cells, stoppable
from xai_bench.progress import Progress, Relay
from xai_bench.running.machine import limited

TICK = 0.2
"""Seconds after which the calling process looks whether it should stop."""

STARTING = "starting"
"""What a worker does until it is ready: it imports for some seconds."""

PATIENCE = 5.0
"""Seconds beyond their grace that workers get to leave by themselves."""


@dataclass(frozen=True)
class Local:
    """`workers` processes of `threads` threads; default: one for each GPU, or as many as the cores allow."""

    workers: int | None = None
    threads: int = 1

    @contextlib.contextmanager
    def open(self, progress: Progress) -> Iterator[Pool]:
        """A pool whose processes start when there is something to do."""
        pool = _Pool(self.workers or available(self.threads), self.threads, progress)
        try:
            yield pool
        except BaseException as error:  # Ctrl-C above all
            pool.leave(error)
            raise
        else:
            pool.leave(None)


@dataclass
class _Worker:
    """A process, and what it does."""

    name: str
    process: BaseProcess
    connection: Connection
    task: Task | None = None
    part: str = ""
    ready: bool = False


@dataclass
class _Pool:
    count: int
    threads: int
    progress: Progress
    workers: list[_Worker] = field(default_factory=list)
    waiting: deque[Task] = field(default_factory=deque)
    cells: set[str] = field(default_factory=set)
    stillborn: int = 0

    def submit(self, job: Job) -> Future[Receipt]:
        self.waiting.append(Task(job))
        return self.waiting[-1].future

    def as_completed(self) -> Iterator[Future[Receipt]]:
        while self.waiting or any(w.task for w in self.workers):
            between_cells()
            self._hand_out()
            for worker in self._heard_from(TICK):
                yield from self._listen(worker)

    def _hand_out(self) -> None:
        while self.waiting:
            idle = next((w for w in self.workers if w.task is None), None)
            if idle is None and len(self.workers) == self.count:
                return
            worker = idle or self._start()
            task = next_task(self.waiting, worker.part)
            worker.task, worker.part = task, task.job.part
            with contextlib.suppress(OSError):  # it died while it waited, which is heard at once
                worker.connection.send(task.job)

    def _start(self) -> _Worker:
        names = {w.name for w in self.workers}
        number = next(n for n in range(1, self.count + 1) if f"worker {n}" not in names)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.threads), name=f"xai-bench worker {number}")
        with interrupts_wait(), without_main(), surroundings(own_gpu(number - 1)):
            process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        self.workers.append(_Worker(f"worker {number}", process, ours))
        self.progress.event("begin", "start", STARTING, 1, where=f"worker {number}")
        return self.workers[-1]

    def _heard_from(self, seconds: float) -> list[_Worker]:
        """Workers that said something, or ended."""
        watched: dict[Any, _Worker] = {w.connection: w for w in self.workers}
        watched |= {w.process.sentinel: w for w in self.workers}  # a grandchild may hold the pipe open
        return list({id(w): w for w in (watched[found] for found in wait(list(watched), seconds))}.values())

    def _listen(self, worker: _Worker) -> Iterator[Future[Receipt]]:
        """Take in what a worker says; yields its task's future where it is done."""
        try:
            while worker.connection.poll():
                kind, *values = worker.connection.recv()
                if kind == "event":
                    self._event(worker, *values[0])
                elif kind == "ready":
                    worker.ready, self.stillborn = True, 0
                    self.progress.event("end", "start", where=worker.name)
                elif worker.task is not None:
                    future, worker.task = worker.task.future, None
                    if kind == "done":
                        future.set_result(values[0])
                    else:
                        future.set_exception(values[0])
                    yield future
        except (EOFError, OSError, pickle.UnpicklingError):  # a message that death cut short
            yield from self._bury(worker)
        else:
            if not worker.process.is_alive() and not worker.connection.poll():
                yield from self._bury(worker)

    def _event(self, worker: _Worker, kind: str, *values: Any) -> None:
        if kind == "cell" and worker.task is not None and values[0] not in self.cells:  # not one found again
            self.cells.add(values[0])
            worker.task.deaths = 0
        self.progress.event(kind, *values, where=worker.name)

    def _bury(self, worker: _Worker) -> Iterator[Future[Receipt]]:
        """Take a dead worker's job back; after so many deaths it is given up."""
        self._remove(worker)
        task = worker.task
        if not worker.ready:
            self.stillborn += 1
            if self.stillborn == DEATHS:
                raise BadInput(
                    f"{DEATHS} workers in a row ended before they could begin ({_end(worker.process)}); see what they "
                    "wrote above, or run in one process (--backend serial)."
                )
        if task is None:
            return
        task.deaths += worker.ready
        if task.deaths < DEATHS:
            self.waiting.appendleft(task)
            return
        why = f"its process died {DEATHS} times in the same cell, the last time {_end(worker.process)}"
        task.future.set_result(Receipt(died=why))
        yield task.future

    def _remove(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        self.progress.event("gone", where=worker.name)

    def leave(self, why: BaseException | None) -> None:
        """Send everybody home: who computes may finish the cell where the run was asked to stop, else drops it."""
        sent = signal.SIGTERM if isinstance(why, Stopped) else signal.SIGINT
        until = time.monotonic() + PATIENCE + (GRACE if isinstance(why, Stopped) else 0)
        try:
            for worker in self.workers:
                if worker.task is None or why is None:
                    with contextlib.suppress(OSError):
                        worker.connection.send(None)
                elif worker.process.is_alive() and worker.process.pid:
                    os.kill(worker.process.pid, sent)
            while self.workers and time.monotonic() < until:
                for worker in self._heard_from(TICK):
                    for _ in self._listen(worker):
                        with contextlib.suppress(OSError):  # it finished its job just now
                            worker.connection.send(None)
        except BadInput:  # of workers that never began, nothing more has to be said
            pass
        finally:
            for worker in list(self.workers):
                worker.process.kill()
                self._remove(worker)


def _end(process: BaseProcess) -> str:
    """How a process ended."""
    code = process.exitcode or 0
    if code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name
    return f"by {name}" + (" (did memory run out?)" if name == "SIGKILL" else "")


def _serve(connection: Connection, threads: int) -> None:
    """A worker: does jobs until there is none, its parent is gone, or it is told to leave."""
    _follow_parent()
    warnings.simplefilter("ignore")  # what is worth saying is said where the run is assembled
    with contextlib.suppress(KeyboardInterrupt, Stopped, EOFError, BrokenPipeError), limited(threads), stoppable():
        _one_interrupt()
        connection.send(("ready",))
        desk, relay = Desk(), Relay(send=lambda event: connection.send(("event", event)))
        while (job := connection.recv()) is not None:
            between_cells()
            try:
                connection.send(("done", desk.perform(job, relay)))
            except Exception as error:
                connection.send(("failed", _portable(error)))


def _one_interrupt() -> None:
    """The first Ctrl-C ends what is computed; a second one must not disturb how that is put away."""
    met = False

    def interrupt(*_: Any) -> None:
        nonlocal met
        if not met:
            met = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _portable(error: Exception) -> Exception:
    """The error with its traceback as text, which is all of it that travels."""
    error.add_note("in a worker:\n" + "".join(traceback.format_tb(error.__traceback__)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever an error's own class does
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _follow_parent() -> None:
    """Nobody would collect the work of an orphan: it ends when the calling process was killed."""

    def wait_for_its_end() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait_for_its_end, daemon=True).start()
