"""The numerical mode of a method on a classifier: the study's, or what a sample of films allows. A cell of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from xai_bench.anatomy import needs_players
from xai_bench.code_version import code_of
from xai_bench.engine import Engine, Mode
from xai_bench.inputs import to_batch
from xai_bench.progress import Meter
from xai_bench.running.fidelity import FILMS, Explain, best_mode, candidates
from xai_bench.running.targets import Request
from xai_bench.running.workbench import Counter, Model, Workbench
from xai_bench.seeding import numpy_generator
from xai_bench.spec import spec_of
from xai_bench.store.files import write_frame

CHECKS = ["mode", "films", "same", "lowest", "speed", "passed"]
_UNCHECKED = pd.DataFrame(columns=CHECKS)


@dataclass(frozen=True)
class ChosenMode:
    """A mode, and the checks that led to it: a table with the columns of CHECKS, empty where nothing was checked.

    `receipt` says what the checks cost; empty where there were none.
    """

    mode: Mode
    checks: pd.DataFrame
    receipt: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> list[Any]:
        """The decision and its numbers, for the key of what is computed in this mode."""
        checks = [] if self.checks.empty else self.checks.drop(columns="speed").to_dict("records")
        return [str(self.mode), checks]


def choose(
    bench: Workbench, model: Model, plugin: Any, explain: Explain, parts: Mapping[str, Any], films: Sequence[Request]
) -> ChosenMode:
    """The mode for a plugin that asks the engine; `explain` makes the maps that are compared, `parts` identify them.

    A plugin that declares no `evaluations` does not ask the engine and runs in float32.
    """
    if not hasattr(plugin, "evaluations"):
        return ChosenMode(Mode(), _UNCHECKED)
    if bench.precision != "auto":
        return ChosenMode(Mode(bench.precision, bench.compile), _UNCHECKED)
    modes = candidates(model.classifier, bench.compile)
    sample = _sample(films)
    code = {**parts["code"], **code_of(best_mode)}
    key = {**parts, "code": code, "pictures": model.asked(sample), "modes": [spec_of(m) for m in modes]}

    def compute(folder: Path) -> Mapping[str, Any]:
        players = needs_players(plugin)
        pictures = model.pictures.readable([r.picture for r in sample], regions=False, players=players)
        batch = to_batch(pictures, [r.target for r in sample]).to(model.classifier.device)
        with Counter().on(model.classifier) as count:
            _, tried = best_mode(model.classifier, batch, explain, modes)
        rows = [[spec_of(f.mode)["fields"], f.films, f.same, f.lowest, f.passed] for f in tried]
        write_frame(folder, "checks", pd.DataFrame(rows, columns=[c for c in CHECKS if c != "speed"]))
        return {"pictures": len(sample), "evaluations": count.evaluations, "speeds": [f.speed for f in tried]}

    name = getattr(plugin, "xai_bench_name", type(plugin).__name__)
    cell = bench.cell("modes", f"{model.label}: {name}", key, compute)
    checks = cell.frame("checks").assign(speed=cell.receipt["speeds"])[CHECKS]
    passed = [Mode(**fields) for fields, good in zip(checks["mode"], checks.passed, strict=True) if good]
    named = checks.assign(mode=[str(Mode(**m)) for m in checks["mode"]])
    return ChosenMode(passed[0] if passed else Mode(), named, cell.receipt)


def _sample(films: Sequence[Request]) -> list[Request]:
    """A few of the pictures, the same whatever else is asked."""
    by_name = sorted(films, key=lambda r: (r.picture, r.target))
    chosen = numpy_generator(0, "fidelity").permutation(len(by_name))[:FILMS]
    return [by_name[i] for i in sorted(chosen)]


@contextmanager
def engaged(bench: Workbench, model: Model) -> Iterator[None]:
    """Within the block the classifier has an engine with this study's batch size and score cache."""
    before = model.classifier.engine
    model.classifier.engine = Engine(batch_size=model.batch_size, cache=bench.cache)
    try:
        yield
    finally:
        model.classifier.engine = before
        if bench.cache is not None:
            bench.cache.flush()


@contextmanager
def running(model: Model, mode: Mode, meter: Meter | None = None) -> Iterator[Engine]:
    """Within the block the classifier's engine runs in this mode and tells the meter."""
    engine = model.classifier.engine or Engine(batch_size=model.batch_size)
    before, engine.mode, engine.progress = engine.mode, mode, meter.answers if meter else None
    engine.batch_size, engine.halved = model.batch_size, 0  # what memory did to another cell is not for this one
    try:
        yield engine
    finally:
        engine.mode, engine.progress = before, None
