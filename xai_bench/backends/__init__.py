"""Where cells run: `Serial` in this process, `Local` in supervised processes, `Dask` wherever a cluster has them.

A backend is a description; opened, it is a pool, a small subset of `concurrent.futures`. A worker only ever adds whole
cells to the store and gives back a small receipt, so nothing is coordinated but who does what, and nothing is lost with
a worker: what is missing in the end is computed, or reported, where the run is assembled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import torch

from xai_bench.errors import BadInput

if TYPE_CHECKING:
    from xai_bench.backends.jobs import Job, Receipt
    from xai_bench.progress import Progress
    from xai_bench.study import Study

NAMES = ("serial", "local", "dask")

WORTH = 20_000
"""Model evaluations from which the explainers of a single classifier are worth the start of several processes."""


class Pool(Protocol):
    """Takes jobs and gives them back as they are done; more may be given while the iteration goes on.

    A job whose worker died three times without finishing another cell comes back with a receipt that says so. What a
    job raises, its future raises.
    """

    def submit(self, job: Job) -> Future[Receipt]: ...

    def as_completed(self) -> Iterator[Future[Receipt]]: ...


class Backend(Protocol):
    """Where jobs run. `threads`: of each process, and of the one that assembles, so that all give the same bytes."""

    @property
    def threads(self) -> int: ...

    def open(self, progress: Progress) -> AbstractContextManager[Pool]:
        """A pool for the block; whatever runs at its end is stopped: in order after Stopped, else at once."""


def backend_of(
    name: str | None = None, workers: int | None = None, scheduler: str | None = None, threads: int = 1
) -> Backend | None:
    """The backend that was asked for, None where nothing was. Raises BadInput for what does not go together."""
    from xai_bench.backends.dask import Dask
    from xai_bench.backends.local import Local
    from xai_bench.backends.serial import Serial

    if workers is not None and workers < 1:
        raise BadInput(f"workers is {workers}; expected 1 or more.")
    if scheduler is not None and name not in (None, "dask"):
        raise BadInput(f"backend {name!r} has no scheduler; remove the scheduler, or name the backend dask.")
    if scheduler is not None and workers is not None:
        raise BadInput(f"the scheduler at {scheduler} has its own workers; remove the number of workers.")
    if name is None and scheduler is None and workers is None and threads == 1:
        return None
    if name == "dask" or scheduler is not None:
        return Dask(scheduler, workers, threads)
    if name == "local" or (name is None and workers != 1):
        return Local(workers, threads)
    if name not in (None, "serial"):
        raise BadInput(f"backend {name!r} is not known; choose {', '.join(NAMES)}.")
    if workers not in (None, 1):
        raise BadInput(f"backend 'serial' is one process and cannot have {workers} workers; choose local.")
    return Serial(threads)


def usual(study: Study) -> Backend:
    """Where a study runs unless something else is asked for: in several processes if that helps, else in this one."""
    from xai_bench.backends.jobs import width
    from xai_bench.backends.local import Local
    from xai_bench.backends.serial import Serial
    from xai_bench.planning.estimate import evaluations

    twins, jobs = width(study)
    worth = twins > 1 or (jobs > 1 and sum(count for _, _, count in evaluations(study)) >= WORTH)
    count = min(available(1), max(twins, jobs)) if worth else 1
    return Local(count) if count > 1 else Serial()


def available(threads: int) -> int:
    """How many workers this machine has room for: one a GPU, or one for so many cores."""
    return torch.cuda.device_count() or max(1, cores() // threads)


def cores() -> int:
    """The cores that this process may use, which are fewer than the machine's in a container or under SLURM."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
