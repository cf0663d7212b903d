"""The tables of a run: classifiers first, then explanations, comparisons, stability, cost, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xai_bench.reporting.ceiling_table import ceiling_tables
from xai_bench.reporting.classifier_tables import classifier_tables
from xai_bench.reporting.comparison_tables import comparison_tables
from xai_bench.reporting.estimates import (
    Estimate,
    Score,
    column_groups,
    estimates,
    families,
    family_rank,
    once,
    short_groups,
    titles,
    usual_n,
    where,
)
from xai_bench.reporting.mode_table import mode_tables
from xai_bench.reporting.score_notes import Background, score_notes, span
from xai_bench.reporting.stability_table import stability_tables
from xai_bench.reporting.summary_tables import cost_table, left_out_table, summary_tables
from xai_bench.reporting.table import DASH, Cell, Column, Number, Rows, Table, number, readable, with_interval
from xai_bench.statistics import FEW_TWINS

if TYPE_CHECKING:
    from xai_bench.running.run import Run


def run_tables(run: Run, *, full: bool = False) -> list[Table]:
    """Every table; `full` adds all scores, each twin's confusion matrix, and films the model gets right and wrong.

    Comparisons are always those of the headline scores: the family of tests is the same wherever it is printed.
    """
    found = estimates(run)
    tables = [
        *once(run, f"classifier tables, full: {full}", lambda: classifier_tables(run, full=full)),
        *short_tables(run, found),
    ]
    if full:
        tables += family_tables(run, {"": estimates(run, full=True), **_slices(run)})
    return _numbered([*tables, *once(run, "tables after the scores", lambda: _after_the_scores(run, found))])


def _numbered(tables: Sequence[Table]) -> list[Table]:
    """Tables that share a title, because their columns do not fit into one, are numbered."""
    names = [table.title for table in tables]
    return [
        replace(table, title=f"{name} ({names[: i + 1].count(name)} of {names.count(name)})")
        if names.count(name) > 1
        else table
        for i, (table, name) in enumerate(zip(tables, names, strict=True))
    ]


def _after_the_scores(run: Run, found: Sequence[Estimate]) -> list[Table]:
    return [
        *comparison_tables(run, found),
        *ceiling_tables(run),
        *stability_tables(run),
        *summary_tables(run),
        *mode_tables(run),
        cost_table(run),
        left_out_table(run),
    ]


def _slices(run: Run) -> dict[str, list[Estimate]]:
    right = run.rows.label == run.rows.prediction
    parts = {"films the model gets right": right, "films the model gets wrong": ~right}
    return {of: estimates(run, run.rows[mine], full=True) for of, mine in parts.items()}


@dataclass(frozen=True)
class _Frame:
    """What a score table is called, the metrics whose failures its footnotes tell, and the family's sheet it is on."""

    name: str
    title: str
    metrics: Sequence[str]
    sheet: str = ""


def short_tables(run: Run, found: Sequence[Estimate]) -> list[Table]:
    """What to read first, a table a region: at most five headline scores, from every family in turn."""
    known, named, parts = Background.of(run), titles(found), short_groups(found)
    metrics = list(dict.fromkeys(run.rows.metric))
    tables = []
    for index, part in enumerate(parts):
        frame = _Frame(f"scores_{index + 1}", f"Explanation scores{where(part)}", metrics)
        tables.append(_score_table(known, found, part, named, frame))
    hidden = len(set(named.values()) - {named[score] for part in parts for score in part})
    if hidden:
        more = f"{hidden} more headline scores stand on the sheets of their families, in the report and with --full."
        tables = [replace(table, footnotes=(*table.footnotes, more)) for table in tables]
    return tables


def family_tables(run: Run, parts: Mapping[str, Sequence[Estimate]]) -> list[Table]:
    """Every score, sheet by sheet: a family's tables of each region, of all films, then of each other part of them."""
    every, known, members = parts[""], Background.of(run), families(run)
    named, tables = titles(every), []
    for family in sorted({score.family for score in named}, key=family_rank):
        metrics = [metric for metric, own in members.items() if own == family]
        for of, found in parts.items():
            groups = column_groups(e for e in found if e.score.family == family)
            for index, (group, title) in enumerate(zip(groups, _family_titles(family, groups, of), strict=True)):
                frame = _Frame(_file_name("scores", family, str(index + 1), of), title, metrics, family)
                tables.append(_score_table(known, found, group, named, frame))
    return tables


