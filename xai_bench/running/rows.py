"""Tidy rows of a run: what each classifier predicts, one line a score, and lines for whole cells that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.running.models import Entry
from xai_bench.running.targets import class_name, offsets
from xai_bench.running.workbench import Model
from xai_bench.samples import Sample
from xai_bench.study import Study

SCHEMA = 1
"""Version of the columns of `Run.rows`; see docs/schema.md."""

ROWS = [
    "dataset", "split", "classifier", "regime", "replicate", "train_seed", "fold", "head", "explainer", "family",
    "explainer_seed", "metric", "score_name", "region", "reference", "target_rule", "target", "mode", "picture",
    "patient", "label", "prediction", "confidence", "status", "reason", "score",
]  # fmt: skip
PREDICTIONS = [
    "dataset", "split", "classifier", "regime", "replicate", "train_seed", "fold", "architecture", "weights", "head",
    "picture", "patient", "view", "label", "prediction", "confidence", "status", "reason", "probabilities",
]  # fmt: skip

Part = tuple[Mapping[str, Any], pd.DataFrame | None]
"""What is known of who made it, and the rows of a block; without rows it says why there are none."""


def together(parts: Sequence[pd.DataFrame], columns: Sequence[str] = ()) -> pd.DataFrame:
    """One table; an empty one of these columns where there is nothing."""
    kept = [p for p in parts if len(p)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=list(columns))


def labeled(study: Study, model: Model, samples: Mapping[str, Sample], raw: pd.DataFrame) -> pd.DataFrame:
    """What a classifier predicts of each film in each head, from its logits."""
    rows = []
    for row in raw.to_dict("records"):
        sample = samples[row["picture"]]
        chosen = _chosen_classes(model.classifier, list(row["logits"])) if row["status"] == "ok" else {}
        for head in model.classifier.heads:
            target, confidence, probabilities = chosen.get(head.name, (-1, float("nan"), []))
            rows.append({
                "head": head.name, "picture": row["picture"], "patient": sample.patient,
                "view": sample.meta.get("view", ""), "label": sample.labels.get(head.name), "target": target,
                "confidence": confidence, "status": row["status"], "reason": row["reason"],
                "probabilities": probabilities,
                "prediction": class_name(model.classifier.heads, target) if target >= 0 else None,
            })  # fmt: skip
    columns = who_of(study, model) | {"architecture": model.classifier.architecture, "weights": model.weights}
    return pd.DataFrame(rows).assign(**columns)


def who_of(study: Study, made: Model | Entry) -> dict[str, Any]:
    """The columns that say which classifier, on which films."""
    name = getattr(study.dataset, "xai_bench_name", type(study.dataset).__name__)
    return {
        "dataset": name, "split": study.split, "classifier": made.name, "regime": made.regime,
        "replicate": made.replicate, "train_seed": made.train_seed, "fold": made.fold,
    }  # fmt: skip


def _chosen_classes(classifier: Classifier, logits: Sequence[float]) -> dict[str, tuple[int, float, list[float]]]:
    """head -> (predicted logit's index, its probability, all probabilities of the head)."""
    probabilities = classifier.probabilities(torch.tensor([logits]))[0].tolist()
    found = {}
    for head in classifier.heads:
        start = offsets(classifier.heads)[head.name]
        part = probabilities[start : start + len(head.classes)]
        best = max(range(len(part)), key=part.__getitem__)
        found[head.name] = (start + best, part[best], part)
    return found


def without_classifier(study: Study, entry: Entry, reason: str) -> pd.DataFrame:
    """The rows of a classifier that could not be trained: one for each explainer and metric."""
    who = {**who_of(study, entry), "status": "failed", "reason": reason}
    scored = [c for c in study.explainers if not c.repeat_of]
    labels = [{"explainer": c.label, "metric": m.label} for c in scored for m in study.metrics]
    return _blamed([{**who, **each} for each in labels or [{"explainer": "", "metric": ""}]])


def _blamed(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What has a status and a reason, and no picture."""
    blank = dict.fromkeys(("picture", "patient", "score_name", "region", "reference", "target"), "")
    return pd.DataFrame([{**who, **blank, "score": float("nan")} for who in rows]).reindex(columns=ROWS)


def joined(model: Model, said: pd.DataFrame, made: Sequence[Part]) -> list[pd.DataFrame]:
    """The rows of a classifier's turn, in their order, with what is known of each film."""
    heads = [h.name for h in model.classifier.heads for _ in h.classes]
    known = said[["head", "picture", "patient", "label", "prediction", "confidence"]]
    found = []
    for blamed, group in groupby(made, key=lambda pair: pair[1] is None):
        parts = list(group)
        if blamed:
            found.append(_blamed([who for who, _ in parts]))
            continue
        frames = [rows for _, rows in parts if rows is not None]
        frame = pd.concat(frames, ignore_index=True)
        who = pd.DataFrame([w for w, _ in parts]).loc[np.repeat(np.arange(len(parts)), [len(f) for f in frames])]
        frame = pd.concat([frame, who.reset_index(drop=True)], axis=1)
        frame["head"] = [heads[t] for t in frame.target]
        frame = frame.merge(known, on=["head", "picture"], how="left", validate="many_to_one")
        frame["target"] = [class_name(model.classifier.heads, t) for t in frame.target]
        found.append(frame.reindex(columns=ROWS))
    return found
