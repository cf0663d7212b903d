"""Tables about sets: stability and other summaries, what it cost, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_bench.references import CEILING
from xai_bench.reporting.estimates import ARROWS, place_in_words
from xai_bench.reporting.shuffled_table import SUMMARY, shuffled_tables
from xai_bench.reporting.table import DASH, Cell, Column, Rows, Table, number, readable, together, with_interval
from xai_bench.reporting.variance_table import SUMMARY as VARIANCE
from xai_bench.reporting.variance_table import variance_tables
from xai_bench.statistics import Interval

if TYPE_CHECKING:
    from xai_bench.running.run import Run

WIDTH = 5
NULL = "_null"  # a summary's score of this ending is what unrelated pictures reach
FLOOR, PASSES = "_floor", "_passes"  # what the same model explained twice reaches; the share above the null band
GAP = "accuracy_gap"
HIDDEN = (NULL, FLOOR, PASSES, GAP, "_pair")  # shown beside the score, or drawn in a figure: no columns of their own
OVER_TWINS = "sample of twins"  # in the note of an interval that is not conditional on its twins


def summary_tables(run: Run) -> list[Table]:
    """One table for each summary: a row a method, a column a score, a block for each classifier or pair of them."""
    if not len(run.summaries):
        return []
    tables = []
    generic = run.summaries[run.summaries.summary != CEILING]  # that one has tables of its own
    for name, rows in generic.assign(other=generic.other_classifier.fillna("")).groupby("summary", sort=False):
        if name == SUMMARY:
            tables += shuffled_tables(run)
            continue
        if name == VARIANCE:
            tables += variance_tables(run, rows, _summary_notes(rows, list(dict.fromkeys(rows.score_name))))
            continue
        frames = _frames(rows)
        tables += [_summary_table(run, f"{name}_{n}", *frame) for n, frame in enumerate(frames, 1)]
    return tables


def _frames(rows: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, list[str], str]]:
    """The rows of each table, its scores, and what they are about: a metric's scores of one region and reference."""
    for (metric, region, reference), own in rows.groupby(["metric", "region", "reference"], sort=False):
        about = [readable(str(metric))] * bool(metric)
        about += [place_in_words(str(region), str(reference))] * bool(region)
        shown = [s for s in dict.fromkeys(own.score_name) if not s.endswith(HIDDEN)]
        for start in range(0, len(shown), WIDTH):
            yield own, shown[start : start + WIDTH], ", ".join(about)


def _summary_table(run: Run, name: str, rows: pd.DataFrame, shown: Sequence[str], about: str) -> Table:
    columns = rows[rows.score_name.isin(shown)]
    known = set(columns[columns.n > 0][["classifier", "other"]].itertuples(index=False, name=None))
    measured = rows[[pair in known for pair in zip(rows.classifier, rows.other, strict=True)]]
    controls = set(run.rows[run.rows.family == "control"].explainer)
    groups = []
    for (first, other), own in measured.groupby(["classifier", "other"], sort=False):
        for control in (False, True):
            block = own[own.explainer.isin(controls) == control]
            lines = tuple(_summary_line(str(x), mine, shown) for x, mine in block.groupby("explainer", sort=False))
            heading = _pair(str(first), str(other)) + _gap(own)
            if lines:
                groups.append(Rows(f"chance ({heading})" if control else heading, lines, chance=control))
    better = dict(zip(rows.score_name[::-1], rows.better[::-1], strict=True))  # of a score's first row
    heads = (f"{readable(s)} {ARROWS.get(better[s], '')}".strip() for s in shown)
    has_null = any(f"{s}{NULL}" in better for s in shown)
    caption = (
        f"Value, its interval in brackets, and n; intervals are {_condition(columns)}. "
        + ("Null: what maps of unrelated films reach; a value inside the null band says nothing. " if has_null else "")
        + ("Floor: the same model explained twice. " if any(f"{s}{FLOOR}" in better for s in shown) else "")
        + f"Run {run.key}."
    )
    titles = (Column("method", left=True), *map(Column, heads))
    title = readable(str(rows.summary.iloc[0])).capitalize() + (f" \N{MIDDLE DOT} {about}" if about else "")
    return Table(name, title, caption, titles, tuple(groups), tuple(_summary_notes(rows, shown)))


def _pair(first: str, other: str) -> str:
    return f"{first} and {other}" if other else f"twins of {first}"


def _gap(own: pd.DataFrame) -> str:
    gaps = own[(own.score_name == GAP) & own.value.notna()].value
    return f", accuracies {number(float(gaps.iloc[0]))} apart" if len(gaps) else ""


def _condition(columns: pd.DataFrame) -> str:
    over = columns.note.fillna("").str.contains(OVER_TWINS)
    here = "conditional on these classifiers"
    return here if not over.any() else f"over patients and twins from 5 twins on, else {here}"


def _summary_line(explainer: str, mine: pd.DataFrame, shown: Sequence[str]) -> tuple[Cell, ...]:
    by_name = {r.score_name: r for r in mine.itertuples()}
    cells = [_summary_cell(by_name.get(s), *(by_name.get(f"{s}{end}") for end in (NULL, FLOOR, PASSES))) for s in shown]
    return (Cell(readable(explainer)), *cells)


