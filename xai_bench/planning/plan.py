"""What a study asks for and what of it a store holds: the run's own control flow, on a bench that computes nothing."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import pandas as pd
import torch
from torch import Tensor

from xai_bench.errors import CellFailed, Unfit
from xai_bench.progress import Progress
from xai_bench.running.benchmark import gather
from xai_bench.running.cells import BLOCK
from xai_bench.running.models import entries
from xai_bench.running.rows import together
from xai_bench.running.scores import CURVE, ROW
from xai_bench.running.summaries import evidence_of, summaries
from xai_bench.running.turn import Collected
from xai_bench.running.workbench import Compute, Workbench
from xai_bench.spec import digest
from xai_bench.store.key_parts import SELECTION, brief, differences, other_environment, reasons
from xai_bench.store.store import Cell, Store
from xai_bench.study import Study

State = Literal["done", "missing", "stale", "damaged", "waiting", "failed", "skipped"]
STATES: tuple[State, ...] = ("done", "missing", "stale", "damaged", "waiting", "failed", "skipped")
KINDS = ("batch_size", "train", "predictions", "fitted", "modes", "maps", "tuned", "scores", "summaries")

_NEEDED = ("train", "predictions", "batch_size", "modes")
"""Without what is in these cells the keys of others are not known."""
_NOTHING = {"files": {}, "pictures": 0, "evaluations": 0, "seconds": 0.0, "mode": "", "problems": {}}


class NotComputed(Exception):
    """A cell on which others wait is not there."""


@dataclass(frozen=True)
class Lookup:
    """A cell that a study asks for. `why`: what is known of a state that is not done, or of other versions.

    `old` is the key of the cell that this one replaces, where it is stale.
    """

    kind: str
    label: str
    state: State
    why: tuple[str, ...] = ()
    key: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    pictures: int = 0
    old: str = ""

    @property
    def classifier(self) -> str:
        """The classifier and twin; empty for a summary."""
        return "" if self.kind == "summaries" else self.label.partition(": ")[0]

    @property
    def method(self) -> str:
        """The explainer, the explainer and its metric, or the plugin."""
        return self.label if self.kind == "summaries" else self.label.partition(": ")[2]


@dataclass(frozen=True)
class Blank(Cell):
    """Stands for a cell whose content is not needed."""

    def frame(self, name: str) -> pd.DataFrame:
        """No row."""
        return pd.DataFrame(columns={"rows": [*ROW, "exclusions"], "curves": CURVE}[name])

    def tensors(self, name: str) -> dict[str, Tensor]:
        """No state, no map."""
        return {"maps": torch.empty(0)} if name == "maps" else {}


@dataclass(frozen=True)
class Planner(Workbench):
    """A bench that looks cells up and computes none. `contents` False: maps and scores are not read."""

    contents: bool = False
    lookups: list[Lookup] = field(default_factory=list)

    def cell(self, kind: str, label: str, parts: Mapping[str, Any], compute: Compute) -> Cell:
        """The cell, or a blank one. Raises NotComputed where others wait for what is in it."""
        key = digest(parts)
        read = self.contents or kind not in ("maps", "scores")
        cell, damage = self.store.look(kind, key, contents=read)
        known = self.store.failure(kind, key) if cell is None else None
        state: State = "damaged" if damage else "missing"
        why = tuple(damage)
        if cell is not None:
            state, why = "done", tuple(other_environment(cell.receipt))
        elif known is not None:
            state, why = known["status"], (known["reason"],)
        self.lookups.append(Lookup(kind, label, state, why, key, brief(parts), _pictures(kind, parts)))
        if state == "failed":
            raise CellFailed(why[0])
        if state == "skipped":
            raise Unfit(why[0])
        if cell is None and kind in _NEEDED:
            raise NotComputed(kind)
        return cell if cell is not None and read else Blank(self.store.folder(kind, key), _receipt(cell))


def _receipt(cell: Cell | None) -> Mapping[str, Any]:
    return _NOTHING if cell is None else cell.receipt


def _pictures(kind: str, parts: Mapping[str, Any]) -> int:
    if kind == "train":
        return len(parts["films"][0])
    return len(parts["which"]) if kind == "scores" else len(parts.get("pictures", {}).get("ids", ()))


@dataclass(frozen=True)
class Plan:
    """Every cell of a study and its state; of those behind a missing cell, as many as there will be at least."""

    study: Study
    store: Store
    lookups: Sequence[Lookup]
    found: Collected = field(repr=False)

    def count(self, state: State) -> int:
        """How many cells are in this state."""
        return sum(x.state == state for x in self.lookups)

    @property
    def complete(self) -> bool:
        """Whether a run would compute nothing."""
        return all(x.state in ("done", "failed", "skipped") for x in self.lookups)


def plan(study: Study, store: Store, *, contents: bool = False) -> Plan:
    """Look every cell of a study up; `contents`: and read what is there into `Plan.found`."""
    found, lookups = _gathered(study, store, contents)
    looked = Plan(study, store, _explained(store, _once(lookups)), found)
    if not study.summaries:
        return looked
    if not looked.complete:
        waiting = [Lookup("summaries", _name(s), "waiting", ("scores",)) for s in study.summaries]
        return replace(looked, lookups=[*looked.lookups, *waiting])
    if not contents:  # the key of a summary holds the scores themselves
        found, _ = _gathered(study, store, True)
    bench = _planner(study, store, contents)
    rows, predicted = together(found.rows), together(found.predictions)
    summaries(bench, study, evidence_of(study, found.models, found.maps, rows, predicted), found.maps)
    return replace(looked, lookups=[*looked.lookups, *_explained(store, bench.lookups)], found=found)


def _planner(study: Study, store: Store, contents: bool) -> Planner:
    return Planner(store, Progress(quiet=True), study.precision, study.compile, contents=contents)


def _name(summary: Any) -> str:
    return str(getattr(summary, "xai_bench_name", type(summary).__name__))


def _gathered(study: Study, store: Store, contents: bool) -> tuple[Collected, list[Lookup]]:
    """Every classifier and twin apart, because what is missing of one does not keep the others from being looked up."""
    together, lookups = Collected(), []
    for entry in entries(study):
        bench, found = _planner(study, store, contents), Collected()
        with contextlib.suppress(NotComputed):
            found = gather(study, bench, [entry])
        lookups += [*bench.lookups, *_unseen(study, found, bench.lookups, entry.label)]
        together.rows += found.rows
        together.predictions += found.predictions
        together.curves += found.curves
        together.models += found.models
        together.maps |= found.maps
    return together, lookups


def _unseen(study: Study, found: Collected, lookups: Sequence[Lookup], label: str) -> list[Lookup]:
    """Cells that were not reached: they wait for another one, or their plugin does not fit."""
    seen = {(x.kind, x.label) for x in lookups}
    who = found.models[0].label if found.models else label
    blamed = _blamed(found.rows)
    needed = [x for x in lookups if x.kind in _NEEDED and x.state != "done"]
    cause = {"train": "training", "modes": "the check of its numerical mode"}.get(needed[0].kind if needed else "")
    lost = [x.why[0] for x in needed if x.state == "failed" and not found.models]  # without it there is no classifier
    made: list[Lookup] = []

    def add(kind: str, method: str, pictures: int, said: tuple[str, str] | None) -> None:
        name = f"{who}: {method}" if method else who
        if (kind, name) in seen or (said is None and cause is None and found.models):
            return  # it was looked up, or the study does not ask for it
        state, why = ("failed", lost[0]) if lost else said or ("waiting", cause or "predictions")
        for start in range(0, pictures, BLOCK) if method else (0,):
            count = min(BLOCK, pictures - start) if method else pictures
            made.append(Lookup(kind, name, cast("State", state), (why,), pictures=count))

    films = len(study.dataset.samples(study.split))
    add("predictions", "", films, None)
    for explainer in study.explainers:
        n = min(k for k in (films, study.limit, explainer.pictures) if k is not None)
        add("maps", explainer.label, n, None)
        for metric in study.metrics if not explainer.repeat_of else ():
            said = blamed.get((explainer.label, metric.label))
            add("scores", f"{explainer.label}, {metric.label}", n, said)
    return made


def _blamed(rows: Sequence[pd.DataFrame]) -> dict[tuple[str, str], tuple[str, str]]:
    """(explainer, metric) -> (state, reason) of what has no cell, in the words of the run's own rows."""
    found = {}
    for frame in rows:
        for row in frame[frame.status.isin(["failed", "skipped"])].to_dict("records"):
            waits = str(row["reason"]).startswith(NotComputed.__name__)
            said = ("waiting", "the check of its numerical mode") if waits else (row["status"], row["reason"])
            found[row["explainer"], row["metric"]] = said
    return found


