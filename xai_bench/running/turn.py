"""One classifier's turn in a run: its predictions, then maps and scores of every method, as far as there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_bench.engine import Mode
from xai_bench.interruption import between_cells
from xai_bench.protocols import Traits
from xai_bench.running.cells import BLOCK, Maps, maps, predictions
from xai_bench.running.kept import OnlyKept
from xai_bench.running.modes import CHECKS, ChosenMode
from xai_bench.running.rows import Part, joined, labeled, who_of
from xai_bench.running.scores import Question, Scores, scores
from xai_bench.running.targets import Request, requests, rule_of
from xai_bench.running.validation import films, tuned
from xai_bench.running.workbench import Model, Workbench, guarded
from xai_bench.study import Chosen, Study

if TYPE_CHECKING:
    from xai_bench.backends.jobs import Abandoned

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
    """One classifier's turn in a run: the order in which films are explained, and the rows that came of it."""

    study: Study
    bench: Workbench
    model: Model
    order: Sequence[str]
    found: Collected
    rows: list[Part] = field(default_factory=list)

    def cell(self, name: str, made: Any) -> None:
        """Tell the progress that a cell is there, or the (status, reason) of one that is not."""
        self.bench.progress.cell(f"{self.model.label}: {name}", *(made if isinstance(made, tuple) else ()))


def evaluate_model(study: Study, bench: Workbench, model: Model, found: Collected, abandoned: Abandoned) -> None:
    """All cells of one classifier. Of what is `abandoned` only kept cells are used."""
    samples = model.pictures.samples
    raw = predictions(bench_for(bench, abandoned, model.name, model.replicate, ""), model)
    bench.progress.cell(model.label)
    found.models.append(model)
    trained = bench.memo.get(model.weights)
    if trained is not None:
        found.cost("train", model, trained)
    said = labeled(study, model, samples, raw)
    found.predictions.append(said)
    wanted = requests(study, model.classifier.heads, samples, said[said.status == "ok"])
    order = list(dict.fromkeys(r.picture for r in wanted))
    turn = Turn(study, bench, model, order, found)
    for explainer in study.explainers:
        own = bench_for(bench, abandoned, model.name, model.replicate, explainer.label)
        _evaluate_explainer(replace(turn, bench=own), explainer, _first(wanted, order, study, explainer))
    found.rows += joined(model, said, turn.rows)


def _first(wanted: Sequence[Request], order: Sequence[str], study: Study, chosen: Chosen) -> list[Request]:
    sizes = [n for n in (study.limit, chosen.pictures) if n is not None]
    allowed = set(order[: min(sizes)] if sizes else order)
    return [r for r in wanted if r.picture in allowed]


def cells_of(study: Study, explainer: Chosen, pictures: int) -> int:
    """How many cells an explainer and the metrics on its maps have."""
    return -(-pictures // BLOCK) * (1 if explainer.repeat_of else 1 + len(study.metrics))


def bench_for(bench: Workbench, abandoned: Abandoned, name: str, replicate: int, explainer: str) -> Workbench:
    """The bench; where a worker could not do the job, one on which nothing is computed and that says why."""
    why = abandoned.get((name, replicate, explainer))
    return bench if why is None else OnlyKept.of(bench, why)


def _evaluate_explainer(turn: Turn, explainer: Chosen, wanted: Sequence[Request]) -> None:
    study, model, found = turn.study, turn.model, turn.found
    who = who_of(study, model) | {
        "explainer": explainer.label, "family": Traits.of(explainer.plugin).family,
        "explainer_seed": getattr(explainer.plugin, "seed", None),
    }  # fmt: skip
    sample = tuple(wanted)
    expected = cells_of(study, explainer, len(wanted))
    turn.bench.progress.expect(f"{model.label}: {explainer.label}", expected, sure=True)
    for start in range(0, len(wanted), BLOCK):
        block = wanted[start : start + BLOCK]
        between_cells()
        made = guarded(partial(maps, turn.bench, model, explainer.plugin, block, explainer.label, sample))
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
    every = guarded(partial(_scores, turn, explainer, made, question))
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
