"""A study in, tidy rows out: `evaluate(study, store=...) -> Run`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from xai_bench.backends import Backend, backend_of, usual
from xai_bench.backends.jobs import Abandoned, fill, is_plain
from xai_bench.engine import Mode
from xai_bench.errors import BadInput, CellFailed, Unfit, XaiBenchError
from xai_bench.interruption import between_cells
from xai_bench.progress import Progress
from xai_bench.protocols import Traits
from xai_bench.running.cells import BLOCK, Maps, Question, Scores, chosen_classes, maps, predictions, scores
from xai_bench.running.kept import NotKept, OnlyKept
from xai_bench.running.machine import limited
from xai_bench.running.models import Entry, entries
from xai_bench.running.modes import CHECKS, ChosenMode, engaged
from xai_bench.running.run import Run
from xai_bench.running.summaries import evidence_of, summaries
from xai_bench.running.targets import Request, class_name, explained_order, requests, rule_of
from xai_bench.running.validation import films, tuned
from xai_bench.running.workbench import Model, Workbench
from xai_bench.samples import Sample
from xai_bench.score_cache import ScoreCache
from xai_bench.store.store import Store
from xai_bench.study import Chosen, Study

T = TypeVar("T")

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
MODES = ["classifier", "replicate", "method"]
COSTS = ["kind", "classifier", "replicate", "explainer", "metric", "pictures", "evaluations", "seconds"]


@dataclass
class Collected:
    """What a run gathers as its cells come in."""

    rows: list[pd.DataFrame] = field(default_factory=list)
    predictions: list[pd.DataFrame] = field(default_factory=list)
    curves: list[pd.DataFrame] = field(default_factory=list)
    costs: list[dict[str, Any]] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    maps: dict[tuple[str, str], list[Maps]] = field(default_factory=dict)
    learned: set[str] = field(default_factory=set)  # keys of maps of validation films
    modes: dict[tuple[str, int, str], pd.DataFrame] = field(default_factory=dict)

    def checked(self, model: Model, what: str, chosen: ChosenMode) -> None:
        """The checks that led to a numerical mode, and what they cost; once for each method and classifier."""
        if chosen.receipt and (model.name, model.replicate, what) not in self.modes:
            self.cost("modes", model, chosen.receipt, what)
            who: dict[str, Any] = {"classifier": model.name, "replicate": model.replicate, "method": what}
            self.modes[model.name, model.replicate, what] = chosen.checks.assign(**who)[[*who, *CHECKS]]

    def cost(self, kind: str, model: Model, receipt: Mapping[str, Any], explainer: str = "", metric: str = "") -> None:
        """One line of the cost table, from a receipt."""
        spent = (receipt["pictures"], receipt["evaluations"], receipt["seconds"])
        values = (kind, model.name, model.replicate, explainer, metric, *spent)
        self.costs.append(dict(zip(COSTS, values, strict=True)))


@dataclass(frozen=True)
class Turn:
    """One classifier's turn in a run: what it predicts of each film, and the order in which films are explained."""

    study: Study
    bench: Workbench
    model: Model
    labeled: pd.DataFrame
    order: Sequence[str]
    found: Collected
    rows: list[tuple[Mapping[str, Any], pd.DataFrame | None]] = field(default_factory=list)

    def cell(self, name: str, made: Any) -> None:
        """Tell the progress that a cell is there, or the (status, reason) of one that is not."""
        self.bench.progress.cell(f"{self.model.label}: {name}", *(made if isinstance(made, tuple) else ()))


def evaluate(
    study: Study,
    *,
    store: str | Path | Store,
    progress: Progress | None = None,
    workers: int | None = None,
    backend: Backend | None = None,
) -> Run:
    """Train, explain and score what the study asks for and the store does not hold yet.

    A run that was stopped at any moment goes on where it stopped. What fails, or does not fit a classifier, becomes
    rows with the reason; the rest goes on. `workers` processes share the work, or a `backend` such as
    `Dask("tcp://10.0.0.1:8786")`; default: a process a GPU or core where that helps. The digits are the same. A study
    with a classifier or films in memory runs in this process.
    """
    shelf = store if isinstance(store, Store) else Store.at(store)
    shown = progress or Progress()
    with shown.overview():
        bench = bench_of(study, shelf, shown)
        if not is_plain(study):
            return assemble(study, bench, gather(study, bench))
        chosen = backend or backend_of(workers=workers) or usual(study)
        with limited(chosen.threads):
            try:
                found = gather(study, OnlyKept.of(bench))  # nothing is started where nothing is missing
            except NotKept:
                found = gather(study, bench, abandoned=fill(study, shelf, chosen, shown))
            return assemble(study, bench, found)


