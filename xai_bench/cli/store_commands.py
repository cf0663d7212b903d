"""xai-bench plan | status | verify | gc | export: what a store holds, whether it is sound, and what may go."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xai_bench.cli.options import Limit, StoreFolder, StudyFile, read_study
from xai_bench.errors import BadInput
from xai_bench.progress import Progress, in_words

if TYPE_CHECKING:
    from xai_bench.planning.plan import Lookup, Plan

Full = Annotated[bool, typer.Option("--full", help="A line for each explainer and metric.")]
LINES = 20
"""Reasons that are printed without `--full`."""


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (plan, status, verify, gc, export):
        app.command()(verb)


def plan(study: StudyFile, store: StoreFolder = None, limit: Limit = None, full: Full = False) -> None:
    """What a run would compute: cells that are done, missing or stale (and why), time and disk. Computes nothing.

    Example: `xai-bench plan study.toml`
    """
    from xai_bench.planning.needs import needs

    found = _plan(study, store, limit)
    _show(found, full=full)
    left = needs(found)
    if not left.cells:
        typer.echo("nothing is left to compute")
        return
    apart = f" (trainings apart: {left.trainings})" if left.trainings else ""
    time = in_words(left.seconds)
    typer.echo(f"{left.cells} cells to compute: about {time} in one process{apart}, about {_size(left.bytes)} on disk")


def status(study: StudyFile, store: StoreFolder = None, full: Full = False) -> None:
    """What the folder of a run holds: done, missing, stale, failed and skipped, each with its reason.

    Example: `xai-bench status runs/study`
    """
    _show(_plan(study, store, None), full=full)


def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged; the next run computes it again.")
    ] = False,
) -> None:
    """Compute every sha256 again; names what is damaged and exits with code 1.

    Example: `xai-bench verify runs/study`
    """
    from xai_bench.store import verify as checks
    from xai_bench.store.store import Store

    store = Store.existing(folder)
    found = checks.verify(store, Progress())
    for damage in found.damaged:
        typer.echo(f"damaged: {damage}")
    typer.echo(f"{found.files} files, {_size(found.bytes)}: {len(found.damaged) or 'none'} damaged")
    if found.damaged and not repair:
        raise typer.Exit(1)
    if found.damaged:
        checks.repair(store, found)
        typer.echo("removed; run the study again to compute what it needs of it")


def gc(
    study: StudyFile,
    store: StoreFolder = None,
    environment: Annotated[
        bool, typer.Option("--environment", help="Also cells made with other versions of torch and its kind.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only listed.")] = False,
) -> None:
    """List, and with --yes remove, stale cells and what killed runs left behind.

    Example: `xai-bench gc runs/study --yes`
    """
    from xai_bench.planning.garbage import garbage, remove

    planned = _plan(study, store, None)
    found = garbage(planned, environment=environment)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in found:
        groups[one.what, one.why].append(one.bytes)
    for (what, why), sizes in groups.items():
        typer.echo(f"{what} ({len(sizes)}, {_size(sum(sizes))}): {why}")
    total = _size(sum(g.bytes for g in found))
    if not found:
        typer.echo("nothing to remove")
    elif not yes:
        typer.echo(f"{len(found)} to remove, {total}; `--yes` removes them")
    else:
        remove(planned.store, found)
        typer.echo(f"{len(found)} removed, {total}")


def export(
    study: StudyFile,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("exported"),
    store: StoreFolder = None,
    form: Annotated[str, typer.Option("--format", help="parquet or csv.")] = "parquet",
    maps: Annotated[
        bool, typer.Option("--maps", help="Also all maps, an npz for each classifier and explainer.")
    ] = False,
) -> None:
    """Write tidy rows, predictions and curves to one file each, and maps to npz; computes nothing.

    Example: `xai-bench export runs/study --out exported --format csv --maps`
    """
    from xai_bench.planning import export as files

    planned = _plan(study, store, None, contents=True)
    for path in files.export(planned, out, form, maps=maps):
        typer.echo(str(path))
    if not planned.complete:
        done, total = planned.count("done"), len(planned.lookups)
        typer.echo(f"note: {done} of {total} cells are done; run the study again to have the others", err=True)


def _plan(study: Path, store: Path | None, limit: int | None, *, contents: bool = False) -> Plan:
    from xai_bench.planning.plan import plan
    from xai_bench.store.store import Store

    chosen = read_study(study, limit)
    folder = store or (study if study.is_dir() else Path("runs") / chosen.name)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{str(folder)!r} is no folder; name the folder of a run.")
    return plan(chosen, Store(folder), contents=contents)


def _show(found: Plan, *, full: bool) -> None:
    from xai_bench.planning.plan import STATES, grid

    lines = grid(found)
    by = ["kind", "classifier", "method"] if full else ["kind", "classifier"]
    states = ["done", *(s for s in STATES if s != "done" and lines[s].any())]
    counts = lines.groupby(by, sort=False)[states].sum().reset_index()
    title = f"study {found.study.name} ({found.study.key}) in {found.store.root}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in (*by, "cells", *states):
        table.add_column(column, justify="left" if column in by else "right", no_wrap=column not in by)
    for line in counts.to_dict("records"):
        numbers = [line[s] for s in states]
        values = [*(line[b] for b in by), sum(numbers), *(n or "" for n in numbers)]
        table.add_row(*(Text(str(v)) for v in values))
    Console().print(table)
    for text in _why(found.lookups, full=full):
        typer.echo(text)


def _why(lookups: Any, *, full: bool) -> list[str]:
    """One line for each state, kind, method and reason, with how many cells have it."""
    groups: dict[tuple[str, str, str], list[Lookup]] = defaultdict(list)
    for x in lookups:
        if x.why:
            groups["stale, still used" if x.state == "done" else x.state, x.kind, "; ".join(x.why)].append(x)
    lines = []
    for (state, kind, why), cells in groups.items():
        names = list(dict.fromkeys(x.method or x.classifier for x in cells))
        shown = "; ".join(names if full else names[:3]) + (
            f" and {len(names) - 3} more" if len(names[3:]) and not full else ""
        )
        lines.append(f"{state}: {len(cells)} {kind} ({shown}): {why}")
    rest = len(lines) - LINES
    return lines if full or rest <= 0 else [*lines[:LINES], f"and {rest} more reasons; `--full` shows all"]


def _size(count: float) -> str:
    """Bytes for readers.

    >>> _size(2_500_000)
    '2.5 MB'
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"
