"""One worker against two, and how much one driver can hand out and put together.

    python benchmarks/reliability/scaling.py

The same study is run by one and by two local workers, in turns; counted from the first piece of work to the last, so
without the start of processes. Then jobs with nothing to do are handed out, which is what a driver can do at most, and
a finished study is assembled again, which is its work alone. Last output, without the speed-up, for which the machine
was too busy:

    local: 4671 empty jobs a second on 2 workers; the driver uses 58% of a core
    dask: 125 empty jobs a second on 2 workers; the driver uses 44% of a core
    assembling 48 finished cells: 5.6 ms a cell
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from xai_bench import Study, evaluate
from xai_bench.backends import Backend
from xai_bench.backends.dask import Dask
from xai_bench.backends.jobs import parts_of
from xai_bench.backends.local import STARTING, Local
from xai_bench.progress import Progress
from xai_bench.store.store import Store

QUIET = Progress(quiet=True)


@dataclass
class Timed(Progress):
    """When the first and the last piece of work was told."""

    quiet: bool = True
    times: list[float] = field(default_factory=list)

    def event(self, kind: str, *values: Any, where: str = "") -> None:
        """Note the time of what workers do."""
        if where and STARTING not in values and "start" not in values:
            self.times.append(time.perf_counter())


def study(films: int, samples: int) -> Study:
    """Four twins of a small network, two explainers, a metric."""
    return Study.of({
        "name": "scaling", "batch_size": 16, "reader": {"resize": {"height": 96, "width": 80}},
        "dataset": {"name": "phantom", "height": 96, "width": 80,
                    "films": {"train": 64, "validation": 8, "test": films}},
        "classifiers": [{"name": "small", "architecture": "small_cnn", "seeds": [0, 1, 2, 3],
                         "training": {"epochs": 3, "batch_size": 16}}],
        "explainers": [{"name": "lime", "samples": samples}, "grad_cam"], "metrics": ["relevance_mass"],
    })  # fmt: skip


@contextmanager
def empty_store() -> Iterator[Store]:
    """A store that is gone after the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield Store.at(folder)


def seconds(workers: int, films: int, samples: int) -> float:
    """Wall time of the study's work on so many workers."""
    timed = Timed()
    with empty_store() as store:
        evaluate(study(films, samples), store=store, progress=timed, backend=Local(workers))
    return timed.times[-1] - timed.times[0]


def handed_out(backend: Backend, count: int) -> tuple[float, float]:
    """Jobs a second that come back at once, and the share of a core that the driver spends on them."""
    with empty_store() as store, backend.open(QUIET) as pool:
        job = parts_of(study(4, 10), store)[0].first
        empty = replace(job, study={"name": "cannot be built"})
        for part in range(8):  # until every process has begun
            pool.submit(replace(empty, part=f"first {part}"))
        list(pool.as_completed())
        start, spent = time.perf_counter(), time.process_time()
        for part in range(count):
            pool.submit(replace(empty, part=str(part)))
        assert all(future.result().refused for future in pool.as_completed())
        wall = time.perf_counter() - start
        return count / wall, (time.process_time() - spent) / wall


def assembled(films: int) -> tuple[int, float]:
    """Cells of a finished study, and milliseconds for each when it is put together again."""
    with empty_store() as store:
        many = replace(study(films, 10), metrics=("relevance_mass", "pointing_game", "iou", "complexity"))
        evaluate(many, store=store, progress=QUIET, backend=Local(2))
        start = time.perf_counter()
        evaluate(many, store=store, progress=QUIET, backend=Local(2))
        count = sum(len(store.cells(kind)) for kind in store.kinds())
        return count, 1000 * (time.perf_counter() - start) / count


def main() -> None:
    """Print the three measurements."""
    parser = argparse.ArgumentParser(description="scaling of the backends")
    parser.add_argument("--films", type=int, default=64)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(chosen.repeats):
        for workers, times in found.items():
            times.append(seconds(workers, chosen.films, chosen.samples))
    one, two = (statistics.median(times) for times in found.values())
    for workers, times in found.items():
        print(f"{workers} worker(s): {statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f})")
    print(f"speed-up {one / two:.2f}", flush=True)
    for name, backend in {"local": Local(2), "dask": Dask(workers=2)}.items():
        rate, share = handed_out(backend, chosen.jobs)
        print(f"{name}: {rate:.0f} empty jobs a second on 2 workers; the driver uses {share:.0%} of a core", flush=True)
    count, each = assembled(chosen.films)
    print(f"assembling {count} finished cells: {each:.1f} ms a cell")


if __name__ == "__main__":
    main()