def _family_titles(family: str, groups: Sequence[Sequence[Score]], of: str) -> list[str]:
    """Family, region and part of the films in words; tables that share them are numbered."""
    places = [where(group) if any(s.region for s in group) else "" for group in groups]
    parts = [
        f" ({places[: i + 1].count(place)} of {places.count(place)})" if places.count(place) > 1 else ""
        for i, place in enumerate(places)
    ]
    suffix = f", {of}" if of else ""
    return [f"{family.capitalize()}{place}{suffix}{part}" for place, part in zip(places, parts, strict=True)]


def _file_name(*parts: str) -> str:
    return "_".join(re.sub(r"\W+", "_", part) for part in parts if part)


def _score_table(
    known: Background, found: Sequence[Estimate], columns: Sequence[Score], named: dict[Score, str], frame: _Frame
) -> Table:
    mine = [e for e in found if e.score in columns]
    twins = {len(e.twins) for e in mine if e.twins}
    caption = (
        f"Mean score of each method's maps. {_about_intervals(twins)} Arrows point to the better side. Rows under "
        f"chance are maps that know nothing of the model: a method should beat them. Run {known.key}."
    )
    mixed = len({s.family for s in columns}) > 1
    heads = [
        Column(named[s], usual_n(e.size for e in mine if e.score == s), over=s.family if mixed else "") for s in columns
    ]
    return Table(
        name=frame.name,
        title=frame.title,
        caption=caption,
        columns=(Column("method", left=True), *heads),
        groups=tuple(_blocks(known, mine, columns, [h.small for h in heads])),
        footnotes=score_notes(known, mine, named, frame.metrics),
        sheet=frame.sheet,
    )


def _about_intervals(twins: Set[int]) -> str:
    """What the intervals of cells of so many twins hold for."""
    if max(twins, default=1) <= 1:
        return "In brackets the 95% interval over patients, conditional on this one trained classifier."
    if max(twins) < FEW_TWINS:
        return (
            f"A film's score is its mean over the {span(twins)} retrained twins; in brackets the 95% interval over "
            "patients, conditional on these twins, whose own means stand below."
        )
    fewer = f", and with fewer than {FEW_TWINS} twins," if min(twins) < FEW_TWINS else ""
    return (
        f"In brackets the 95% interval over {span(twins)} retrained twins and patients; of a rate near 0 or 1{fewer} "
        "that over patients, conditional on these twins. The twins' own means stand below."
    )


def _blocks(
    known: Background, mine: Sequence[Estimate], columns: Sequence[Score], usual: Sequence[str]
) -> Iterable[Rows]:
    cells = {(e.classifier, e.explainer, e.score): e for e in mine}
    for name in dict.fromkeys(classifier for classifier, *_ in known.rows):
        for chance in (False, True):
            lines = []
            for explainer in (x for c, x, control in known.rows if (c, control) == (name, chance)):
                row = [_score_cell(cells.get((name, explainer, s)), n) for s, n in zip(columns, usual, strict=True)]
                lines.append((Cell(readable(explainer)), *row))
            if lines:
                yield Rows(f"chance ({name})" if chance else str(name), tuple(lines), chance=chance)


def _score_cell(e: Estimate | None, usual: str) -> Cell:
    if e is None or e.interval is None:
        return Cell(DASH, mark="muted")
    n = usual_n([e.size])
    twins = [number(value) for value in e.twins.values()]
    own = " \N{MIDDLE DOT} ".join(twins) if len(twins) > 1 and set(twins) != {number(e.value)} else ""
    numbers: dict[str, Number] = {"value": e.value, "low": e.interval.low, "high": e.interval.high}
    numbers |= {
        "films": len(e.films),
        "patients": e.n_patients,
        "interval": e.interval.method,
        "constant_maps": e.constant,
    }
    numbers |= {f"twin_{twin}": value for twin, value in e.twins.items()}
    small = "; ".join(filter(None, [n.replace(" patients", "") if n != usual else "", own]))
    return Cell(with_interval(e.value, e.interval), small, numbers)
