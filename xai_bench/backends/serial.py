"""The jobs of a study one after the other in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from xai_bench.backends import Pool
from xai_bench.backends.jobs import Desk, Job, Receipt, Task, next_task
from xai_bench.progress import Progress


@dataclass(frozen=True)
class Serial:
    """This process alone."""

    threads: int = 1

    @contextmanager
    def open(self, progress: Progress) -> Iterator[Pool]:
        """A pool that computes while it is iterated."""
        yield _Pool(progress)


@dataclass
class _Pool:
    progress: Progress
    desk: Desk = field(default_factory=Desk)
    waiting: deque[Task] = field(default_factory=deque)

    def submit(self, job: Job) -> Future[Receipt]:
        self.waiting.append(Task(job))
        return self.waiting[-1].future

    def as_completed(self) -> Iterator[Future[Receipt]]:
        part = ""
        while self.waiting:
            task = next_task(self.waiting, part)
            part = task.job.part
            try:
                task.future.set_result(self.desk.perform(task.job, self.progress))
            except Exception as error:  # whoever asks for the result gets it
                task.future.set_exception(error)
            yield task.future
