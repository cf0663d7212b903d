"""One table, four faces: terminal, Markdown, LaTeX, CSV. A table explains itself: caption, arrows, n, footnotes."""

import csv
import io
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from xai_bench.statistics import Interval

DASH = "\N{EM DASH}"
Number = float | int | str | None
WIDEST = 24  # characters that a column of the terminal never breaks
MINUS = "\N{MINUS SIGN}"
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{EM DASH}": "---",
    "\N{EN DASH}": "--",
    "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    MINUS: "$-$",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: text, a small second line, and the bare numbers for CSV by name."""

    text: str = ""
    small: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    mark: str = ""  # good | bad | muted: how the terminal and the page color it


@dataclass(frozen=True)
class Column:
    """A column's title, a small second line (region, n), and what it shares with its neighbors, printed above."""

    title: str
    small: str = ""
    left: bool = False
    over: str = ""


@dataclass(frozen=True)
class Rows:
    """Rows under one heading."""

    heading: str
    rows: tuple[tuple[Cell, ...], ...]
    chance: bool = False  # controls: what a map scores that knows nothing


@dataclass(frozen=True)
class Table:
    """A table of a run; `name` is its file name, `caption` says in plain words what stands in it.

    `sheet`: the family of metrics whose sheet it stands on, where it is not one of the short tables.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Rows, ...]
    footnotes: tuple[str, ...] = ()
    sheet: str = ""

    @property
    def spans(self) -> list[tuple[str, int]]:
        """The line above the heads: each text and over how many columns it stands; empty where no column has one."""
        if not any(c.over for c in self.columns):
            return []
        return [(over, len(list(own))) for over, own in itertools.groupby(self.columns, key=lambda c: c.over)]


def readable(name: str) -> str:
    """A name of the study as words.

    >>> readable("grad_cam"), readable("iou_matched")
    ('grad cam', 'IoU matched')
    """
    words = name.replace("_", " ")
    mixed = {"iou": "IoU", "mege": "MeGe", "reco": "ReCo"}
    return re.sub(r"\b(iou|mege|reco|ssim|srg|auprc|auroc)\b", lambda m: mixed.get(m[0], m[0].upper()), words)


def together(pairs: Iterable[tuple[str, str]]) -> str:
    """Rows of a table by their block, for a footnote.

    >>> together([("honest", "lime"), ("honest", "grad_cam"), ("cheating", "lime")])
    'honest (lime, grad cam); cheating (lime)'
    """
    blocks: dict[str, dict[str, None]] = {}
    for block, row in pairs:
        blocks.setdefault(block, {})[readable(row)] = None
    return "; ".join(f"{block} ({', '.join(rows)})" for block, rows in blocks.items())


def number(value: float | None, digits: int = 2) -> str:
    """A number for reading: `digits` decimals up to 10, then one up to 100, then none; a dash where there is none.

    >>> number(0.5), number(12.345), number(1234.5), number(float("nan")), number(-0.001)
    ('0.50', '12.3', '1,234', '—', '0.00')
    >>> number(-0.1) == MINUS + "0.10"
    True
    """
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    text = f"{value:,.{digits if size < 10 else min(digits, 1) if size < 100 else 0}f}"
    return (text if float(text.replace(",", "")) else text.lstrip("-")).replace("-", MINUS)


def signed(value: float) -> str:
    """A number for reading, with its sign.

    >>> signed(0.25), signed(0.0)
    ('+0.25', '0.00')
    """
    text = number(value)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def with_interval(value: float | None, interval: Interval | None) -> str:
    """`0.62 [0.50, 0.73]`; without an interval `0.62 [—]`.

    >>> with_interval(0.5, Interval(0.4, 0.6, "BCa", 9, 9))
    '0.50 [0.40, 0.60]'
    """
    if interval is None or not interval.known:
        return f"{number(value)} [{DASH}]"
    return f"{number(value)} [{number(interval.low)}, {number(interval.high)}]"


def to_rich(table: Table) -> RenderableType:
    """The table for a terminal of 100 columns or more."""
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for index, column in enumerate(table.columns):
        head = Text(column.title, "bold")
        for line, style in ((column.small, "dim not bold"), (column.over, "italic not bold")):
            head.append(f"\n{line}" if line else "", style)  # the terminal aligns heads at their last line
        least = max((len(text) for text in _texts(table, index)), default=0)
        justify: Literal["left", "right"] = "left" if column.left else "right"
        shown.add_column(head, justify=justify, overflow="fold", min_width=min(least, WIDEST))
    for group in table.groups:
        if group.heading:
            shown.add_section()
            shown.add_row(Text(group.heading, "italic" if group.chance else "bold cyan"))
        for row in group.rows:
            shown.add_row(*(_rich_cell(cell, group.chance) for cell in row))
    notes = [Padding(Text(note, "dim"), (0, 0, 0, 2)) for note in (table.caption, *table.footnotes) if note]
    return Group(Text(table.title, "bold"), shown, *notes, Text(""))


def _texts(table: Table, index: int) -> list[str]:
    """What must not be broken in a column: its cells, and in the first the headings."""
    cells = [_compact(row[index].text) for group in table.groups for row in group.rows]
    return cells if index else cells + [group.heading for group in table.groups]


def _rich_cell(cell: Cell, chance: bool) -> Text:
    style = {"good": "green", "bad": "red", "muted": "dim"}.get(cell.mark, "dim" if chance else "")
    text = Text(_compact(cell.text), style)
    small = re.sub(r"\b0\.", ".", cell.small)
    return text.append(f"\n{small}", "dim") if small else text


def _compact(text: str) -> str:
    """`0.62 [0.50, 0.73]` as `0.62 [.50, .73]`: five columns of intervals then fit 110 characters."""
    return re.sub(r"\[.*\]", lambda found: re.sub(r"\b0\.", ".", found[0]).replace(", ", ","), text)


def to_csv(table: Table) -> str:
    """Comma-separated: group, then each cell's text or its bare numbers, a column each."""
    names = [_number_names(table, i) for i in range(len(table.columns))]
    titles = [c.title for c in table.columns]
    heads = [c.title if titles.count(c.title) == 1 else f"{c.title} ({c.small})" for c in table.columns]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["group", *(f"{h}: {n}" if n else h for h, own in zip(heads, names, strict=True) for n in own)])
    for group in table.groups:
        for row in group.rows:
            cells = [c.numbers.get(n, "") if n else _plain(c) for c, own in zip(row, names, strict=True) for n in own]
            writer.writerow([group.heading, *("" if v is None or v != v else v for v in cells)])
    return out.getvalue()


