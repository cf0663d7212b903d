"""The kinds of cell: a classifier's predictions, a fitted plugin, maps, scores. Each is computed once by key."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from xai_bench.anatomy import NO_PLAYERS, needs_players, players_key, without_players
from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.code_version import code_of
from xai_bench.engine import Engine, Mode
from xai_bench.errors import Unfit
from xai_bench.imputers.blur import Blur
from xai_bench.inputs import Picture, to_batch, to_region
from xai_bench.pictures import Pictures, pad
from xai_bench.progress import Meter
from xai_bench.protocols import Case, Explainer, Metric, Reason, Result, Traits
from xai_bench.references import consensus_key, is_wanted
from xai_bench.running.fidelity import grid_probe
from xai_bench.running.modes import ChosenMode, choose, running
from xai_bench.running.targets import Request, offsets
from xai_bench.running.workbench import Counter, Model, Workbench
from xai_bench.saliency import upsample
from xai_bench.samples import RegionKey
from xai_bench.shuffled import PREFIX, dependence, explained, partnered
from xai_bench.spec import digest, spec_of, state_of, with_state
from xai_bench.store.files import write_frame, write_tensors

HARNESS = (Pictures, upsample, "xai_bench.running.cells")
"""What reads films, brings maps to their size and makes rows: its code is in every key, as a plugin's is."""

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
        return {**_spent(count, len(ids), engine, Mode()), "states": _states(every)}

    return bench.cell("predictions", model.label, parts, compute).frame("predictions")


def _states(rows: pd.DataFrame) -> dict[str, int]:
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
    parts = {"plugin": spec_of(plugin), "code": code, "weights": model.weights, "training_films": digests}

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
        return _spent(count, len(block), engine, chosen.mode if engine.asked > asked else Mode())

    cell = bench.cell("maps", f"{model.label}: {label}", parts, compute)
    return Maps(digest(parts), tuple(block), cell.tensors("maps")["maps"], cell.receipt, chosen)


def _explain(model: Model, ready: Explainer, players: bool, part: Sequence[Request], size: int) -> Tensor:
    """Maps of a few pictures, whose model calls have `size` pictures."""
    pictures = model.pictures.readable([r.picture for r in part], regions=False, players=players)
    batch = pad(to_batch(pictures, [r.target for r in part]), size).to(model.classifier.device)
    found = ready(model.classifier, batch)[: len(part)].detach().float().cpu()
    found[[p.unmarked for p in pictures]] = torch.nan
    return found


def _spent(count: Counter, pictures: int, engine: Engine, mode: Mode) -> dict[str, Any]:
    lines = {"evaluations": count.evaluations, "pictures": pictures, "mode": str(mode)}
    return lines | ({"halved": engine.halved, "batch_size": engine.batch_size} if engine.halved else {})


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
    code = code_of(question.metric, *model.classifier.own_classes(), *HARNESS, *exchanged)
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
        spent = _spent(count, len(wanted), engine, chosen.mode if engine.asked > asked else Mode())
        return {**spent, "states": _states(found)}

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


def chosen_classes(classifier: Classifier, logits: Sequence[float]) -> dict[str, tuple[int, float, list[float]]]:
    """head -> (predicted logit's index, its probability, all probabilities of the head)."""
    probabilities = classifier.probabilities(torch.tensor([logits]))[0].tolist()
    found = {}
    for head in classifier.heads:
        start = offsets(classifier.heads)[head.name]
        part = probabilities[start : start + len(head.classes)]
        best = max(range(len(part)), key=part.__getitem__)
        found[head.name] = (start + best, part[best], part)
    return found
