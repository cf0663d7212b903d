"""The kinds of cell: a classifier's predictions, a fitted plugin, maps. Each is computed once by key."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from xai_bench.anatomy import NO_PLAYERS, needs_players, players_key
from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.code_version import code_of
from xai_bench.engine import Engine, Mode
from xai_bench.errors import Unfit
from xai_bench.inputs import to_batch
from xai_bench.pictures import Pictures, pad
from xai_bench.progress import Meter
from xai_bench.protocols import Explainer
from xai_bench.running.modes import ChosenMode, choose, running
from xai_bench.running.targets import Request
from xai_bench.running.workbench import Counter, Model, Workbench
from xai_bench.saliency import upsample
from xai_bench.spec import digest, spec_of, state_of, with_state
from xai_bench.store.files import write_frame, write_tensors

HARNESS = (Pictures, upsample, "xai_bench.running.cells")
"""What reads films, brings maps to their size: its code is in every key, as a plugin's is."""

BLOCK = 64
"""Pictures in a cell of maps: what is lost at most when a run is killed."""


def predictions(bench: Workbench, model: Model) -> pd.DataFrame:
    """Logits of every picture: columns picture, status, reason, logits."""
    ids = list(model.pictures.samples)
    parts = {
        "weights": model.weights,
        "code": code_of(Classifier, *model.classifier.own_classes(), *HARNESS),
        "batch": model.batch_size,
        "pictures": {"ids": ids, "films": [model.pictures.samples[i].digest for i in ids]},
    }

    def compute(folder: Path) -> Mapping[str, Any]:
        rows: list[dict[str, Any]] = []
        with (
            bench.progress.task(f"{model.label}: predictions", len(ids)) as advance,
            Counter().on(model.classifier) as count,
            running(model, Mode()) as engine,
        ):
            for found in engine.in_batches(ids, partial(_predict, model)):
                rows += found
                advance(len(found))
        write_frame(folder, "predictions", every := pd.DataFrame(rows))
        return {**spent(count, len(ids), engine, Mode()), "states": states(every)}

    return bench.cell("predictions", model.label, parts, compute).frame("predictions")


def states(rows: pd.DataFrame) -> dict[str, int]:
    """How many rows are ok, excluded or invalid."""
    return dict(Tally(rows.status))


def _predict(model: Model, ids: Sequence[str], size: int) -> list[dict[str, Any]]:
    read = dict(zip(ids, model.pictures.read(ids, regions=False), strict=True))
    good = [p for p in read.values() if p is not None]
    logits: dict[str, list[float]] = {}
    if good:
        batch = pad(to_batch(good, [0] * len(good)), size).to(model.classifier.device)
        with torch.inference_mode(), untouched(model.classifier):
            found = model.classifier(batch.images)
        logits = {p.sample.id: row for p, row in zip(good, found.cpu().tolist(), strict=False)}
    rows = []
    for i in ids:
        finite = i in logits and all(abs(v) < float("inf") for v in logits[i])
        reason = "" if finite else model.pictures.problems.get(i, "the classifier returned NaN or infinite logits")
        rows.append(
            {"picture": i, "status": "ok" if finite else "invalid", "reason": reason, "logits": logits.get(i, [])}
        )
    return rows


def fitted(bench: Workbench, model: Model, plugin: Any) -> tuple[Any, str]:
    """The plugin, fitted on training patients where it has `fit`, and the key of its state ("" where it has none)."""
    if not hasattr(plugin, "fit"):
        return plugin, ""
    if model.training is None:
        raise Unfit("it must be fitted on training films, and this classifier came without any")
    films = model.training
    digests = [films.pictures.samples[i].digest for i in films.labels]
    code = code_of(plugin, *model.classifier.own_classes(), *HARNESS)
    parts = {
        "plugin": spec_of(plugin), "code": code, "weights": model.weights, "training_films": digests,
        "regions": list(films.regions),
    }  # fmt: skip

    def compute(folder: Path) -> Mapping[str, Any]:
        with Counter().on(model.classifier) as count:
            write_tensors(folder, "state", state_of(plugin.fit(model.classifier, films)))
        return {"evaluations": count.evaluations, "pictures": len(films.labels)}

    label = f"{model.label}: {getattr(plugin, 'xai_bench_name', type(plugin).__name__)}"
    cell = bench.cell("fitted", label, parts, compute)
    return with_state(plugin, cell.tensors("state")), digest(parts)


@dataclass(frozen=True)
class Maps:
    """A block of maps on the method's own grid, and the key they are stored under."""

    key: str
    requests: tuple[Request, ...]
    saliency: Tensor
    receipt: Mapping[str, Any]
    chosen: ChosenMode


def maps(
    bench: Workbench,
    model: Model,
    explainer: Explainer,
    block: Sequence[Request],
    label: str,
    sample: Sequence[Request],
) -> Maps:
    """Maps of one block of pictures. `sample` are the films from which a numerical mode may be chosen."""
    ready, state = fitted(bench, model, explainer)
    parts = {"plugin": spec_of(explainer), "code": code_of(explainer, *model.classifier.own_classes(), *HARNESS),
             "state": state, "weights": model.weights, "batch": model.batch_size, **players_key(explainer)}  # fmt: skip
    chosen = choose(bench, model, explainer, ready, parts, sample)
    parts |= {"mode": chosen.key, "pictures": model.asked(block)}

    def compute(folder: Path) -> Mapping[str, Any]:
        each, players = int(getattr(explainer, "evaluations", 1)), needs_players(explainer)
        films = model.pictures.readable([r.picture for r in block], regions=False, players=True) if players else []
        if films and all(p.unmarked for p in films):
            raise Unfit(NO_PLAYERS.text)
        with (
            bench.progress.task(f"{model.label}: {label}", len(block) * each) as advance,
            Counter().on(model.classifier) as count,
            running(model, chosen.mode, meter := Meter(advance, each)) as engine,
        ):
            asked, made = engine.asked, []
            for part in engine.in_batches(block, partial(_explain, model, ready, players)):
                made.append(part)
                meter.pictures(len(part))
        write_tensors(folder, "maps", {"maps": torch.cat(made)})
        return spent(count, len(block), engine, chosen.mode if engine.asked > asked else Mode())

    cell = bench.cell("maps", f"{model.label}: {label}", parts, compute)
    return Maps(digest(parts), tuple(block), cell.tensors("maps")["maps"], cell.receipt, chosen)


def _explain(model: Model, ready: Explainer, players: bool, part: Sequence[Request], size: int) -> Tensor:
    """Maps of a few pictures, whose model calls have `size` pictures."""
    pictures = model.pictures.readable([r.picture for r in part], regions=False, players=players)
    batch = pad(to_batch(pictures, [r.target for r in part]), size).to(model.classifier.device)
    found = ready(model.classifier, batch)[: len(part)].detach().float().cpu()
    found[[p.unmarked for p in pictures]] = torch.nan
    return found


def spent(count: Counter, pictures: int, engine: Engine, mode: Mode) -> dict[str, Any]:
    """Lines for a receipt: what a cell cost, and how often memory made the batch half as large."""
    lines = {"evaluations": count.evaluations, "pictures": pictures, "mode": str(mode)}
    return lines | ({"halved": engine.halved, "batch_size": engine.batch_size} if engine.halved else {})
