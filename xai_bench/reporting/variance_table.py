"""The table of variance components: what a map's variance is due to, in percent, and how well single twins agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_bench.reporting.estimates import ARROWS
from xai_bench.reporting.table import DASH, Cell, Column, Number, Rows, Table, number, readable, together, with_interval
from xai_bench.statistics import Interval

if TYPE_CHECKING:
    from xai_bench.running.run import Run

SUMMARY = "variance_components"
JOINED = "share_picture_twin_and_noise"
SHARES = {
    "share_picture": "picture",
    "share_fold": "fold",
    "share_twin": "twin",
    "share_picture_twin": "picture \N{MULTIPLICATION SIGN} twin",
    "share_noise": "explainer's chance",
}


def variance_tables(run: Run, rows: pd.DataFrame, notes: Sequence[str]) -> list[Table]:
    """One table, a block for each classifier with twins, or none; `notes` say what was left out."""
    shown = [score for score in SHARES if score in set(rows.score_name) or score == "share_picture_twin"]
    controls = set(run.rows[run.rows.family == "control"].explainer)
    groups = []
    for classifier, own in rows[rows.classifier.isin(rows[rows.n > 0].classifier)].groupby("classifier", sort=False):
        for control in (False, True):
            block = own[own.explainer.isin(controls) == control].groupby("explainer", sort=False)
            lines = tuple(_line(str(explainer), mine, shown) for explainer, mine in block)
            if lines:
                heading = f"twins of {classifier}"
                groups.append(Rows(f"chance ({heading})" if control else heading, lines, chance=control))
    if not groups:
        return []
    columns = (
        Column("method", left=True), *(Column(SHARES[s], "% of variance") for s in shown),
        Column(f"ICC {ARROWS['higher']}", "one twin's map"),
    )  # fmt: skip
    caption = (
        "Variance of the normalized maps, summed over the map, by what it is due to: what all twins show alike of a "
        "picture, what a twin shows in every picture, what one twin shows of one picture, and what the explainer draws "
        "at random, which only repeated runs can tell apart. ICC: absolute agreement of single twins; below it the "
        "same when what a twin does alike to all pictures does not count. Intervals are over patients, conditional on "
        f"these twins. Run {run.key}."
    )
    how = (*notes, *_how(rows))
    return [Table(SUMMARY, "Variance components", caption, columns, tuple(groups), how)]


def _line(explainer: str, mine: pd.DataFrame, shown: Sequence[str]) -> tuple[Cell, ...]:
    by_name: dict[str, Any] = {str(row.score_name): row for row in mine.itertuples()}
    cells = [_share(by_name.get(s)) for s in shown]
    if JOINED in by_name:
        cells[shown.index("share_picture_twin")] = _share(by_name[JOINED], "with its chance")
    return (Cell(readable(explainer)), *cells, _icc(by_name["icc"], by_name.get("icc_consistency")))


def _share(row: Any, small: str = "") -> Cell:
    if row is None:
        return Cell(DASH, mark="muted")
    found = _interval(row)
    percent = Interval(100 * found.low, 100 * found.high, "", row.n, 0)
    text = number(100 * row.value, 0)
    if percent.known:
        text += f" [{number(percent.low, 0)}, {number(percent.high, 0)}]"
    return Cell(text, small, _numbers(row))


def _icc(row: Any, consistency: Any) -> Cell:
    found, numbers = _interval(row), {**_numbers(row), "note": row.note}
    text = with_interval(row.value, found) if found.known else number(row.value)
    if consistency is None:
        return Cell(text, f"n {row.n}", numbers)
    numbers |= {f"consistency_{k}": v for k, v in _numbers(consistency).items() if k != "n"}
    return Cell(text, f"{number(consistency.value)}; n {row.n}", numbers)


def _numbers(row: Any) -> dict[str, Number]:
    found = _interval(row)
    return {"value": row.value, "low": found.low, "high": found.high, "n": row.n}


def _interval(row: Any) -> Interval:
    low, high = (float("nan") if v is None else float(v) for v in (row.low, row.high))
    return Interval(low, high, "", row.n, 0)


def _how(rows: pd.DataFrame) -> Iterable[str]:
    """How the intervals were made, and what the design could not tell apart."""
    found: dict[str, list[tuple[str, str]]] = {}
    row: Any
    for row in rows[(rows.score_name == "icc") & (rows.n > 0)].itertuples():
        found.setdefault(str(row.note), []).append((str(row.classifier), str(row.explainer)))
    return [f"{together(who)}: {note}." for note, who in found.items()]
