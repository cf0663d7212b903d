"""kill -9 at random moments: nothing lost, nothing twice, the same digits.

    python benchmarks/reliability/kills.py --driver 100 --worker 100

A tiny study (two twins trained, three explainers, two metrics, a summary) runs on two workers. In the driver's trials
the run is killed at a random moment of the time that an undisturbed one takes, and begun again until it ends by itself;
in the workers' two of its workers are killed so. Afterwards every table is compared byte by byte with the undisturbed
run's, rows are counted, and the store is looked through for damage. Last output (two starts, on a busy machine of two
cores):

    undisturbed: 42.6 s, 2064 rows
    killed              kills    finished runs        rows lost       rows twice runs that differ    damaged cells
    driver                 52                5                0                0                0                0
    worker                  6                7                0                0                0                0
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

RUN = """
import sys
from pathlib import Path
from xai_bench import Study, evaluate
from xai_bench.progress import Progress
from xai_bench.reporting.table import to_csv
from xai_bench.reporting.tables import run_tables

films = {"name": "phantom", "height": 48, "width": 40, "films": {"train": 24, "validation": 8, "test": 100}}
network = {"name": "small", "architecture": {"name": "small_cnn", "width": 8}, "seeds": [0, 1],
           "training": {"epochs": 4, "batch_size": 6}}
study = Study.of({
    "name": "kills", "dataset": films, "classifiers": [network], "batch_size": 8,
    "reader": {"resize": {"height": 48, "width": 40}}, "summaries": ["retrain_stability"],
    "explainers": ["grad_cam", "random_map", {"name": "lime", "samples": 40}],
    "metrics": ["relevance_mass", "deletion"],
})
store = Path(sys.argv[1])
run = evaluate(study, store=store, progress=Progress(quiet=True), workers=2)
out = store / "out"
out.mkdir(exist_ok=True)
tables = {t.name: to_csv(t) for t in run_tables(run, full=True) if t.name != "cost"}
tidy = ("rows", "predictions", "curves", "summaries")
for name, text in {**tables, **{n: getattr(run, n).to_csv(index=False) for n in tidy}}.items():
    (out / f"{name}.csv").write_text(text)
"""


@dataclass
class Trials:
    """What the trials of one kind found, and how they are made."""

    script: Path
    rng: random.Random
    length: float = 0.0
    trials: int = 0
    kills: int = 0
    lost: int = 0
    twice: int = 0
    different: int = 0
    damaged: int = 0

    def driver(self, store: Path) -> None:
        """Kill the run and begin it again until it ends before its time comes."""
        while True:
            fresh, start = not store.exists(), time.monotonic()
            run = self.begin(store)
            try:
                finish(run, self.rng.uniform(0, self.length))
                if fresh:
                    self.length = min(self.length, time.monotonic() - start)  # the machine was busier before
                return
            except subprocess.TimeoutExpired:
                os.kill(run.pid, signal.SIGKILL)
                run.wait()
                self.kills += 1
            until = time.monotonic() + 60
            while of_session(run.pid):
                if time.monotonic() > until:
                    raise SystemExit(f"processes {of_session(run.pid)} outlived their run")
                time.sleep(0.05)

    def worker(self, store: Path) -> None:
        """Kill a worker at two random moments, each as soon as there is one; a third could make a job be given up."""
        run, start = self.begin(store), time.monotonic()
        for moment in sorted(self.rng.uniform(0, 0.9) * self.length for _ in range(2)):
            time.sleep(max(0.0, start + moment - time.monotonic()))
            while run.poll() is None:
                if workers := [pid for pid in of_session(run.pid) if "spawn_main" in command(pid)]:
                    os.kill(self.rng.choice(workers), signal.SIGKILL)
                    self.kills += 1
                    break
                time.sleep(0.05)
        finish(run)

    def begin(self, store: Path) -> subprocess.Popen[bytes]:
        """Start a run in a session of its own."""
        return subprocess.Popen(
            [sys.executable, str(self.script), str(store)], stderr=subprocess.PIPE, start_new_session=True
        )

    def check(self, store: Path, whole: Path) -> None:
        """Compare a store with the undisturbed one."""
        from xai_bench.store.store import Store

        names = sorted(p.name for p in (whole / "out").iterdir())
        self.trials += 1
        self.different += any((store / "out" / n).read_bytes() != (whole / "out" / n).read_bytes() for n in names)
        rows = pd.read_csv(store / "out" / "rows.csv")
        self.lost += max(0, len(pd.read_csv(whole / "out" / "rows.csv")) - len(rows))
        self.twice += int(rows.drop(columns="score").duplicated().sum())
        kept = Store(store)
        self.damaged += sum(bool(kept.look(kind, key)[1]) for kind in kept.kinds() for key in kept.cells(kind))

    def line(self, name: str) -> str:
        """One line of the table."""
        numbers = (self.kills, self.trials, self.lost, self.twice, self.different, self.damaged)
        return f"{name:8s}" + "".join(f"{n:>17d}" for n in numbers)


HEAD = f"{'killed':8s}" + "".join(
    f"{n:>17s}" for n in ("kills", "finished runs", "rows lost", "rows twice", "runs that differ", "damaged cells")
)


def finish(run: subprocess.Popen[bytes], seconds: float | None = None) -> None:
    """Wait for a run that must succeed."""
    _, said = run.communicate(timeout=seconds)
    if run.returncode:
        raise SystemExit(said.decode())


def of_session(session: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def command(pid: int) -> str:
    """A process's command line; empty where it ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def main() -> None:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description="kill -9 at random moments")
    parser.add_argument("--driver", type=int, default=10, help="how often the run itself is killed")
    parser.add_argument("--worker", type=int, default=10, help="how often a worker is killed")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script, whole = folder / "run.py", folder / "whole"
        script.write_text(RUN)
        found = {kind: Trials(script, random.Random(f"{chosen.seed} {kind}")) for kind in ("driver", "worker")}
        start = time.monotonic()
        finish(found["driver"].begin(whole))
        length = time.monotonic() - start
        print(f"undisturbed: {length:.1f} s, {len(pd.read_csv(whole / 'out' / 'rows.csv'))} rows\n{HEAD}", flush=True)
        for kind, trials in found.items():
            trial: Callable[[Path], None] = getattr(trials, kind)
            trials.length = length
            while trials.kills < getattr(chosen, kind):
                store = folder / f"{kind}-{trials.trials}"
                trial(store)
                trials.check(store, whole)
                shutil.rmtree(store)
                print(trials.line(kind), flush=True)
    raise SystemExit(any(t.lost + t.twice + t.different + t.damaged for t in found.values()))


if __name__ == "__main__":
    main()