def _number_names(table: Table, index: int) -> list[str]:
    found = [n for group in table.groups for row in group.rows for n in row[index].numbers]
    return list(dict.fromkeys(found)) or [""]


def _plain(cell: Cell) -> str:
    return f"{cell.text} ({cell.small})" if cell.small else cell.text


def to_markdown(table: Table) -> str:
    """A heading, the caption, a pipe table and the footnotes."""
    lines = [f"### {table.title}", "", table.caption, "", _pipes([_markdown(*_head(c)) for c in table.columns])]
    lines.append(_pipes([":---" if c.left else "---:" for c in table.columns]))
    for group in table.groups:
        if group.heading:
            lines.append(_pipes([f"**{_escaped(group.heading)}**"] + [""] * (len(table.columns) - 1)))
        lines += [_pipes([_markdown(c.text, c.small) for c in row]) for row in group.rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in table.footnotes), ""])


def _head(column: Column) -> tuple[str, str]:
    return column.title, "; ".join(filter(None, (column.over, column.small)))


def _pipes(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", text).replace("\n", " ")


def _markdown(text: str, small: str) -> str:
    return f"{_escaped(text)}<br><sub>{_escaped(small)}</sub>" if small else _escaped(text)


def to_latex(table: Table) -> str:
    """A booktabs `table` environment with caption, label and footnotes; needs \\usepackage{booktabs} only."""
    width = len(table.columns)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\small",
        rf"\caption{{{tex(table.title)}. {tex(table.caption)}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', table.name)}}}",
        rf"\begin{{tabular}}{{{''.join('l' if c.left else 'r' for c in table.columns)}}}",
        r"\toprule",
    ]
    lines += _tex_spans(table)
    lines.append(_tex_row([tex(c.title) for c in table.columns]))
    if any(c.small for c in table.columns):
        lines.append(_tex_row([_tex_small(c.small) for c in table.columns]))
    for group in table.groups:
        lines.append(r"\midrule")
        if group.heading:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{tex(group.heading)}}}}} \\")
        for row in group.rows:
            lines.append(_tex_row([tex(c.text) for c in row]))
            if any(c.small for c in row):
                lines.append(_tex_row([_tex_small(c.small) for c in row]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.footnotes:
        notes = r" \\ ".join(tex(note) for note in table.footnotes)
        lines.append(rf"\par\medskip\begin{{minipage}}{{\linewidth}}\footnotesize {notes}\end{{minipage}}")
    return "\n".join([*lines, r"\end{table}", ""])


def _tex_spans(table: Table) -> list[str]:
    """The line above the heads, each text with a rule over its columns."""
    cells, rules, first = [], [], 1
    for text, width in table.spans:
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{tex(text)}}}")
        rules += [rf"\cmidrule(lr){{{first}-{first + width - 1}}}"] if text else []
        first += width
    return [_tex_row(cells), "".join(rules)] if cells else []


def _tex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex_small(text: str) -> str:
    return rf"{{\scriptsize {tex(text)}}}" if text else ""


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped.

    >>> tex("hit_rate ↑ 5 %")
    'hit\\\\_rate $\\\\uparrow$ 5 \\\\%'
    """
    return "".join(_TEX.get(c, c) for c in text)
