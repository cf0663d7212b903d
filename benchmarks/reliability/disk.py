"""A disk that is full or read-only in the middle of a run: what is said, and does the run go on after repair?

    sudo python benchmarks/reliability/disk.py

A store on a tmpfs of 16 MB, most of which is taken: a tiny study runs until it is full. Then there is room again and
the same call is made once more. The same with a file system that becomes read-only. Rows must equal those of an
undisturbed run. Linux; mounting needs root.

Last output:

    full disk: /tmp/tmpz0nkq4k6/run/cells/maps/.87f2854cffb3da8bce8a3c16.9a8495ab-22899.532c8305/maps.safetensors cannot
      be written (No space left on device, 3,813,456 bytes were to be written, 0 bytes are free there); free space or
      make it writable, or name another folder with --store; the same command then goes on.
      after 5 cells; repaired, the run went on: equal rows, 0 damaged, 0 unfinished folders left
      before that, with less room: (the same, with another cell)
      before that, with less room: training folder '/tmp/tmpz0nkq4k6/run/training/e6c98ec8fb577f6b43acc462' cannot be
      used (No space left on device, 0 bytes are free there); free space or choose another folder; the same command then
      goes on.
    read-only: /tmp/tmpmah2kteb/run cannot be written (Read-only file system, 9,031,680 bytes are free there); free
      space or make it writable, or name another folder with --store; the same command then goes on.
      after 8 cells; repaired, the run went on: equal rows, 0 damaged, 0 unfinished folders left
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from xai_bench.errors import BadInput
from xai_bench.progress import Progress
from xai_bench.running.benchmark import evaluate
from xai_bench.store.store import Store
from xai_bench.store.verify import verify
from xai_bench.study import Study

QUIET = Progress(quiet=True)


def study() -> Study:
    """Some hundred kilobytes of cells."""
    return Study(
        name="disk",
        dataset={"name": "phantom", "height": 96, "width": 80, "films": {"train": 8, "validation": 4, "test": 12}},
        classifiers=[{"name": "net", "architecture": {"name": "small_cnn", "width": 8}, "training": {"epochs": 1}}],
        explainers=["random_map", "edge_map", "center_gaussian", "canny", "grad_cam"],
        metrics=["relevance_mass", "pointing_game"], batch_size=4,
    )  # fmt: skip


def mount(*arguments: str) -> None:
    """Raises CalledProcessError where that is not allowed."""
    subprocess.run(["mount", *arguments], check=True)


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A tmpfs of 16 MB."""
    with tempfile.TemporaryDirectory() as folder:
        mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", folder)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def stopped(store: Path) -> str:
    """The sentence with which a run ends."""
    try:
        evaluate(study(), store=store, progress=QUIET, workers=1)
    except BadInput as error:
        return str(error)
    return "it did not stop"


def told(name: str, said: list[str], store: Path, whole: pd.DataFrame) -> None:
    """What was said, and whether the run went on."""
    cells = sum(len(Store(store).cells(kind)) for kind in Store(store).kinds())
    again = evaluate(study(), store=store, progress=QUIET, workers=1).rows
    equal = "equal" if again.equals(whole) else "OTHER"
    hidden = len(list(store.rglob(".*")))
    print(f"{name}: {said[0]}\n  after {cells} cells; repaired, the run went on: {equal} rows, "
          f"{len(verify(Store(store), QUIET).damaged)} damaged, {hidden} unfinished folders left")  # fmt: skip
    for other in said[1:]:
        print(f"  before that, with less room: {other}")


def main() -> None:
    """Print what was said."""
    with tempfile.TemporaryDirectory() as folder:
        whole = evaluate(study(), store=folder, progress=QUIET, workers=1).rows
    with small_disk() as disk:
        said, filler = [], disk / "filler"
        for free in (40_000, 300_000, 6_000_000):
            filler.write_bytes(b"")
            taken = 16 * 1024**2 - sum(p.stat().st_blocks * 512 for p in disk.rglob("*")) - free
            filler.write_bytes(bytes(taken))
            said.append(stopped(disk / "run"))
        filler.unlink()
        told("full disk", said[::-1], disk / "run", whole)
    with small_disk() as disk:
        evaluate(
            Study(**{**vars(study()), "explainers": study().explainers[:2]}),
            store=disk / "run",
            progress=QUIET,
            workers=1,
        )
        mount("-o", "remount,ro", str(disk))
        said = [stopped(disk / "run")]
        mount("-o", "remount,rw", str(disk))
        told("read-only", said, disk / "run", whole)


if __name__ == "__main__":
    main()
