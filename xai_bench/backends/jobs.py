"""A study as jobs that any process can do: plain values in, cells into the store, a small receipt back.

A job is one classifier or twin of the study: trained and asked for its predictions, or explained by one method and
scored. Explaining waits for training; all else is independent.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.backends import Backend
from xai_bench.errors import BadInput, XaiBenchError
from xai_bench.interruption import between_cells
from xai_bench.progress import Progress
from xai_bench.spec import digest
from xai_bench.store.files import writing
from xai_bench.store.store import Store
from xai_bench.study import Given, Study, Trained

if TYPE_CHECKING:
    from xai_bench.running.models import Entry
    from xai_bench.running.workbench import Model, Workbench

DEATHS = 3
"""So often a job may lose its worker without a finished cell in between."""

Abandoned = Mapping[tuple[str, int, str], str]
"""(classifier, replicate, explainer or "" for its training) -> why no worker could do it."""


@dataclass(frozen=True)
class Job:
    """One classifier or twin trained (`explainer` None) or explained and scored. All values are JSON.

    `study` has this one classifier and no explainer; jobs with the same `part` share it, and a process that did one has
    the classifier and its films in memory for the next. `token` proves that a worker sees the same store.
    """

    classifier: str
    replicate: int
    part: str
    study: Mapping[str, Any]
    store: str
    token: str
    explainer: Mapping[str, Any] | None = None

    @property
    def label(self) -> str:
        """The explainer's label, "" where there is none."""
        return "" if self.explainer is None else str(self.explainer["label"])


@dataclass(frozen=True)
class Receipt:
    """What comes back from a job; empty where it was done. `died`: no worker lived to finish it; `refused`: a worker
    could not begin with it.
    """

    died: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Part:
    """A classifier or twin: its training (or loading) and what waits for it."""

    first: Job
    then: tuple[Job, ...]


def is_plain(study: Study) -> bool:
    """Whether other processes can build the study again: nothing of it is an object in this one's memory."""
    return not any(isinstance(c, Given) for c in study.classifiers) and not getattr(study.dataset, "in_process", False)


def width(study: Study) -> tuple[int, int]:
    """How many classifiers and twins the study has, and how many jobs can run at once when they are trained."""
    twins = sum(len(c.twins) if isinstance(c, Trained) else 1 for c in study.classifiers)
    return (twins, twins * len(study.explainers)) if is_plain(study) else (1, 1)


def parts_of(study: Study, store: Store) -> list[Part]:
    """The jobs of a study."""
    asking = tuple(s for s in study.summaries if getattr(s, "needs_shuffled", False))  # for more scores than others
    token, found = token_of(store), []
    for entry in study.classifiers:
        numbers = [t.number for t in entry.twins] if isinstance(entry, Trained) else [0]
        for number in numbers:
            one = replace(entry, only=(number,)) if isinstance(entry, Trained) else entry
            spec = replace(study, classifiers=(one,), summaries=asking).spec()
            explainers, spec = spec["explainers"], {**spec, "explainers": []}
            part = digest([spec, str(store.root.resolve())])
            first = Job(entry.name, number, part, spec, str(store.root.resolve()), token)
            order = sorted(explainers, key=_cost, reverse=True)  # what takes longest begins first
            found.append(Part(first, tuple(replace(first, explainer=e) for e in order)))
    return found


def _cost(explainer: Mapping[str, Any]) -> int:
    fields = explainer["plugin"].get("fields", {})
    return max((int(fields[n]) for n in ("evaluations", "samples") if isinstance(fields.get(n), int)), default=1)


