"""Eight processes fill one store with the same grid at once: is each key committed once, and do all agree?

    python benchmarks/reliability/writers.py [--processes 8] [--cells 300]

Every process goes through all cells in an order of its own. A cell that is there is read; one that is not is computed,
so that some are computed by several at the same moment. Each commit writes one line into a log, which is how commits
are counted: by who took the place, not by what lies there in the end. In a second round processes are killed (kill -9)
at random and others are started in their place.

Last output:

    8 processes, 300 cells, 0 kills: 300 cells there, 0 committed more than once, 16 computed a second time and
      equal, 0 processes failed, 0 damaged; 14 s
    8 processes, 300 cells, 24 kills: 300 cells there, 0 committed more than once, 11 computed a second time and
      equal, 0 processes failed, 0 damaged; 23 s
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xai_bench.progress import Progress
from xai_bench.running.workbench import Workbench
from xai_bench.store.files import write_frame
from xai_bench.store.store import Cell, Store
from xai_bench.store.verify import verify

QUIET = Progress(quiet=True)


class Counted(Store):
    """Writes down which cells this process brought to their place."""

    def _take_place(self, kind: str, key: str, scratch: Path) -> Cell | None:
        first = super()._take_place(kind, key, scratch)
        with (self.root / "log").open("a") as log:  # one short line: written in one piece
            log.write(f"{key} {'second' if first else 'first'}\n")
        return first


def fill(root: Path, cells: int, seed: int) -> None:
    """Ask for every cell."""
    bench = Workbench(Counted(root), QUIET)
    order = list(range(cells))
    random.Random(seed).shuffle(order)
    for number in order:

        def compute(folder: Path, number: int = number) -> Mapping[str, Any]:
            time.sleep(0.002)
            write_frame(folder, "rows", pd.DataFrame({"score": np.random.default_rng(number).random(50)}))
            return {"pictures": 50, "evaluations": 0}

        found = bench.cell("scores", f"cell {number}", {"number": number}, compute).frame("rows")
        assert np.array_equal(found.score, np.random.default_rng(number).random(50))


def main() -> None:
    """Print both rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--cells", type=int, default=300)
    chosen = parser.parse_args()
    for kills in (0, 3 * chosen.processes):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            root = Store.at(folder).root
            failed = together(root, chosen.processes, chosen.cells, kills)
            lines = [line.split() for line in (root / "log").read_text().splitlines()]
            first = Counter(key for key, place in lines if place == "first")
            there = Store(root).cells("scores")
            print(
                f"{chosen.processes} processes, {chosen.cells} cells, {kills} kills: {len(there)} cells there, "
                f"{sum(n > 1 for n in first.values())} committed more than once, "
                f"{len(lines) - sum(first.values())} computed a second time and equal, {failed} processes failed, "
                f"{len(verify(Store(root), QUIET).damaged)} damaged; {time.perf_counter() - start:.0f} s"
            )


def together(root: Path, processes: int, cells: int, kills: int) -> int:
    """Run them, kill some, start others in their place; gives how many ended with an error."""
    context = multiprocessing.get_context("fork")
    rng, failed = random.Random(0), 0
    running = [context.Process(target=fill, args=(root, cells, n)) for n in range(processes)]
    for process in running:
        process.start()
    for number in range(kills):
        time.sleep(rng.random() / 4)
        victim = rng.randrange(processes)
        running[victim].kill()
        running[victim].join()
        running[victim] = context.Process(target=fill, args=(root, cells, processes + number))
        running[victim].start()
    for process in running:
        process.join()
        failed += process.exitcode != 0
    return failed


if __name__ == "__main__":
    main()
