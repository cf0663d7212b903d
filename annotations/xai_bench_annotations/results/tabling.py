"""The parts of agreement tables: what they are made of, rows by label, and sentences for what is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xai_bench.reporting.table import DASH, Cell, Column, Rows, Table
from xai_bench_annotations.drawings import Label
from xai_bench_annotations.results.estimates import Estimate, Sight, Who
from xai_bench_annotations.results.measuring import NOT_ANSWERED
from xai_bench_annotations.results.readings import Films


@dataclass(frozen=True)
class Asked:
    """What all tables are made of; `clusters` says what intervals resample."""

    films: Films
    sight: Sight
    method: str
    clusters: str

    def labels(self, *kinds: str) -> list[Label]:
        """The labels that may be drawn so."""
        return [label for label in self.films.schema.labels if set(label.kinds) & set(kinds)]

    @property
    def basis(self) -> str:
        """Of how many films a table is, and what its brackets are."""
        n, out = len(self.films.counted), len(self.films.left_out)
        said = f"{n} film{'s' * (n != 1)} that all of {'its' if n == 1 else 'their'} readers have read"
        return f"{said}{f'; {out} do not count yet' if out else ''}. n: films. {self.clusters}"

    def pairs(self, measure: str, label: str) -> list[Who]:
        """Every pair of readers; and all of them (None) where there are several."""
        who = self.sight.who(measure, label)
        return [*who, *([None] if len(who) > 1 else [])]


@dataclass
class Body:
    """The rows of a table by label, and what is missing in them: a sentence for each label and reason."""

    asked: Asked
    groups: list[Rows] = field(default_factory=list)
    said: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    def add(self, label: Label, lines: Sequence[Line]) -> None:
        """The rows of a label, where anybody answered it; nothing where nothing in them could be measured."""
        if all(set(e.left_out) <= {NOT_ANSWERED} and not e.films for line in lines for e in line.found.values()):
            return
        rows = [line.cells for line in lines]
        if any(cell.text != DASH for row in rows for cell in row[1:]):
            self.groups.append(Rows(label.name, tuple(rows)))
        for line in lines:
            if line.who is not None:
                self._leave_out(label.name, line)

    def _leave_out(self, label: str, line: Line) -> None:
        """Count what a row leaves out; a reason that does not hold for all columns is said with those it holds for."""
        reasons: dict[tuple[str, int], list[str]] = defaultdict(list)
        for column, estimate in line.found.items():
            for reason, count in estimate.left_out.items():
                reasons[reason, count].append(column)
        every = sum(bool(e.films or e.left_out) for e in line.found.values())
        for (reason, count), columns in reasons.items():
            where = f" ({', '.join(columns)})" if len(columns) < every else ""
            self.said.setdefault((label, reason, where), []).append(f"{names_of(line.who)} {count}")

    def table(self, name: str, title: str, caption: str, columns: Sequence[Column], *more: str) -> Table | None:
        """The table, or None without any row."""
        left_out = tuple(
            f"{label}: films left out{where}, {reason}: {', '.join(counts)}."
            for (label, reason, where), counts in self.said.items()
        )
        no_spread = any(f"[{DASH}]" in c.text + c.small for g in self.groups for row in g.rows for c in row)
        dash = (f"[{DASH}]: no interval, as there is one film or patient, or all are equal.",) if no_spread else ()
        notes = (*more, *left_out, *dash, self.asked.basis)
        return Table(name, title, caption, tuple(columns), tuple(self.groups), notes) if self.groups else None


@dataclass(frozen=True)
class Line:
    """A row: of whom, the estimates behind it by column, and its cells, which are those of the estimates by default."""

    who: Who
    found: Mapping[str, Estimate]
    own: Sequence[Cell] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What the table shows."""
        return (Cell(names_of(self.who)), *(self.own or [e.cell for e in self.found.values()]))


def names_of(who: Who) -> str:
    """One reader, a pair, or all of them."""
    return "all pairs" if who is None else " \N{EN DASH} ".join(who)


def said_once(tables: Sequence[Table]) -> tuple[tuple[str, ...], list[Table]]:
    """The footnotes that all of several tables have, and the tables without them."""
    shared = [n for n in tables[0].footnotes if all(n in t.footnotes for t in tables)] if len(tables) > 1 else []
    kept = [replace(t, footnotes=tuple(n for n in t.footnotes if n not in shared)) for t in tables]
    return tuple(shared), kept
