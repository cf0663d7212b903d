"""Tables of paired comparisons: methods against the best control, classifiers against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xai_bench.reporting.comparisons import Comparison, against_chance, best_controls, between_classifiers
from xai_bench.reporting.estimates import Estimate, Score, column_groups, titles, usual_n, where
from xai_bench.reporting.table import DASH, Cell, Column, Number, Rows, Table, number, readable, signed

if TYPE_CHECKING:
    from xai_bench.running.run import Run


def comparison_tables(run: Run, found: Sequence[Estimate]) -> list[Table]:
    """One family of tests against chance, one between classifiers; each as a matrix of methods and scores."""
    chance, pairs = against_chance(found), between_classifiers(found)
    first = _tables(run, "against_chance", "Better than chance?", "Each method minus the best control", chance)
    second = _tables(
        run, "between_classifiers", "Do the classifiers differ?", "The first classifier minus the second", pairs
    )
    return [*(replace(table, footnotes=_best(found)) for table in first), *second]


def _best(found: Sequence[Estimate]) -> tuple[str, ...]:
    named, best = titles(found), best_controls(found)
    where_best: dict[str, list[str]] = {}
    for (classifier, score), e in best.items():
        where_best.setdefault(readable(e.explainer), []).append(f"{classifier} {named[score]} {number(e.value)}")
    parts = [f"{control} ({', '.join(places)})" for control, places in where_best.items()]
    return (f"Best controls: {'; '.join(parts)}.",)


def _tables(run: Run, name: str, title: str, what: str, family: Sequence[Comparison]) -> list[Table]:
    left = [c.left for c in family]
    named = titles(left)
    caption = (
        f"{what}, film by film. Signs are turned so that + always means better. In brackets the 95% interval over "
        "patients, conditional on these classifiers; p by sign flips of whole patients, after Holm over the "
        f"{len(family)} tests of this family, * below 0.05; d is Cohen's d of patient means. Run {run.key}."
    )
    tables = []
    for index, part in enumerate(column_groups(left)):
        mine = [c for c in family if c.left.score in part]
        sizes = {s: usual_n((c.difference.n, c.difference.n_patients) for c in mine if c.left.score == s) for s in part}
        columns = (Column("method", left=True), *(Column(named[s], sizes[s]) for s in part))
        groups = tuple(_block(head, mine, part) for head in dict.fromkeys(map(_heading, mine)))
        tables.append(Table(f"{name}_{index + 1}", title + where(part), caption, columns, groups))
    return tables


def _heading(c: Comparison) -> str:
    same = c.left.classifier == c.right.classifier
    return c.left.classifier if same else f"{c.left.classifier} minus {c.right.classifier}"


def _block(heading: str, mine: Sequence[Comparison], columns: Sequence[Score]) -> Rows:
    own = [c for c in mine if _heading(c) == heading]
    rows = []
    for explainer in dict.fromkeys(c.left.explainer for c in own):
        by_score = {c.left.score: c for c in own if c.left.explainer == explainer}
        rows.append((Cell(readable(explainer)), *(_cell(by_score.get(s)) for s in columns)))
    return Rows(heading, tuple(rows))


def _cell(c: Comparison | None) -> Cell:
    if c is None:
        return Cell(DASH, mark="muted")
    d = c.difference
    limits = f"{number(d.low)}, {number(d.high)}" if d.low == d.low else DASH
    p = "p < 0.001" if c.adjusted < 0.001 else f"p {c.adjusted:.3f}"
    numbers: dict[str, Number] = {"difference": d.mean, "low": d.low, "high": d.high, "p": d.p, "p_holm": c.adjusted}
    numbers |= {"d": d.effect_size, "films": d.n, "patients": d.n_patients, "against": c.right.explainer}
    mark = {"better": "good", "worse": "bad"}.get(c.verdict, "")
    small = f"{p}{'*' if c.verdict else ''}, d {number(d.effect_size, 1)}"
    return Cell(f"{signed(d.mean)} [{limits}]", small, numbers, mark)
