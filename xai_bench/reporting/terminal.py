"""A run on the terminal: the story first, then the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from xai_bench.reporting.table import Table, to_rich

WIDTH = 118
SHORT = (
    "classifiers",
    "scores",
    "retrain",
    "modes",
    "left_out",
)  # tables of the short view, by the beginning of their names


def show(tables: Sequence[Table], *, story: Sequence[Any] = (), console: Console | None = None) -> None:
    """Print paragraphs and tables; a terminal narrower than the tables still gets every number."""
    out = console or Console()
    if out.width < 100:
        out = Console(width=WIDTH) if console is None else out
    for part in story:
        out.print(to_rich(part) if isinstance(part, Table) else f"{part}\n", markup=False, highlight=False)
    for table in tables:
        out.print(to_rich(table))