def _once(lookups: Sequence[Lookup]) -> list[Lookup]:
    """Each cell once: several parts of a study may ask for the same."""
    keyed = {(x.kind, x.key): x for x in reversed([x for x in lookups if x.key])}
    return [x for x in lookups if not x.key or keyed[x.kind, x.key] is x]


def _explained(store: Store, lookups: Sequence[Lookup]) -> list[Lookup]:
    """Missing cells of which the store holds an earlier version become stale, with what differs."""
    missing = [x for x in lookups if x.state == "missing"]
    earlier = _earlier(store, {(x.kind, x.label) for x in missing}, {(x.kind, x.key) for x in lookups})
    found: list[Lookup] = []
    replaced: dict[str, str] = {}
    for x in sorted(lookups, key=lambda x: KINDS.index(x.kind)):  # maps before the scores that rest on them
        change = _change(x, earlier[x.kind, x.label], replaced) if x.state == "missing" else None
        if change is not None:
            x = replace(x, state="stale", old=change[0], why=tuple(change[1]))
            replaced[x.key] = x.old
        found.append(x)
    return found


def _earlier(
    store: Store, labels: set[tuple[str, str]], wanted: set[tuple[str, str]]
) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Receipts of cells that this study does not ask for, by kind and label."""
    found = defaultdict(list)
    for kind in {kind for kind, _ in labels}:
        for key in store.cells(kind):
            cell = None if (kind, key) in wanted else store.look(kind, key, contents=False)[0]
            if cell is not None and (kind, cell.receipt.get("label")) in labels:
                found[kind, str(cell.receipt["label"])].append(cell.receipt)
    return found


def _change(
    lookup: Lookup, earlier: Sequence[Mapping[str, Any]], replaced: Mapping[str, str]
) -> tuple[str, list[str]] | None:
    """Key of the earlier version of a cell, and what differs; None where none is about the same pictures."""
    best: tuple[tuple[int, float], str, list[str]] | None = None
    for receipt in earlier:
        different = differences(receipt["parts"], lookup.parts)
        maps = different.get("maps")
        if SELECTION in different or (maps and replaced.get(str(maps[1])) != maps[0]):
            continue
        rank = (len(different), -float(receipt["written"]))
        if best is None or rank < best[0]:
            best = (rank, receipt["key"], reasons(different))
    return None if best is None else best[1:]


def grid(planned: Plan) -> pd.DataFrame:
    """One line for each kind, classifier and method (explainer, or explainer and metric): cells by state, and why."""
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for x in planned.lookups:
        line = lines.setdefault((x.kind, x.classifier, x.method), {**dict.fromkeys(STATES, 0), "why": []})
        line[x.state] += 1
        line["why"] += [w for w in x.why if w not in line["why"]]
    frame = pd.DataFrame(
        [{"kind": k, "classifier": c, "method": m, **v, "why": "; ".join(v["why"])} for (k, c, m), v in lines.items()],
        columns=["kind", "classifier", "method", *STATES, "why"],
    )
    order = frame.kind.map({kind: n for n, kind in enumerate(KINDS)})
    return frame.iloc[order.argsort(kind="stable")].reset_index(drop=True)
