"""Footnotes of a score table, few and short however many metrics there are: what is missing, why, and what is odd."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from xai_bench.reporting.classifier_tables import beats_majority
from xai_bench.reporting.estimates import Estimate, Score, failures
from xai_bench.reporting.table import DASH, readable, together

if TYPE_CHECKING:
    from xai_bench.running.run import Run

NAMED = 4  # names that a note lists; more are counted
NOTES = 4  # notes of a kind; the table of what was left out has all
LONG = 160  # characters of a reason
Row = tuple[str, str]  # classifier and explainer


@dataclass(frozen=True)
class Background:
    """What all score tables of a run have in common, looked up once.

    `rows` are (classifier, explainer, whether it is a control), `weak` the classifiers that are not above majority.
    """

    key: str
    rows: tuple[tuple[str, str, bool], ...]
    weak: tuple[str, ...]
    failed: pd.DataFrame

    @staticmethod
    def of(run: Run) -> Background:
        """What there is to know of a run."""
        seen = run.rows[["classifier", "explainer", "family"]].drop_duplicates(["classifier", "explainer"])
        controls = seen.family == "control"
        rows = tuple(zip(map(str, seen.classifier), map(str, seen.explainer), map(bool, controls), strict=True))
        names = dict.fromkeys(classifier for classifier, *_ in rows)
        return Background(run.key, rows, tuple(n for n in names if not beats_majority(run, n)), failures(run))


def score_notes(
    known: Background, mine: Sequence[Estimate], named: dict[Score, str], metrics: Sequence[str]
) -> tuple[str, ...]:
    """The footnotes of a table of these estimates; whole cells that failed are told of these metrics."""
    return (
        *_weak(known, mine),
        *_left_out(mine, named),
        *_failed(known, metrics),
        *_undefined(mine),
        *_constant(mine),
    )


def _weak(known: Background, mine: Sequence[Estimate]) -> list[str]:
    weak = [name for name in dict.fromkeys(e.classifier for e in mine) if name in known.weak]
    return [f"Accuracy not above majority, so alignment says little: {', '.join(weak)}."] if weak else []


def _left_out(mine: Sequence[Estimate], named: dict[Score, str]) -> list[str]:
    """One note for each reason: how many scores of a cell, and in which rows and columns."""
    by_reason: dict[str, list[tuple[int, Estimate]]] = {}
    for e in mine:
        for reason, count in e.left_out.items():
            by_reason.setdefault(reason, []).append((count, e))
    rows, columns = {_row(e) for e in mine}, {e.score for e in mine}
    notes = []
    for reason, hit in by_reason.items():
        scores = dict.fromkeys(e.score for _, e in hit)
        what = "every column" if len(scores) == len(columns) > 1 else _listed([named[s] for s in scores], "columns")
        who = _rows([_row(e) for _, e in hit], len(rows))
        counts = f"{span(c for c, _ in hit)} of {span(e.total for _, e in hit)}"
        notes.append(f"Left out in {who} ({what}): {counts} scores, {_short(reason)}.")
    return _few(notes)


def _failed(known: Background, metrics: Sequence[str]) -> list[str]:
    """One note for each reason why methods could not run on a classifier, or not be scored by these metrics."""
    blamed = known.failed[known.failed.metric.isin(metrics)]
    found: dict[tuple[str, str, tuple[str, ...]], list[Row]] = {}
    for (classifier, explainer, status, reason), part in blamed.groupby(
        ["classifier", "explainer", "status", "reason"], sort=False
    ):
        key = (str(status), str(reason), tuple(dict.fromkeys(part.metric)))
        found.setdefault(key, []).append((str(classifier), str(explainer)))
    notes = []
    for (status, reason, which), who in found.items():
        what = "all scores" if len(which) == len(metrics) > 1 else _listed([readable(m) for m in which], "metrics")
        notes.append(f"{DASH} {_rows(who, len(known.rows))}: {what} {status}, {_short(reason)}.")
    return _few(notes)


def _undefined(mine: Sequence[Estimate]) -> list[str]:
    unknown = any(e.interval is not None and not e.interval.known for e in mine)
    return [f"[{DASH}] no interval: one patient only, or all values are equal."] if unknown else []


def _constant(mine: Sequence[Estimate]) -> list[str]:
    """Which methods made maps that are constant, and how many of the films, at most, in a column."""
    shares: dict[Row, float] = {}
    for e in mine:
        if e.constant > 0 and not e.control:
            shares[_row(e)] = max(e.constant, shares.get(_row(e), 0.0))
    worst = sorted(shares, key=shares.__getitem__, reverse=True)[: 2 * NAMED]
    parts = together((c, f"{x} {100 * shares[c, x]:.0f}%") for c, x in shares if (c, x) in worst)
    more = f"; and {len(shares) - len(worst)} more" if len(shares) > len(worst) else ""
    return [f"Maps without any information (constant; they score their chance value): {parts}{more}."] if parts else []


def _row(e: Estimate) -> Row:
    return e.classifier, e.explainer


def _rows(who: Iterable[Row], everyone: int) -> str:
    rows = list(dict.fromkeys(who))
    if len(rows) == everyone:
        return "every row"
    return together(rows) if len(rows) <= NAMED else f"{len(rows)} of {everyone} rows"


def _listed(names: Sequence[str], what: str) -> str:
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} {what}"


def span(numbers: Iterable[int]) -> str:
    """The least and the largest.

    >>> span([4, 2, 4]), span([4])
    ('2 to 4', '4')
    """
    found = sorted(set(numbers))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _short(reason: str) -> str:
    return textwrap.shorten(reason.rstrip("."), LONG, placeholder=" [...]")


def _few(notes: Sequence[str]) -> list[str]:
    more = len(notes) - NOTES
    last = f"And {more} more such reasons, in the table of what was left out."
    return [*notes[:NOTES], *([last] if more > 0 else [])]
