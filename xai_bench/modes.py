"""The numerical mode of a method on a classifier: the study's, or what a sample of films allows. A cell of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from xai_bench.anatomy import needs_players
from xai_bench.code_version import code_version
from xai_bench.engine import Engine, Mode
from xai_bench.fidelity import FILMS, Explain, best_mode, candidates
from xai_bench.inputs import to_batch
from xai_bench.progress import Meter
from xai_bench.seeding import numpy_generator
from xai_bench.spec import spec_of
from xai_bench.store import write_frame
from xai_bench.targets import Request
from xai_bench.workbench import Counter, Model, Workbench

CHECKS = ["mode", "films", "same", "lowest", "speed", "passed"]


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
        return [str(self.mode), self.checks.drop(columns="speed").to_dict("records")]


def choose(
    bench: Workbench, model: Model, plugin: Any, explain: Explain, parts: Mapping[str, Any], films: Sequence[Request]
) -> ChosenMode:
    """The mode for a plugin that asks the engine; `explain` makes the maps that are compared, `parts` identify them.

    A plugin that declares no `evaluations` does not ask the engine and runs in float32.
    """
    if not hasattr(plugin, "evaluations"):
        return ChosenMode(Mode(), pd.DataFrame(columns=CHECKS))
    if bench.precision != "auto":
        return ChosenMode(Mode(bench.precision, bench.compile), pd.DataFrame(columns=CHECKS))
    modes = candidates(model.classifier, bench.compile)
    sample = _sample(films)
    wanted = [(model.pictures.samples[r.picture].digest, r.picture, r.target) for r in sample]
    key = {**parts, "films": wanted, "modes": [spec_of(m) for m in modes], "check": code_version(best_mode)}

    def compute(folder: Path) -> Mapping[str, Any]:
        players = needs_players(plugin)
        pictures = model.pictures.readable([r.picture for r in sample], regions=False, players=players)
        batch = to_batch(pictures, [r.target for r in sample]).to(model.classifier.device)
        with Counter().on(model.classifier) as count:
            _, tried = best_mode(model.classifier, batch, explain, modes)
        rows = [[spec_of(f.mode)["fields"], f.films, f.same, f.lowest, f.speed, f.passed] for f in tried]
        write_frame(folder, "checks", pd.DataFrame(rows, columns=CHECKS))
        return {"pictures": len(sample), "evaluations": count.evaluations}

    cell = bench.cell("modes", key, compute)
    checks = cell.frame("checks")
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
    try:
        yield engine
    finally:
        engine.mode, engine.progress = before, None
