"""Summaries of a run: what they may look at, and their cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from xai_bench.anatomy import needs_players, players_key
from xai_bench.classifiers.classifier import Classifier
from xai_bench.code_version import code_of, code_version
from xai_bench.errors import Unfit
from xai_bench.inputs import to_batch, to_region
from xai_bench.protocols import Batch, Case, ClassifierCard, Evidence, Saliency, Summary, SummaryRow
from xai_bench.references import consensus_key
from xai_bench.running.cells import HARNESS, Maps
from xai_bench.running.rows import together
from xai_bench.running.workbench import Model, Workbench, guarded
from xai_bench.samples import RegionKey
from xai_bench.shuffled import without_partners
from xai_bench.spec import spec_of
from xai_bench.store.files import write_frame
from xai_bench.study import Study

AllMaps = Mapping[tuple[str, str], Sequence[Maps]]

COLUMNS = [f.name for f in fields(SummaryRow)]
UNSUMMARIZED = ["summary", "status", "reason"]


def summaries(bench: Workbench, study: Study, evidence: Evidence, maps: AllMaps) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of all summaries of the study, and for each that failed or does not fit its status and reason.

    Each summary is a cell whose key holds everything that it may look at.
    """
    seen = {
        "cards": [vars(card) for card in evidence.cards],
        "explainers": {label: spec_of(plugin) for label, plugin in evidence.explainers.items()},
        "maps": sorted((weights, label, m.key) for (weights, label), blocks in maps.items() for m in blocks),
        "rows": _fingerprint(evidence.rows),
        "predictions": _fingerprint(evidence.predictions),
        "rule": study.target.of if study.target else "predicted",
        "metrics": {n: [spec_of(m), code_version(m), players_key(m)] for n, m in evidence.metrics.items()},
        "films": [[s.id, s.digest] for s in evidence.samples(sorted(evidence.predictions.picture.unique()))],
        **consensus_key(study.references),
    }
    plain = replace(evidence, rows=without_partners(evidence.rows))
    rows, without = [], []
    for number, each in enumerate(study.summaries):
        shown = evidence if getattr(each, "needs_shuffled", False) else plain
        made = guarded(partial(_summary, bench, each, shown, seen))
        if isinstance(made, tuple):
            without.append((_name(each), *made))
            bench.progress.cell(f"summary {number}, {_name(each)}", *made)
        else:
            rows.append(made)
            bench.progress.cell(f"summary {number}, {_name(each)}")
    return together(rows, COLUMNS), pd.DataFrame(without, columns=UNSUMMARIZED)


def _name(summary: Summary) -> str:
    return str(getattr(summary, "xai_bench_name", type(summary).__name__))


def _summary(bench: Workbench, summary: Summary, evidence: Evidence, seen: Mapping[str, Any]) -> pd.DataFrame:
    key = {**seen, "plugin": spec_of(summary), "code": code_of(summary, *HARNESS, __name__), "seed": evidence.seed}

    def compute(folder: Path) -> Mapping[str, Any]:
        rows = [{**vars(row), "exclusions": json.dumps(row.exclusions)} for row in summary(evidence)]
        write_frame(folder, "rows", pd.DataFrame(rows, columns=COLUMNS))
        return {"evaluations": 0, "pictures": evidence.predictions.picture.nunique()}

    frame = bench.cell("summaries", _name(summary), key, compute).frame("rows")
    return frame.assign(exclusions=[json.loads(text) for text in frame.exclusions])


def _fingerprint(frame: pd.DataFrame) -> str:
    text = frame.to_csv(index=False, float_format="%.17g")
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def evidence_of(
    study: Study, models: Sequence[Model], maps: AllMaps, rows: pd.DataFrame, predicted: pd.DataFrame
) -> Evidence:
    """What summaries may look at, from what a run has gathered."""
    samples = {i: s for m in models for i, s in m.pictures.samples.items()}
    rule = study.target.of if study.target else "predicted"

    def read(weights: str, explainer: str) -> dict[str, tuple[int, Tensor]]:
        blocks = maps.get((weights, explainer), [])
        pairs = [pair for b in blocks for pair in zip(b.requests, b.saliency, strict=True)]
        return {r.picture: (r.target, m) for r, m in pairs if rule in r.rules}

    def shown(weights: str, ids: Sequence[str]) -> list[Tensor]:
        model = next(m for m in models if m.weights == weights)
        resize = model.pictures.reader.resize
        if resize.mode == "stretch":  # no padding: no need to read the films again
            return [torch.ones(resize.height, resize.width, dtype=torch.bool)] * len(ids)
        return [p.content for p in model.pictures.readable(ids, regions=False)]

    return Evidence(
        rows=rows, predictions=predicted, cards=tuple(_card(m, predicted) for m in models),
        explainers={c.label: c.plugin for c in study.explainers}, maps=read,
        samples=lambda ids: [samples[i] for i in ids], seed=study.seed, content=shown,
        metrics={c.label: c.plugin for c in study.metrics}, cases=partial(_case, study, models),
    )  # fmt: skip


@dataclass(frozen=True)
class ByHand:
    """Stands for the explainer of maps that no explainer made."""

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        """Raises Unfit."""
        raise Unfit("these maps were made by hand, and cannot be made again")


def _case(
    study: Study, models: Sequence[Model], weights: str, ids: Sequence[str], key: RegionKey, maps: Saliency | None
) -> Case:
    model = next(m for m in models if m.weights == weights)
    players = any(needs_players(m.plugin) for m in study.metrics if m.plugin.needs_region)
    pictures = model.pictures.readable(ids, regions=True, players=players)
    batch = to_batch(pictures, [0] * len(pictures)).to(model.classifier.device)
    region, state = to_region(pictures, key)
    shown = torch.zeros(region.shape) if maps is None else maps
    device = model.classifier.device
    return Case(model.classifier, batch, ByHand(), shown.to(device), region.to(device), state)


def _card(model: Model, predicted: pd.DataFrame) -> ClassifierCard:
    mine = predicted[(predicted.weights == model.weights) & (predicted.status == "ok") & predicted.label.notna()]
    accuracy = float((mine.label == mine.prediction).mean()) if len(mine) else None
    return ClassifierCard(
        model.name, model.replicate, model.train_seed, model.regime, model.fold, model.classifier.architecture,
        model.weights, accuracy,
    )  # fmt: skip