def bench_of(study: Study, shelf: Store, progress: Progress) -> Workbench:
    """The bench on which a study's cells are computed; scores that were asked before are kept beside the cells."""
    return Workbench(shelf, progress, study.precision, study.compile, ScoreCache(shelf.root / "cache"))


def gather(
    study: Study, bench: Workbench, made: Iterable[Entry] | None = None, abandoned: Abandoned = MappingProxyType({})
) -> Collected:
    """Every cell of the study but its summaries, computed in this process where the store has none.

    `made`: the study's entries, where some are in memory already. Of what is `abandoned` only kept cells are used.
    """
    found, every = Collected(), list(entries(study) if made is None else made)
    _expect(study, bench.progress, every)
    for entry in every:
        between_cells()
        try:
            model = entry.make(_bench(bench, abandoned, entry.name, entry.replicate, ""))
            with engaged(bench, model):
                _evaluate_model(study, bench, model, found, abandoned)
        except CellFailed as error:  # of its training, or of its predictions
            bench.progress.cell(entry.label, "failed", str(error))
            found.rows.append(_without_classifier(study, entry, str(error)))
    return found


def _expect(study: Study, progress: Progress, every: Sequence[Entry]) -> None:
    """How many cells there will be, as far as that is known before anything is predicted."""
    films = len(study.dataset.samples(study.split))
    for entry in every:
        progress.expect(entry.label, 1)
        for chosen in study.explainers:
            pictures = min(n for n in (films, study.limit, chosen.pictures) if n is not None)
            progress.expect(f"{entry.label}: {chosen.label}", _cells(study, chosen, pictures))