def fill(study: Study, store: Store, backend: Backend, progress: Progress) -> Abandoned:
    """Let a backend compute the study's cells. What no worker could do is given back; what is missing stays missing."""
    abandoned: dict[tuple[str, int, str], str] = {}
    _measure(study, store, progress)
    jobs: dict[Future[Receipt], tuple[Job, tuple[Job, ...]]] = {}
    with backend.open(progress) as pool:
        for part in parts_of(study, store):
            jobs[pool.submit(part.first)] = (part.first, part.then)
        for future in pool.as_completed():
            job, then = jobs.pop(future)
            receipt = future.result()
            if receipt.refused:
                progress.say(f"note: a worker could not begin, this process will do it: {receipt.refused}")
            elif receipt.died:
                abandoned[job.classifier, job.replicate, job.label] = receipt.died
            else:
                jobs |= {pool.submit(each): (each, ()) for each in then}
    return abandoned


def _measure(study: Study, store: Store, progress: Progress) -> None:
    """Batch sizes are measured before the workers disturb each other."""
    from xai_bench.running.benchmark import bench_of
    from xai_bench.running.models import batch_size

    for entry in study.classifiers:
        between_cells()
        batch_size(study, bench_of(study, store, progress), entry)


@dataclass
class Task:
    """A job that a pool has taken, and how often its worker died since the last finished cell."""

    job: Job
    future: Future[Receipt] = field(default_factory=Future)
    deaths: int = 0


def next_task(waiting: deque[Task], part: str) -> Task:
    """The oldest task of the part that a process has in memory, else the oldest of all."""
    place = next((n for n, task in enumerate(waiting) if task.job.part == part), 0)
    chosen = waiting[place]
    del waiting[place]
    return chosen


@dataclass
class Desk:
    """Does jobs, and keeps the last part's study, classifier and films for the next."""

    _part: str = ""
    _study: Study | None = None
    _bench: Workbench | None = None
    _entries: list[Entry] = field(default_factory=list)

    def perform(self, job: Job, progress: Progress) -> Receipt:
        """Add the job's cells to the store. Raises BadInput for a user's mistake and where the store is another one."""
        from xai_bench.running.benchmark import gather

        if job.part != self._part:
            check_token(job)
            try:
                self._begin(job, progress)
            except XaiBenchError as error:  # a plugin that stands in the caller's script, for example
                return Receipt(refused=str(error))
        assert self._study is not None and self._bench is not None  # for the type checker: `_begin` made them
        try:
            chosen = () if job.explainer is None else (job.explainer,)
            study = replace(self._study, explainers=chosen)
        except XaiBenchError as error:
            return Receipt(refused=str(error))
        gather(study, replace(self._bench, progress=progress), self._entries)
        return Receipt()

    def _begin(self, job: Job, progress: Progress) -> None:
        from xai_bench.running.benchmark import bench_of
        from xai_bench.running.models import entries

        same = self._study is not None and self._study.spec()["dataset"] == job.study["dataset"]
        known = {"dataset": self._study.dataset} if same and self._study is not None else {}  # its films are listed
        self._part, self._study, self._bench, self._entries = "", None, None, []  # one classifier at a time in memory
        study = Study.of({**job.study, **known})
        self._bench = bench_of(study, Store(Path(job.store)), progress)
        self._entries = [replace(e, make=_once(e.make)) for e in entries(study)]
        self._study, self._part = study, job.part


def _once(make: Callable[[Workbench], Model]) -> Callable[[Workbench], Model]:
    kept: list[Model] = []

    def again(bench: Workbench) -> Model:
        if not kept:
            kept.append(make(bench))
        return kept[0]

    return again


def token_of(store: Store) -> str:
    """A store's own random name, kept in it: a worker elsewhere can tell whether it sees the same folder."""
    path, name = store.root / "token", uuid.uuid4().hex
    with writing(path):
        if not path.exists():
            scratch = path.with_name(f".token.{name}")
            scratch.write_text(name)
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(scratch, path)
            scratch.unlink()
        return path.read_text()


def check_token(job: Job) -> None:
    """Raises BadInput where this process does not see the job's store."""
    try:
        seen = (Path(job.store) / "token").read_text()
    except OSError:
        seen = ""
    if seen != job.token:
        raise BadInput(
            f"a worker does not see the store {job.store}; put it on a file system that all workers share, and name it "
            "with --store."
        )
