"""What a cell costs beside its plugin: keys, store, rows. A plan of 1,000 tiny cells, run once and assembled once more.

    python benchmarks/reliability/bookkeeping.py [--explainers 100] [--metrics 9]

Every explainer makes one cell of maps, and each metric on it one cell of scores; all on two films of 16 x 16 pixels.
The time inside plugins and network is measured and taken off. The wall time holds what the disk takes to sync, and what
other processes take.

Last two outputs (two cores at a load of about three, whose share is in the wall time):

    first run: 1001 cells, 8.37 ms a cell beside plugins, 6.48 ms of it on the processor
    run again: 1001 cells, 1.89 ms a cell beside plugins, 1.75 ms of it on the processor
    plan: 1001 cells, 0.64 ms a cell beside plugins, 0.63 ms of it on the processor

    first run: 1001 cells, 11.35 ms a cell beside plugins, 7.33 ms of it on the processor
    run again: 1001 cells, 1.75 ms a cell beside plugins, 1.72 ms of it on the processor
    plan: 1001 cells, 0.60 ms a cell beside plugins, 0.60 ms of it on the processor
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import pstats
import tempfile
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Resize
from xai_bench.planning.plan import plan
from xai_bench.progress import Progress
from xai_bench.protocols import Batch, Case, Result, ScoreInfo
from xai_bench.running.benchmark import evaluate
from xai_bench.samples import Fixed, Head, Region, RegionKey, Sample
from xai_bench.store.store import Store
from xai_bench.study import Chosen, Given, Study

SIZE = 16
HEADS = (Head("side", ("left", "right")),)
spent = 0.0


class Timed:
    """Adds the time of its block to what is taken off."""

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        global spent
        spent += time.perf_counter() - self.start


@dataclass(frozen=True)
class Tiny:
    """The picture as a map."""

    number: int

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        with Timed():
            return batch.images.mean(1) + self.number


@dataclass(frozen=True)
class Mean:
    """The mean of the map inside the region."""

    number: int
    needs_region = True
    scores = {"mean": ScoreInfo("higher")}  # noqa: RUF012 - a class constant

    def __call__(self, case: Case) -> Result:
        with Timed():
            return Result({"mean": (case.saliency * case.region).mean((1, 2))}, (None,) * len(case.batch))


class Net(nn.Module):
    """Two logits."""

    def forward(self, x: Tensor) -> Tensor:
        with Timed():
            mean = x.mean((1, 2, 3))
            return torch.stack([mean, -mean], 1)


def film(number: int) -> Sample:
    """A noisy film with a square region."""
    image = np.random.default_rng(number).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[4:8, 4:8] = True
    return Sample(
        id=f"film-{number}", patient=f"patient-{number}", labels={"side": "left"}, read_image=lambda: image,
        digest=f"digest-{number}", read_regions=lambda: {RegionKey("square", "derived"): Region("drawn", mask)},
        spacing_mm=(1.0, 1.0), meta={},
    )  # fmt: skip


def study(explainers: int, metrics: int) -> Study:
    """One classifier in memory, many plugins that do nothing."""
    films = Fixed({"train": (), "validation": (), "test": (film(1), film(2))}, HEADS, {}, ("square",))
    network = Classifier(Net(), HEADS, reader=Input(Resize(SIZE, SIZE))).eval()
    return Study(
        "tiny", films, (Given("net", network),), tuple(Chosen(Tiny(n), f"e{n}") for n in range(explainers)),
        tuple(Chosen(Mean(n), f"m{n}") for n in range(metrics)), batch_size=2,
    )  # fmt: skip


def main() -> None:
    """Print milliseconds a cell of the first run, of one that finds everything, and of `plan`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--explainers", type=int, default=100)
    parser.add_argument("--metrics", type=int, default=9)
    parser.add_argument("--profile", action="store_true", help="show where the time of the first run goes")
    chosen = parser.parse_args()
    work = study(chosen.explainers, chosen.metrics)
    evaluate(replace(work, explainers=work.explainers[:1]), store=tempfile.mkdtemp(), progress=Progress(quiet=True))
    with tempfile.TemporaryDirectory() as folder:
        store = Store.at(folder)
        for name in ("first run", "run again"):
            before, start, profile = spent, Clock(), cProfile.Profile()
            with profile if chosen.profile else contextlib.nullcontext():
                evaluate(work, store=store, progress=Progress(quiet=True))
            told(name, start, spent - before, store)
            if chosen.profile:
                pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
        start = Clock()
        plan(work, store)
        told("plan", start, 0.0, store)


class Clock:
    """Wall and processor time since it was made, in seconds."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both."""
        return time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def told(name: str, clock: Clock, plugins: float, store: Store) -> None:
    """One line."""
    cells = sum(len(store.cells(kind)) for kind in store.kinds())
    wall, processor = (1000 * (seconds - plugins) / cells for seconds in clock.read())
    print(f"{name}: {cells} cells, {wall:.2f} ms a cell beside plugins, {processor:.2f} ms of it on the processor")


if __name__ == "__main__":
    main()