def _cells(study: Study, explainer: Chosen, pictures: int) -> int:
    return -(-pictures // BLOCK) * (1 if explainer.repeat_of else 1 + len(study.metrics))


def _bench(bench: Workbench, abandoned: Abandoned, name: str, replicate: int, explainer: str) -> Workbench:
    why = abandoned.get((name, replicate, explainer))
    return bench if why is None else OnlyKept.of(bench, why)


def assemble(study: Study, bench: Workbench, found: Collected) -> Run:
    """The run of what was gathered, with its summaries. Raises BadInput where no classifier could be trained."""
    rows = _frame(found.rows, ROWS)
    if not found.models:
        raise BadInput(f"no classifier of the study can be used: {rows.reason.iloc[0]}.")
    rows.attrs["schema"] = SCHEMA
    predicted = _frame(found.predictions, PREDICTIONS)
    evidence = evidence_of(study, found.models, found.maps, rows, predicted)
    bench.progress.expect("summaries", len(study.summaries), sure=True)
    summarized = summaries(bench, study, evidence, found.maps)
    for number in range(len(study.summaries)):
        bench.progress.cell(f"summary {number}")
    return Run(
        study=study,
        rows=rows,
        predictions=predicted,
        curves=_frame(found.curves, None),
        costs=pd.DataFrame(found.costs, columns=COSTS),
        summaries=summarized,
        models=tuple(found.models),
        maps=found.maps,
        modes=_frame(list(found.modes.values()), [*MODES, *CHECKS]),
        order=tuple(explained_order(study.dataset, study.dataset.samples(study.split), study.seed)),
    )


def _frame(parts: Sequence[pd.DataFrame], columns: list[str] | None) -> pd.DataFrame:
    kept = [p for p in parts if len(p)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=columns)


def _evaluate_model(study: Study, bench: Workbench, model: Model, found: Collected, abandoned: Abandoned) -> None:
    samples = model.pictures.samples
    raw = predictions(_bench(bench, abandoned, model.name, model.replicate, ""), model)
    bench.progress.cell(model.label)
    found.models.append(model)
    trained = bench.memo.get(model.weights)
    if trained is not None:
        found.cost("train", model, trained)
    labeled = _labeled(study, model, samples, raw)
    found.predictions.append(labeled)
    wanted = requests(study, model.classifier.heads, samples, labeled[labeled.status == "ok"])
    order = list(dict.fromkeys(r.picture for r in wanted))
    turn = Turn(study, bench, model, labeled, order, found)
    for explainer in study.explainers:
        own = _bench(bench, abandoned, model.name, model.replicate, explainer.label)
        _evaluate_explainer(replace(turn, bench=own), explainer, _first(wanted, order, study, explainer))
    found.rows += _joined(turn)


def _first(wanted: Sequence[Request], order: Sequence[str], study: Study, chosen: Chosen) -> list[Request]:
    sizes = [n for n in (study.limit, chosen.pictures) if n is not None]
    allowed = set(order[: min(sizes)] if sizes else order)
    return [r for r in wanted if r.picture in allowed]


def _labeled(study: Study, model: Model, samples: Mapping[str, Sample], raw: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in raw.to_dict("records"):
        sample = samples[row["picture"]]
        chosen = chosen_classes(model.classifier, list(row["logits"])) if row["status"] == "ok" else {}
        for head in model.classifier.heads:
            target, confidence, probabilities = chosen.get(head.name, (-1, float("nan"), []))
            rows.append({
                "head": head.name, "picture": row["picture"], "patient": sample.patient,
                "view": sample.meta.get("view", ""), "label": sample.labels.get(head.name), "target": target,
                "confidence": confidence, "status": row["status"], "reason": row["reason"],
                "probabilities": probabilities,
                "prediction": class_name(model.classifier.heads, target) if target >= 0 else None,
            })  # fmt: skip
    columns = _who(study, model) | {"architecture": model.classifier.architecture, "weights": model.weights}
    return pd.DataFrame(rows).assign(**columns)


def _who(study: Study, model: Model) -> dict[str, Any]:
    name = getattr(study.dataset, "xai_bench_name", type(study.dataset).__name__)
    return {
        "dataset": name, "split": study.split, "classifier": model.name, "regime": model.regime,
        "replicate": model.replicate, "train_seed": model.train_seed, "fold": model.fold,
    }  # fmt: skip


def _evaluate_explainer(turn: Turn, explainer: Chosen, wanted: Sequence[Request]) -> None:
    study, model, found = turn.study, turn.model, turn.found
    who = _who(study, model) | {
        "explainer": explainer.label, "family": Traits.of(explainer.plugin).family,
        "explainer_seed": getattr(explainer.plugin, "seed", None),
    }  # fmt: skip
    sample = tuple(wanted)
    expected = _cells(study, explainer, len(wanted))
    turn.bench.progress.expect(f"{model.label}: {explainer.label}", expected, sure=True)
    for start in range(0, len(wanted), BLOCK):
        block = wanted[start : start + BLOCK]
        between_cells()
        made = _guarded(partial(maps, turn.bench, model, explainer.plugin, block, explainer.label, sample))
        if isinstance(made, Maps):
            found.checked(model, explainer.label, made.chosen)
            found.maps.setdefault((model.weights, explainer.label), []).append(made)
            found.cost("maps", model, made.receipt, explainer.label)
        turn.cell(f"{explainer.label}, films from {start}", made)
        for metric in study.metrics if not explainer.repeat_of else ():
            label = f"{explainer.label}, {metric.label}"
            rule = rule_of(study, metric.plugin.needs_region)
            question = Question(metric.plugin, rule, study.regions, study.references, label, sample)
            blamed = {**who, "metric": metric.label, "target_rule": rule}
            if isinstance(made, Maps):
                between_cells()
                blame = _evaluate_metric(turn, explainer, _restricted(made, turn.order, metric), question, blamed)
            else:
                blame = made
            if blame is not None:
                turn.rows.append(({**blamed, "status": blame[0], "reason": blame[1]}, None))
            turn.cell(f"{explainer.label}, {metric.label}, films from {start}", blame)


def _evaluate_metric(
    turn: Turn, explainer: Chosen, made: Maps, question: Question, who: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Score a block of maps; gives (status, reason) where that is not possible."""
    model, found = turn.model, turn.found
    if not any(question.rule in r.rules for r in made.requests):
        return None
    every = _guarded(partial(_scores, turn, explainer, made, question))
    if isinstance(every, tuple):
        return every
    for scored in every:
        turn.rows.append(({**who, "mode": _mode(made.receipt["mode"], scored.receipt["mode"])}, scored.rows))
        found.checked(model, who["metric"], scored.chosen)
        if len(scored.curves):
            curved = {k: who[k] for k in ("classifier", "replicate", "explainer", "metric")}
            found.curves.append(scored.curves.assign(**curved))
        found.cost("scores", model, scored.receipt, explainer.label, who["metric"])
    return None


def _scores(turn: Turn, explainer: Chosen, made: Maps, question: Question) -> list[Scores]:
    """Scores against the films' own regions and, where a summary needs them, against those of other patients."""
    model, found, label = turn.model, turn.found, f"{explainer.label}, validation films"
    if hasattr(question.metric, "tune"):
        wanted = films(turn.study, model, explainer, question.metric)
        learned, blocks = tuned(turn.bench, model, explainer.plugin, question, wanted)
        question = replace(question, tuned=learned)
        for block in blocks:
            found.checked(model, label, block.chosen)
            if block.key not in found.learned:
                found.learned.add(block.key)
                found.cost("maps", model, block.receipt, explainer.label)
    asked = [question]
    if question.metric.needs_region and any(getattr(s, "needs_shuffled", False) for s in turn.study.summaries):
        asked.append(replace(question, shuffled=True))
    return [scores(turn.bench, model, explainer.plugin, made, each) for each in asked]


def _mode(maps: str, scores: str) -> str:
    """The numerical mode of a score: that of the map, and that of the metric's own model calls where it is another."""
    return maps if scores in (maps, str(Mode())) else f"{maps}, scored in {scores}"


def _restricted(made: Maps, order: Sequence[str], metric: Chosen) -> Maps:
    """The block with only the pictures that this metric looks at; its key stays, the score cell's key says which."""
    if metric.pictures is None:
        return made
    allowed = set(order[: metric.pictures])
    kept = tuple(r if r.picture in allowed else Request(r.picture, r.target, ()) for r in made.requests)
    return replace(made, requests=kept)


def _guarded(work: Callable[[], T]) -> T | tuple[str, str]:
    """The work's result, or (status, reason). A user's mistake ends the run; a plugin's failure is a row."""
    try:
        return work()
    except Unfit as error:
        return "skipped", str(error)
    except CellFailed as error:
        return "failed", str(error)
    except XaiBenchError:
        raise
    except Exception as error:  # one failed cell never stops a run
        return "failed", f"{type(error).__name__}: {error}"


def _without_classifier(study: Study, entry: Entry, reason: str) -> pd.DataFrame:
    """The rows of a classifier that could not be trained: one for each explainer and metric."""
    name = getattr(study.dataset, "xai_bench_name", type(study.dataset).__name__)
    who = {"dataset": name, "split": study.split, "classifier": entry.name, "regime": entry.regime,
           "replicate": entry.replicate, "train_seed": entry.train_seed, "fold": entry.fold,
           "status": "failed", "reason": reason}  # fmt: skip
    scored = [c for c in study.explainers if not c.repeat_of]
    labels = [{"explainer": c.label, "metric": m.label} for c in scored for m in study.metrics]
    return _blamed([{**who, **each} for each in labels or [{"explainer": "", "metric": ""}]])


def _blamed(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What has a status and a reason, and no picture."""
    blank = dict.fromkeys(("picture", "patient", "score_name", "region", "reference", "target"), "")
    return pd.DataFrame([{**who, **blank, "score": float("nan")} for who in rows]).reindex(columns=ROWS)


def _joined(turn: Turn) -> list[pd.DataFrame]:
    """The rows of a classifier's turn, in their order, with what is known of each film."""
    heads = [h.name for h in turn.model.classifier.heads for _ in h.classes]
    known = turn.labeled[["head", "picture", "patient", "label", "prediction", "confidence"]]
    found = []
    for blamed, group in groupby(turn.rows, key=lambda pair: pair[1] is None):
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
        frame["target"] = [class_name(turn.model.classifier.heads, t) for t in frame.target]
        found.append(frame.reindex(columns=ROWS))
    return found
