"""Scores of a block of maps by one metric: on which films, against which regions and references. A cell of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from xai_bench.anatomy import needs_players, players_key, without_players
from xai_bench.code_version import code_of
from xai_bench.engine import Mode
from xai_bench.errors import Unfit
from xai_bench.imputers.blur import Blur
from xai_bench.inputs import Picture, to_batch, to_region
from xai_bench.pictures import pad
from xai_bench.progress import Meter
from xai_bench.protocols import Case, Explainer, Metric, Reason, Result, Traits
from xai_bench.references import consensus_key, is_wanted
from xai_bench.running.cells import HARNESS, Maps, fitted, spent, states
from xai_bench.running.fidelity import grid_probe
from xai_bench.running.modes import ChosenMode, choose, running
from xai_bench.running.targets import Request
from xai_bench.running.workbench import Counter, Model, Workbench
from xai_bench.saliency import upsample
from xai_bench.samples import RegionKey
from xai_bench.shuffled import PREFIX, dependence, explained, partnered
from xai_bench.spec import spec_of
from xai_bench.store.files import write_frame

SCORING = (*HARNESS, "xai_bench.running.scores")
"""What brings maps and regions together and makes rows of scores: its code is in every score's key."""


@dataclass(frozen=True)
class Scores:
    """Scores and curves of one metric on one block of maps."""

    rows: pd.DataFrame
    curves: pd.DataFrame
    receipt: Mapping[str, Any]
    chosen: ChosenMode


@dataclass(frozen=True)
class Tuned:
    """A metric that was tuned on validation films: a copy for each region, or why there is none; and their key."""

    metrics: Mapping[str, Metric]
    problems: Mapping[str, str]
    key: str

    def __call__(self, region: str, case: Case, names: Iterable[str]) -> Result:
        """The scores `names` of one case of this region; excluded where the metric could not be tuned for it."""
        if region in self.metrics:
            return self.metrics[region](case)
        missing = torch.full((len(case.batch),), torch.nan)
        reason = Reason("excluded", f"not tuned: {self.problems[region]}")
        return Result(dict.fromkeys(names, missing), (reason,) * len(case.batch))


@dataclass(frozen=True)
class Question:
    """What is scored: a metric on the pictures that one target rule asked for, against these regions and references.

    `sample` are the films from which a numerical mode may be chosen. `shuffled`: each film against the regions of its
    partner. `tuned`: the metric as tuned on validation films.
    """

    metric: Metric
    rule: str
    regions: tuple[str, ...]
    references: tuple[str, ...]
    label: str
    sample: tuple[Request, ...]
    shuffled: bool = False
    tuned: Tuned | None = None


def scores(bench: Workbench, model: Model, explainer: Explainer, made: Maps, question: Question) -> Scores:
    """Scores of one block of maps. Raises Unfit where the metric needs regions and no picture has any."""
    ready, state = fitted(bench, model, question.metric)
    explaining, _ = fitted(bench, model, explainer)  # for metrics that explain again; its state is in the maps' key
    wanted = [n for n, r in enumerate(made.requests) if question.rule in r.rules]
    exchanged = ("xai_bench.shuffled",) if question.shuffled else ()
    code = code_of(question.metric, *model.classifier.own_classes(), *SCORING, *exchanged)
    parts = {"plugin": spec_of(question.metric), "code": code, "state": state, **players_key(question.metric)}
    probed = {**parts, "weights": model.weights, "batch": model.batch_size}
    probe = grid_probe(getattr(ready, "imputer", None) or Blur())
    chosen = choose(bench, model, question.metric, probe, probed, question.sample)
    parts |= {
        "mode": chosen.key, "maps": made.key, "which": wanted,
        "regions": question.regions, "references": question.references, **consensus_key(question.references),
    }  # fmt: skip
    parts |= {"partners": dependence(model.pictures.samples)} if question.shuffled else {}
    parts |= {"tuned": question.tuned.key} if question.tuned else {}

    def compute(folder: Path) -> Mapping[str, Any]:
        rows: list[dict[str, Any]] = []
        curves: list[pd.DataFrame] = []
        each = int(getattr(question.metric, "evaluations", 1))
        with (
            bench.progress.task(f"{model.label}: {question.label}", len(wanted) * each) as advance,
            Counter().on(model.classifier) as count,
            running(model, chosen.mode, meter := Meter(advance, each)) as engine,
        ):
            asked = engine.asked

            def score(part: Sequence[int], size: int) -> tuple[Sequence[int], list[tuple[RegionKey, Result]]]:
                return part, list(_results(replace(model, batch_size=size), explaining, made, part, ready, question))

            for part, results in engine.in_batches(wanted, score):
                for key, result in results:
                    rows += _rows(result, [made.requests[n] for n in part], key)
                    curves += _curves(result, [made.requests[n] for n in part], key)
                meter.pictures(len(part))
        write_frame(folder, "rows", found := pd.DataFrame(rows, columns=ROW))
        if curves:
            write_frame(folder, "curves", pd.concat(curves))
        cost = spent(count, len(wanted), engine, chosen.mode if engine.asked > asked else Mode())
        return {**cost, "states": states(found)}

    cell = bench.cell("scores", f"{model.label}: {question.label}", parts, compute)
    drawn = cell.frame("curves") if cell.has("curves.parquet") else NO_CURVES
    return Scores(cell.frame("rows"), drawn, cell.receipt, chosen)


