"""A study in, tidy rows out: `evaluate(study, store=...) -> Run`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from xai_bench.backends import Backend, backend_of, usual
from xai_bench.backends.jobs import Abandoned, fill, is_plain
from xai_bench.errors import BadInput, CellFailed
from xai_bench.interruption import between_cells
from xai_bench.progress import Progress
from xai_bench.running.kept import NotKept, OnlyKept
from xai_bench.running.machine import limited
from xai_bench.running.models import Entry, entries
from xai_bench.running.modes import CHECKS, engaged
from xai_bench.running.rows import PREDICTIONS, ROWS, SCHEMA, together, without_classifier
from xai_bench.running.run import Run
from xai_bench.running.summaries import evidence_of, summaries
from xai_bench.running.targets import explained_order
from xai_bench.running.turn import COSTS, Collected, bench_for, cells_of, evaluate_model
from xai_bench.running.workbench import Workbench
from xai_bench.score_cache import ScoreCache
from xai_bench.store.store import Store
from xai_bench.study import Study

MODES = ["classifier", "replicate", "method"]


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
            model = entry.make(bench_for(bench, abandoned, entry.name, entry.replicate, ""))
            with engaged(bench, model):
                evaluate_model(study, bench, model, found, abandoned)
        except CellFailed as error:  # of its training, or of its predictions
            bench.progress.cell(entry.label, "failed", str(error))
            found.rows.append(without_classifier(study, entry, str(error)))
    return found


def _expect(study: Study, progress: Progress, every: Sequence[Entry]) -> None:
    """How many cells there will be, as far as that is known before anything is predicted."""
    films = len(study.dataset.samples(study.split))
    for entry in every:
        progress.expect(entry.label, 1)
        for chosen in study.explainers:
            pictures = min(n for n in (films, study.limit, chosen.pictures) if n is not None)
            progress.expect(f"{entry.label}: {chosen.label}", cells_of(study, chosen, pictures))


def assemble(study: Study, bench: Workbench, found: Collected) -> Run:
    """The run of what was gathered, with its summaries. Raises BadInput where no classifier could be trained."""
    rows = together(found.rows, ROWS)
    if not found.models:
        raise BadInput(f"no classifier of the study can be used: {rows.reason.iloc[0]}.")
    rows.attrs["schema"] = SCHEMA
    predicted = together(found.predictions, PREDICTIONS)
    evidence = evidence_of(study, found.models, found.maps, rows, predicted)
    bench.progress.expect("summaries", len(study.summaries), sure=True)
    summarized, unsummarized = summaries(bench, study, evidence, found.maps)
    return Run(
        study=study,
        rows=rows,
        predictions=predicted,
        curves=together(found.curves),
        costs=pd.DataFrame(found.costs, columns=COSTS),
        summaries=summarized,
        unsummarized=unsummarized,
        models=tuple(found.models),
        maps=found.maps,
        modes=together(list(found.modes.values()), [*MODES, *CHECKS]),
        order=tuple(explained_order(study.dataset, study.dataset.samples(study.split), study.seed)),
    )
