"""1,000 flipped bytes for each kind of artifact in a store: how many does `verify` find?

    python benchmarks/reliability/bit_rot.py [--flips 1000]

A tiny study is run on phantom films with a trained classifier, fitted and tuned plugins, checks of numerical modes, a
failing explainer and a score cache. Then, for each kind of file in its store, one random bit of one random byte of a
random file of that kind is flipped at a time, in a store of the cells of that kind; `verify` must name that file and no
other. What safetensors and Parquet themselves would have read without an error is counted beside it.

Last output:

    batch_size/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    cache/*.answers: 1000 of 1000 found; 0 would have been read as other numbers
    failures/*.json: 1000 of 1000 found; 0 would have been read as other numbers
    fitted/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    fitted/state.safetensors: 1000 of 1000 found; 508 would have been read as other numbers
    maps/maps.safetensors: 1000 of 1000 found; 999 would have been read as other numbers
    maps/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    modes/checks.parquet: 1000 of 1000 found; 21 would have been read as other numbers
    modes/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    predictions/predictions.parquet: 1000 of 1000 found; 23 would have been read as other numbers
    predictions/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    scores/curves.parquet: 1000 of 1000 found; 25 would have been read as other numbers
    scores/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    scores/rows.parquet: 1000 of 1000 found; 38 would have been read as other numbers
    summaries/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    summaries/rows.parquet: 1000 of 1000 found; 38 would have been read as other numbers
    train/card.json: 1000 of 1000 found; 0 would have been read as other numbers
    train/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    train/weights.safetensors: 1000 of 1000 found; 930 would have been read as other numbers
    tuned/receipt.json: 1000 of 1000 found; 0 would have been read as other numbers
    tuned/state_0.safetensors: 1000 of 1000 found; 208 would have been read as other numbers
    tuned/state_1.safetensors: 1000 of 1000 found; 183 would have been read as other numbers
    tuned/state_2.safetensors: 1000 of 1000 found; 203 would have been read as other numbers
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.progress import Progress
from xai_bench.protocols import Batch
from xai_bench.running.benchmark import evaluate
from xai_bench.store.store import Store
from xai_bench.store.verify import verify
from xai_bench.study import Chosen, Study

QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Failing:
    """An explainer that fails, so that the store remembers it."""

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        raise ValueError("it always fails")


def study() -> Study:
    """A study that leaves every kind of file."""
    return Study(
        name="rot",
        dataset={"name": "phantom", "height": 48, "width": 40, "films": {"train": 8, "validation": 6, "test": 6}},
        classifiers=[{"name": "net", "architecture": {"name": "small_cnn", "width": 8}, "training": {"epochs": 1}}],
        explainers=[
            "grad_cam", {"name": "lime", "samples": 16, "pictures": 2}, "mean_region", Chosen(Failing(), "failing")
        ],
        metrics=["relevance_mass", "iou_tuned", {"name": "deletion", "steps": 4, "pictures": 2}],
        summaries=["shuffled"], precision="auto",
    )  # fmt: skip


def main() -> None:
    """Print a line for each kind of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    flips, rng = parser.parse_args().flips, np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.at(folder)
        evaluate(study(), store=store, progress=QUIET, workers=1)
        assert not verify(store, QUIET).damaged
        kinds = defaultdict(list)
        covered = (p for name in ("cells", "failures", "cache") for p in (store.root / name).rglob("*"))
        for file in sorted(p for p in covered if p.is_file()):
            kinds[kind_of(file, store)].append(file.relative_to(store.root))
        for kind, files in sorted(kinds.items()):
            with tempfile.TemporaryDirectory() as part:
                (Path(part) / "cells").mkdir()
                top = Path(*files[0].parts[:2]) if files[0].parts[0] == "cells" else Path(files[0].parts[0])
                shutil.copytree(store.root / top, Path(part) / top)
                print(f"{kind}: {flipped(Store(Path(part)), files, flips, rng)}", flush=True)


def flipped(store: Store, files: list[Path], flips: int, rng: np.random.Generator) -> str:
    """What was found."""
    found = unseen = 0
    for _ in range(flips):
        file = store.root / files[rng.integers(len(files))]
        data = bytearray(whole := file.read_bytes())
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
        damaged = verify(store, QUIET).damaged
        found += len(damaged) == 1 and file.name in str(damaged[0])
        unseen += opens(file, bytes(whole))
        file.write_bytes(whole)
    assert not verify(store, QUIET).damaged
    return f"{found} of {flips} found; {unseen} would have been read as other numbers"


def kind_of(file: Path, store: Store) -> str:
    """The folder under `cells`, and the file without its hash."""
    parts = file.relative_to(store.root).parts
    name = f"weights{file.suffix}" if file.name.startswith("weights-") else file.name
    return f"{parts[1]}/{name}" if parts[0] == "cells" else f"{parts[0]}/*{file.suffix}"


def opens(file: Path, whole: bytes) -> bool:
    """Whether a damaged table or safetensors file opens without an error and holds other values."""
    if file.suffix not in (".parquet", ".safetensors"):
        return False
    try:
        if file.suffix == ".parquet":
            changed = pd.read_parquet(file)
            with tempfile.NamedTemporaryFile(suffix=".parquet") as other:
                Path(other.name).write_bytes(whole)
                return not changed.equals(pd.read_parquet(other.name))
        tensors, before = safetensors.torch.load_file(file), safetensors.torch.load(whole)
        same = tensors.keys() == before.keys() and all(_bits(tensors[k]) == _bits(before[k]) for k in before)
        return not same
    except Exception:  # any error is a way to notice
        return False


def _bits(tensor: Tensor) -> tuple[object, ...]:
    return (tensor.shape, tensor.dtype, tensor.numpy().tobytes())


if __name__ == "__main__":
    main()