ROW = ["picture", "target", "region", "reference", "score_name", "status", "reason", "score"]
CURVE = ["picture", "target", "region", "reference", "curve", "x", "y"]
NO_CURVES = pd.DataFrame(columns=CURVE)


def _results(
    model: Model,
    explainer: Explainer,
    made: Maps,
    part: Sequence[int],
    metric: Metric,
    question: Question,
) -> Iterator[tuple[RegionKey, Result]]:
    drawn, players = needs_players(explainer), needs_players(explainer) or needs_players(metric)
    names = [made.requests[n].picture for n in part]
    pictures = model.pictures.readable(names, regions=metric.needs_region, players=players)
    keys = region_keys(pictures, question)
    if not keys:
        raise Unfit("no picture has a reference region of this study")
    shown = partnered(model.pictures, pictures, keys) if question.shuffled else pictures
    found = cases(model, explainer, made, part, shown, keys)
    many = getattr(metric, "many", None)
    if question.tuned:
        results = [question.tuned(key.name, case, metric.scores) for key, case in zip(keys, found, strict=True)]
    else:
        results = many(found) if many else [metric(case) for case in found]
    missing = [drawn and p.unmarked for p in pictures]
    for key, result in zip(keys, (without_players(r, missing) for r in results), strict=True):
        if question.shuffled:
            yield RegionKey(key.name, PREFIX + key.reference), explained(result, pictures, shown, key)
        else:
            yield key, result


def cases(
    model: Model,
    explainer: Explainer,
    made: Maps,
    part: Sequence[int],
    pictures: Sequence[Picture],
    keys: Sequence[RegionKey],
) -> list[Case]:
    """The maps `part` of a block against each of these regions of their pictures, padded to the model's batch size."""
    targets = [made.requests[n].target for n in part]
    batch = pad(to_batch(pictures, targets), model.batch_size).to(model.classifier.device)
    index = torch.tensor([*part, *[part[-1]] * (model.batch_size - len(part))])
    native = made.saliency[index].to(model.classifier.device)
    saliency = upsample(native, (batch.images.shape[-2], batch.images.shape[-1]), Traits.of(explainer).upsampling)
    found = []
    for key in keys:
        region, state = to_region([*pictures, *[pictures[-1]] * (model.batch_size - len(part))], key)
        shown = region.to(model.classifier.device) if key.name else None
        found.append(Case(model.classifier, batch, explainer, saliency, shown, state))
    return found


def region_keys(pictures: Sequence[Picture], question: Question) -> list[RegionKey]:
    """The regions and references of these pictures that are asked for; one without a name for a metric without any."""
    if not question.metric.needs_region:
        return [RegionKey("", "")]
    found = {k for p in pictures for k in p.regions if k.name in question.regions}
    return sorted(k for k in found if is_wanted(k.reference, question.references))


def _rows(result: Result, chosen: Sequence[Request], key: RegionKey) -> list[dict[str, Any]]:
    rows = []
    for name, values in result.scores.items():
        for n, (request, value) in enumerate(zip(chosen, values.cpu().double().tolist(), strict=False)):
            status, why = _status(value, result.reason(name, n))
            rows.append(
                dict(
                    zip(
                        ROW,
                        (request.picture, request.target, key.name, key.reference, name, status, why, value),
                        strict=True,
                    )
                )
            )
    return rows


def _status(value: float, reason: Reason | None) -> tuple[str, str]:
    if value == value:
        return "ok", reason.text if reason else ""
    if reason is None:
        return "invalid", "the metric returned NaN without a reason"
    return ("invalid" if reason.state == "invalid" else "excluded"), reason.text


def _curves(result: Result, chosen: Sequence[Request], key: RegionKey) -> list[pd.DataFrame]:
    if result.x is None:
        return []
    x = result.x.cpu().double().numpy()
    frames = []
    for name, values in result.curves.items():
        for request, y in zip(chosen, values.cpu().double().numpy(), strict=False):
            frame = pd.DataFrame({"x": x, "y": y})
            frames.append(
                frame.assign(
                    picture=request.picture, target=request.target, region=key.name, reference=key.reference, curve=name
                )[CURVE]
            )
    return frames
