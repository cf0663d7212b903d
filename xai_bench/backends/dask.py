"""Workers of Dask distributed: a cluster of its own on this machine, or a scheduler that runs already.

Jobs and receipts go through the scheduler, cells through the store, which every worker must see. Where workers offer a
resource called GPU, each job takes one. A future is released as soon as its receipt is here: the scheduler would else
compute it again when the worker that held the receipt dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

import torch

from xai_bench.backends import Pool, available
from xai_bench.backends.jobs import Desk, Job, Receipt
from xai_bench.backends.starting import without_main
from xai_bench.errors import BadInput
from xai_bench.interruption import GRACE, Stopped, between_cells, watched
from xai_bench.progress import Progress, Relay
from xai_bench.running.machine import limited

CONNECT = 20
"""Seconds in which a scheduler must answer."""

LOOK = 5.0
"""Seconds between two looks at which workers there are."""


@dataclass(frozen=True)
class Dask:
    """The workers of the scheduler at an address such as `tcp://10.0.0.1:8786`, or `workers` of its own here."""

    scheduler: str | None = None
    workers: int | None = None
    threads: int = 1

    @contextlib.contextmanager
    def open(self, progress: Progress) -> Iterator[Pool]:
        """A connection for the block. Raises BadInput where Dask is not installed or no scheduler answers."""
        try:
            import distributed
        except ImportError:
            raise BadInput(
                "Dask is not installed; run `pip install xai-bench[dask]`, or use --backend local."
            ) from None
        with contextlib.ExitStack() as stack:
            address: Any = self.scheduler
            if address is None:
                stack.enter_context(without_main())  # as long as it may replace workers
                address = stack.enter_context(_own_cluster(self.workers or available(self.threads)))
            elif address.startswith("tcp://") and "//127." not in address and "//localhost" not in address:
                progress.say(
                    f"note: whoever reaches {address} can run code there; use tls:// beyond a trusted network."
                )
            try:
                client = stack.enter_context(distributed.Client(address, timeout=CONNECT, set_as_default=False))
            except Exception as error:  # what answers may be no scheduler, and then anything happens
                raise BadInput(
                    f"no Dask scheduler answers at {self.scheduler} ({error}); start one, or leave --scheduler away."
                ) from None
            pool = _Pool(client, self.threads, progress)
            try:
                yield pool
            except BaseException as error:
                pool.leave(error)
                raise


def _own_cluster(workers: int) -> Any:
    """Workers on the loopback address, which only this machine reaches; each with its own GPU where there are some."""
    from distributed import Nanny, Scheduler, SpecCluster

    here = {"host": "127.0.0.1", "dashboard": False}
    alone = {"nthreads": 1, "memory_limit": 0, "silence_logs": logging.ERROR}
    options: list[dict[str, Any]] = [{**here, **alone} for _ in range(workers)]
    for n, each in enumerate(options if torch.cuda.is_available() else []):
        each |= {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": str(n % torch.cuda.device_count())}}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {**here, "port": 0}},
        workers={n: {"cls": Nanny, "options": each} for n, each in enumerate(options)},
        silence_logs=logging.ERROR,
    )


@dataclass
class _Pool:
    client: Any
    threads: int
    progress: Progress
    name: str = field(default_factory=lambda: f"xai-bench-{uuid.uuid4().hex[:12]}")
    futures: dict[Any, Future[Receipt]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        from distributed import as_completed

        self.done = as_completed(loop=self.client.loop)
        self.client.subscribe_topic(self.name, self._event)
        offers = [w.get("resources", {}) for w in self.client.scheduler_info(n_workers=-1)["workers"].values()]
        self.resources = {"GPU": 1} if any("GPU" in each for each in offers) else {}
        if not offers:
            self.progress.say("note: the scheduler has no workers yet; the run waits for the first one.")

    def submit(self, job: Job) -> Future[Receipt]:
        key = f"{self.name}-{uuid.uuid4().hex}"
        found = self.client.submit(
            _work, job, self.threads, self.name, key=key, pure=False, resources=self.resources or None
        )
        self.done.add(found)
        return self.futures.setdefault(found, Future())

    def as_completed(self) -> Iterator[Future[Receipt]]:
        looked = time.monotonic()
        while not self.done.is_empty():
            between_cells()
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                self._miss()
            if not self.done.has_ready():
                time.sleep(0.02)
                continue
            found = next(self.done)
            future = self.futures.pop(found)
            self._settle(found, future)
            found.release()
            yield future

    def _settle(self, found: Any, future: Future[Receipt]) -> None:
        from distributed import KilledWorker

        try:
            future.set_result(found.result())
        except KilledWorker as error:
            why = f"its worker died {error.allowed_failures + 1} times, the last one at {error.last_worker.address}"
            future.set_result(Receipt(died=why))
        except CancelledError:
            future.set_exception(
                BadInput("the Dask scheduler is gone; start it, and run the same command again to go on.")
            )
        except Exception as error:  # what the job raised
            future.set_exception(error)

    def _event(self, event: tuple[float, Any]) -> None:
        where, kind, *values = event[1]
        self.heard.add(where)
        self.progress.event(kind, *values, where=where)

    def _miss(self) -> None:
        """What lost workers did is no longer shown."""
        present = {w.split("//")[-1] for w in self.client.scheduler_info(n_workers=-1)["workers"]}
        for where in [w for w in self.heard if w.split(" ")[0] not in present]:
            self.heard.discard(where)
            self.progress.event("gone", where=where)

    def leave(self, why: BaseException) -> None:
        """Cancel everything; after Stopped, wait until those who compute have finished their cell."""
        with contextlib.suppress(Exception):  # the scheduler may be what is gone
            self.client.cancel(list(self.futures), force=True)
            until = time.monotonic() + GRACE
            while isinstance(why, Stopped) and time.monotonic() < until and any(self.client.run(_is_busy).values()):
                time.sleep(0.2)


def _is_busy() -> bool:
    """Whether a job runs in this worker."""
    return _one_job.locked()


_one_job = threading.Lock()
_desk = Desk()
"""What this worker keeps between jobs. One job runs at a time: a classifier and its engine are not for two threads."""


def _work(job: Job, threads: int, topic: str) -> Receipt:
    """Do a job in a Dask worker."""
    from distributed import get_worker

    worker: Any = get_worker()
    key, where = worker.get_current_task(), f"{worker.address.split('//')[-1]} ({os.getpid()})"

    def go_on() -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state in ("cancelled", "resumed"):
            raise _Cancelled("the run that asked for it has stopped")

    relay = Relay(send=lambda event: worker.log_event(topic, [where, *event]))
    with _one_job, limited(threads):
        token = watched.set(go_on)
        try:
            go_on()
            return _desk.perform(job, relay)
        except _Cancelled as error:
            raise RuntimeError(str(error)) from None
        finally:
            watched.reset(token)


class _Cancelled(BaseException):
    """Nobody waits for the job any more."""
