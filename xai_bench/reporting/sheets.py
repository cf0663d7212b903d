"""Tables that belong together, as the terminal and the page show them: what all of them say is said once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from xai_bench.listing import FAMILIES
from xai_bench.reporting.table import Table


@dataclass(frozen=True)
class Sheet:
    """Tables under one heading; `notes` are the captions and footnotes that hold for all of them.

    `about` says in a sentence what a family of metrics is; empty for other tables.
    """

    name: str
    title: str
    about: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    @property
    def size(self) -> str:
        """How much stands on it."""
        scores = len({column.title for table in self.tables for column in table.columns[1:]})
        counts = ((scores, "score"), (len(self.tables), "table"))
        return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts)

    @property
    def whole(self) -> str:
        """What `notes` hold for."""
        return "both tables" if len(self.tables) == 2 else f"all {len(self.tables)} tables"


def sheets(tables: Iterable[Table]) -> list[Sheet]:
    """Neighboring tables of one family of metrics, or numbered parts of one table, together."""
    return [_sheet(name, list(own)) for name, own in itertools.groupby(tables, key=_name)]


def _name(table: Table) -> str:
    return "family-" + re.sub(r"\W+", "-", table.sheet) if table.sheet else re.sub(r"_\d+$", "", table.name)


def _sheet(name: str, tables: list[Table]) -> Sheet:
    family, first = tables[0].sheet, tables[0]
    title = family.capitalize() if family else first.title.split(" \N{MIDDLE DOT} ")[0]
    about = FAMILIES.get(family, "")
    if len(tables) == 1:
        return Sheet(name, title, about, (first,), ())
    shared = [
        note for note in (first.caption, *first.footnotes) if all(note in (t.caption, *t.footnotes) for t in tables)
    ]
    return Sheet(name, title, about, tuple(_without(table, shared) for table in tables), tuple(shared))


def _without(table: Table, shared: list[str]) -> Table:
    caption = "" if table.caption in shared else table.caption
    return replace(table, caption=caption, footnotes=tuple(n for n in table.footnotes if n not in shared))