def _summary_cell(row: Any, null: Any, floor: Any, passes: Any) -> Cell:
    if row is None:
        return Cell(DASH, mark="muted")
    found = _interval(row)
    numbers = {"value": row.value, "low": found.low, "high": found.high, "n": row.n, "note": row.note}
    small = [f"n {row.n}"]
    if null is not None:
        band = _interval(null)
        small.append(
            f"null {number(null.value)}" + (f" [{number(band.low)}, {number(band.high)}]" if band.known else "")
        )
        numbers |= {"null": null.value, "null_low": band.low, "null_high": band.high}
    for name, other in (("floor", floor), ("above null", passes)):
        if other is not None:
            small.append(f"{name} {number(other.value)}")
            numbers[name.replace(" ", "_")] = other.value
    return Cell(with_interval(row.value, found) if found.known else number(row.value), "; ".join(small), numbers)


def _interval(row: Any) -> Interval:
    low, high = (float("nan") if v is None else float(v) for v in (row.low, row.high))
    return Interval(low, high, "", row.n, 0)


def _summary_notes(rows: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """What was left out, why values are missing, and what the null bands are; all rows' notes are in the CSV."""
    found: dict[str, list[tuple[str, str]]] = {}
    row: Any
    for row in rows[rows.score_name.isin(shown)].itertuples():
        who = (_pair(str(row.classifier), str(row.other)), str(row.explainer))
        for reason, count in dict(row.exclusions or {}).items():
            found.setdefault(f"{count} left out, {reason}", []).append(who)
        if row.note and row.value != row.value:
            found.setdefault(f"no value, {row.note}", []).append(who)
    everyone = rows.groupby(["classifier", "other", "explainer"]).ngroups
    notes = [f"{'Every row' if len(set(who)) == everyone else together(who)}: {why}." for why, who in found.items()]
    bands = rows[rows.score_name.str.endswith(NULL) & rows.value.notna()].note
    return notes + [f"Null: {note}." for note in dict.fromkeys(bands) if note]


def cost_table(run: Run) -> Table:
    """Seconds and counted model evaluations, in all and for each film, of training, maps and scores."""
    kinds = {
        "train": "training",
        "modes": "checking numerical modes",
        "maps": "making maps",
        "scores": "scoring maps",
    }
    groups = []
    for kind, heading in kinds.items():
        mine = run.costs[run.costs.kind == kind]
        by = {"train": "classifier", "scores": "metric"}.get(kind, "explainer")
        lines = tuple(_cost_line(str(name), part) for name, part in mine.groupby(by, sort=False))
        if lines:
            groups.append(Rows(heading, lines))
    columns = (
        Column("what", left=True),
        Column("films", "all classifiers"),
        Column("model evaluations"),
        Column("evaluations", "a film"),
        Column("seconds"),
        Column("milliseconds", "a film"),
    )
    caption = (
        f"What was computed to make this run, whenever that was: stored results keep their first cost. Run {run.key}."
    )
    return Table("cost", "Cost", caption, columns, tuple(groups))


def _cost_line(name: str, part: pd.DataFrame) -> tuple[Cell, ...]:
    films, evaluations, seconds = int(part.pictures.sum()), int(part.evaluations.sum()), float(part.seconds.sum())
    each = max(films, 1)
    return (
        Cell(readable(name)),
        Cell(f"{films:,}", numbers={"films": films}),
        Cell(f"{evaluations:,}", numbers={"evaluations": evaluations}),
        Cell(number(evaluations / each, 1)),
        Cell(number(seconds, 1), numbers={"seconds": seconds}),
        Cell(number(1000 * seconds / each, 1)),
    )


def left_out_table(run: Run) -> Table:
    """Everything that has no score, counted by status and reason."""
    missing = run.rows[run.rows.status != "ok"]
    lines: list[tuple[Cell, ...]] = []
    for (status, reason), part in missing.groupby(["status", "reason"], sort=False):
        whole = status in ("failed", "skipped")
        count = len(part[["classifier", "replicate", "explainer", "metric"]].drop_duplicates()) if whole else len(part)
        lines.append(
            (
                Cell(f"{status}: {reason}"),
                Cell(f"{count:,} {'cells' if whole else 'scores'}", numbers={"count": count}),
                Cell(DASH if whole else f"{part.picture.nunique():,}"),
                Cell(_names(part.explainer, run.rows.explainer)),
                Cell(_names(part.metric, run.rows.metric)),
            )
        )
    for each in run.unsummarized.itertuples():
        what = (Cell("1 summary", numbers={"count": 1}), Cell(DASH), Cell("all"), Cell(readable(str(each.summary))))
        lines.append((Cell(f"{each.status}: {each.reason}"), *what))
    unread = run.predictions[run.predictions.status != "ok"]
    for why, part in unread.groupby("reason"):
        lines.append(
            (
                Cell("unreadable: " + str(why)),
                Cell(f"{len(part):,} predictions", numbers={"count": len(part)}),
                Cell(f"{part.picture.nunique():,}"),
                Cell("all"),
                Cell("all"),
            )
        )
    if not lines:
        lines.append((Cell("nothing was left out"), *(Cell(DASH, mark="muted") for _ in range(4))))
    columns = (
        Column("status and reason", left=True),
        Column("count"),
        Column("films"),
        Column("methods", left=True),
        Column("metrics", left=True),
    )
    caption = (
        "Excluded: the score does not apply to this film. Invalid: it should, but the map or the model gave no usable "
        "number. Skipped: method and classifier do not fit. Failed: the method broke. No such score counts as a miss "
        f"or a hit. Run {run.key}."
    )
    return Table("left_out", "What was left out", caption, columns, (Rows("", tuple(lines)),))


def _names(part: pd.Series[str], whole: pd.Series[str]) -> str:
    names = Counter(n for n in part if n)
    return "all" if set(names) == set(whole) - {""} else ", ".join(names)
