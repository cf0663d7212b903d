"""A run on the terminal: the story first, then the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from xai_bench.reporting.sheets import Sheet, sheets
from xai_bench.reporting.table import Table, to_rich

WIDTH = 118
SHORT = (
    "classifiers",
    "scores",
    "human_ceiling",
    "stability",
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
    for sheet in sheets(tables):
        _show_sheet(sheet, out)


def _show_sheet(sheet: Sheet, out: Console) -> None:
    """A family's heading, the tables, and at the end what holds for all of them."""
    if sheet.about:
        out.print(Rule(Text(f"{sheet.title} ({sheet.size})", "bold"), align="left"))
        out.print(Text(f"{sheet.about}\n", "dim"))
    for table in sheet.tables:
        out.print(to_rich(table))
    if sheet.notes:
        heading = f"For {sheet.whole} above:"
        out.print(*(Padding(Text(note, "dim"), (0, 0, 0, 2)) for note in (heading, *sheet.notes)), Text(""), sep="")
