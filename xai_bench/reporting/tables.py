"""The tables of a run: classifiers first, then explanations, comparisons, stability, cost, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from xai_bench.reporting.classifier_tables import beats_majority, classifier_tables
from xai_bench.reporting.comparison_tables import comparison_tables
from xai_bench.reporting.estimates import Estimate, Score, column_groups, estimates, failures, titles, usual_n, where
from xai_bench.reporting.mode_table import mode_tables
from xai_bench.reporting.summary_tables import cost_table, left_out_table, summary_tables
from xai_bench.reporting.table import DASH, Cell, Column, Number, Rows, Table, number, readable, together, with_interval
from xai_bench.statistics import FEW_TWINS

if TYPE_CHECKING:
    from xai_bench.run import Run


def run_tables(run: Run, *, full: bool = False) -> list[Table]:
    """Every table; `full` adds all scores, each twin's confusion matrix, and films the model gets right and wrong.

    Comparisons are always those of the headline scores: the family of tests is the same wherever it is printed.
    """
    found = estimates(run)
    tables = [*classifier_tables(run, full=full), *score_tables(run, estimates(run, full=True) if full else found)]
    if full:
        for name, rows in _slices(run.rows):
            tables += score_tables(run, estimates(run, rows, full=True), of=name)
    last = [*mode_tables(run), cost_table(run), left_out_table(run)]
    return [*tables, *comparison_tables(run, found), *summary_tables(run), *last]


def _slices(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    right = rows.label == rows.prediction
    return [("films the model gets right", rows[right]), ("films the model gets wrong", rows[~right])]


def score_tables(run: Run, found: Sequence[Estimate], *, of: str = "") -> list[Table]:
    """Explanation scores: a block a classifier, controls last; one table for each region and at most five columns."""
    named = titles(found)
    parts = column_groups(found)
    return [
        _score_table(run, [e for e in found if e.score in part], part, named, (i, of)) for i, part in enumerate(parts)
    ]


def _score_table(
    run: Run, mine: Sequence[Estimate], columns: Sequence[Score], named: dict[Score, str], place: tuple[int, str]
) -> Table:
    index, of = place
    twins = max((len(e.twins) for e in mine), default=1)
    suffix = f", {of}" if of else ""
    caption = (
        f"Mean score of each method's maps{suffix}. {_about_intervals(twins)} Arrows point to the better side. Rows "
        f"under chance are maps that know nothing of the model: a method should beat them. Run {run.key}."
    )
    heads = tuple(Column(named[s], usual_n(e.size for e in mine if e.score == s)) for s in columns)
    return Table(
        name="_".join(filter(None, ["scores", str(index + 1), of.replace(" ", "_")])),
        title=f"Explanation scores{where(columns)}{suffix}",
        caption=caption,
        columns=(Column("method", left=True), *heads),
        groups=tuple(_blocks(run, mine, columns, [h.small for h in heads])),
        footnotes=(*_weak(run, mine), *_left_out(mine, named), *_failed(run), *_undefined(mine), *_constant(mine)),
    )


def _about_intervals(twins: int) -> str:
    if twins <= 1:
        return "In brackets the 95% interval over patients, conditional on this one trained classifier."
    if twins < FEW_TWINS:
        return (
            f"A film's score is its mean over the {twins} retrained twins; in brackets the 95% interval over patients, "
            "conditional on these twins, whose own means stand below."
        )
    return f"In brackets the 95% interval over {twins} retrained twins and patients; the twins' own means stand below."


def _blocks(run: Run, mine: Sequence[Estimate], columns: Sequence[Score], usual: Sequence[str]) -> Iterable[Rows]:
    for name in dict.fromkeys(run.rows.classifier):
        for control in (False, True):
            asked = run.rows[(run.rows.classifier == name) & ((run.rows.family == "control") == control)]
            lines = []
            for explainer in dict.fromkeys(asked.explainer):
                cells = {e.score: e for e in mine if (e.classifier, e.explainer) == (name, explainer)}
                row = [_score_cell(cells.get(s), n) for s, n in zip(columns, usual, strict=True)]
                lines.append((Cell(readable(explainer)), *row))
            if lines:
                yield Rows(f"chance ({name})" if control else str(name), tuple(lines), chance=control)


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


def _weak(run: Run, mine: Sequence[Estimate]) -> list[str]:
    weak = [name for name in dict.fromkeys(e.classifier for e in mine) if not beats_majority(run, name)]
    return [f"Accuracy not above majority, so alignment says little: {', '.join(weak)}."] if weak else []


def _left_out(mine: Sequence[Estimate], named: dict[Score, str]) -> list[str]:
    """One footnote for each reason and number: in which rows and columns."""
    found: dict[tuple[str, int, int], list[Estimate]] = {}
    for e in mine:
        for reason, count in e.left_out.items():
            found.setdefault((reason, count, e.total), []).append(e)
    everyone = len({(e.classifier, e.explainer) for e in mine})
    notes = []
    for (reason, count, total), hit in found.items():
        rows = {(e.classifier, e.explainer) for e in hit}
        columns = ", ".join(dict.fromkeys(named[e.score] for e in hit))
        who = "every row" if len(rows) == everyone else together((e.classifier, e.explainer) for e in hit)
        notes.append(f"Left out in {who} ({columns}): {count} of {total} scores, {reason.rstrip('.')}.")
    return notes


def _failed(run: Run) -> list[str]:
    """One footnote for each method that could not run on a classifier, or not be scored."""
    keys = ["classifier", "explainer", "status", "reason"]
    notes = []
    for (classifier, explainer, status, reason), part in failures(run).groupby(keys, sort=False):
        metrics = ", ".join(readable(m) for m in dict.fromkeys(part.metric))
        notes.append(
            f"{DASH} {classifier}, {readable(str(explainer))} ({metrics}): {status}, {str(reason).rstrip('.')}."
        )
    return notes


def _undefined(mine: Sequence[Estimate]) -> list[str]:
    unknown = any(e.interval is not None and not e.interval.known for e in mine)
    return [f"[{DASH}] no interval: one patient only, or all values are equal."] if unknown else []


def _constant(mine: Sequence[Estimate]) -> list[str]:
    shares = {(e.classifier, e.explainer): e.constant for e in mine if e.constant > 0 and not e.control}
    parts = together((c, f"{x} {100 * share:.0f}%") for (c, x), share in shares.items())
    return [f"Maps without any information (constant; they score their chance value): {parts}."] if parts else []
