"""A study's results in files for other programs: tidy rows as Parquet or CSV, maps as npz."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from xai_bench.errors import BadInput
from xai_bench.planning.plan import Plan
from xai_bench.running.cells import Maps
from xai_bench.running.rows import PREDICTIONS, ROWS, together
from xai_bench.running.targets import class_name
from xai_bench.running.workbench import Model
from xai_bench.store.files import put, writing

FORMATS = ("parquet", "csv")


def export(planned: Plan, folder: Path, form: str = "parquet", *, maps: bool = False) -> list[Path]:
    """Write what the plan found, `plan(..., contents=True)`: rows, predictions and curves, and maps if asked.

    A file of maps holds one explainer of one classifier: `pictures`, `targets` (the explained class) and `maps` on the
    method's own grid. Gives the files. Raises BadInput for an unknown format, or where the folder cannot be written.
    """
    if form not in FORMATS:
        raise BadInput(f"format {form!r} is not known; choose {' or '.join(FORMATS)}.")
    found = planned.found
    tables = {
        "rows": together(found.rows, ROWS),
        "predictions": together(found.predictions, PREDICTIONS),
        "curves": together(found.curves),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = [_table(folder / f"{name}.{form}", frame) for name, frame in tables.items()]
    for model in found.models if maps else ():
        for (weights, explainer), blocks in found.maps.items():
            there = [b for b in blocks if len(b.saliency) == len(b.requests)]  # a blank stands for a missing cell
            if weights == model.weights and there:
                with writing(folder / "maps"):
                    (folder / "maps").mkdir(exist_ok=True)
                written.append(_maps(folder / "maps" / f"{_slug(f'{model.label} {explainer}')}.npz", model, there))
    return written


def _table(path: Path, frame: pd.DataFrame) -> Path:
    buffer = io.BytesIO()
    if path.suffix == ".csv":
        frame.to_csv(buffer, index=False)
    else:
        frame.to_parquet(buffer, index=False)
    put(path, buffer.getvalue())
    return path


def _maps(path: Path, model: Model, blocks: Sequence[Maps]) -> Path:
    requests = [r for b in blocks for r in b.requests]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        pictures=np.array([r.picture for r in requests]),
        targets=np.array([class_name(model.classifier.heads, r.target) for r in requests]),
        maps=torch.cat([b.saliency for b in blocks]).numpy(),
    )
    put(path, buffer.getvalue())
    return path


def _slug(text: str) -> str:
    return re.sub(r"[^\w.#-]+", "_", text)
