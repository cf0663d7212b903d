"""Tables of the human ceiling: explainers beside readers and chance, all against the same references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from xai_bench.references import CEILING, CHANCE, DECREASE, HUMAN, NORMALIZED
from xai_bench.reporting.estimates import ARROWS
from xai_bench.reporting.table import (
    DASH,
    Cell,
    Column,
    Number,
    Rows,
    Table,
    number,
    readable,
    together,
    with_interval,
)
from xai_bench.statistics import Interval

if TYPE_CHECKING:
    from xai_bench.running.run import Run

WIDTH = 3  # columns that fit a terminal: their second lines are long
CONSTANT = "constant map"
Line = Any  # a row of the summary, its columns as attributes


class Score(NamedTuple):
    """What a column shows."""

    metric: str
    name: str


def ceiling_tables(run: Run) -> list[Table]:
    """One table for each region (and three scores): explainers and humans, then controls and a constant map."""
    if not len(run.summaries):
        return []
    lines: list[Line] = list(run.summaries[run.summaries.summary == CEILING].itertuples())
    tables: list[Table] = []
    for region in dict.fromkeys(line.region for line in lines):
        own = [line for line in lines if line.region == region]
        scores = _headlines(run, own)
        for start in range(0, max(len(scores), 1), WIDTH):
            tables.append(_table(run, str(region), own, scores[start : start + WIDTH], len(tables) + 1))
    return tables


def _headlines(run: Run, lines: Sequence[Line]) -> list[Score]:
    plain = [x for x in lines if x.metric and not x.score_name.endswith((NORMALIZED, DECREASE))]
    every = list(dict.fromkeys(Score(x.metric, x.score_name) for x in plain))
    return [s for s in every if (info := run.score_info.get(s)) and info.headline] or every


def _table(run: Run, region: str, lines: Sequence[Line], scores: Sequence[Score], place: int) -> Table:
    controls = set(run.rows[run.rows.family == "control"].explainer) | {CHANCE}
    heads = [_head(lines, score) for score in scores]
    groups = []
    for name in dict.fromkeys(x.classifier for x in lines):
        for control in (False, True):
            block = [x for x in lines if x.classifier == name and (x.explainer in controls) == control]
            rows = [_row(w, block, scores, heads) for w in dict.fromkeys(x.explainer for x in block)]
            if rows:
                groups.append(Rows(f"chance ({name})" if control else str(name), tuple(rows), chance=control))
    whose = next((f" ({x.reference})" for x in lines if x.reference), "")
    caption = (
        f"Human: readers' own drawings, scored as maps against the consensus of the other readers{whose}. Methods are "
        "scored against the same references, on the films that all can be scored on. Second line: by how many percent "
        "a method is worse than human; then where it lies between chance (0) and human (1). In brackets 95% intervals "
        f"over patients, conditional on these classifiers. Run {run.key}."
    )
    title = "Human ceiling" + (f" \N{MIDDLE DOT} {readable(region.replace('.', ' '))}" if region else "")
    notes = (*_verdicts([x for x in lines if x.explainer not in controls], scores), *_notes(lines, scores))
    return Table(f"{CEILING}_{place}", title, caption, (Column("method", left=True), *heads), tuple(groups), notes)


def _head(lines: Sequence[Line], score: Score) -> Column:
    own = _of(lines, score)
    (n, _), *_ = Counter(x.n for x in own if x.n).most_common(1) or [(0, 0)]
    return Column(f"{readable(score.name)} {ARROWS.get(own[0].better, '')}".strip(), f"n {n}")


def _of(lines: Iterable[Line], score: Score, kind: str = "") -> list[Line]:
    return [x for x in lines if (x.metric, x.score_name) == (score.metric, score.name + kind)]


def _row(explainer: str, block: Sequence[Line], scores: Sequence[Score], heads: Sequence[Column]) -> tuple[Cell, ...]:
    mine = [x for x in block if x.explainer == explainer]
    cells = [_cell(mine, score, head.small) for score, head in zip(scores, heads, strict=True)]
    return (Cell(CONSTANT if explainer == CHANCE else readable(explainer)), *cells)


def _cell(mine: Sequence[Line], score: Score, usual: str) -> Cell:
    line, decrease, normalized = (next(iter(_of(mine, score, kind)), None) for kind in ("", DECREASE, NORMALIZED))
    if line is None or line.value != line.value:
        return Cell(DASH, mark="muted")
    small = [] if f"n {line.n}" == usual else [f"n {line.n}"]
    numbers: dict[str, Number] = {"value": line.value, "low": line.low, "high": line.high, "films": line.n}
    for name, found, digits in (("decrease_percent", decrease, 0), ("ceiling_normalized", normalized, 2)):
        if found is not None and found.value == found.value:
            numbers |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
            known = _interval(found).known
            limits = f"{number(found.low, digits)}, {number(found.high, digits)}" if known else DASH
            small.append(f"{number(found.value, digits)}{'%' * (not digits)} [{limits}]")
    return Cell(with_interval(line.value, _interval(line)), "; ".join(small), numbers)


def _interval(line: Line) -> Interval:
    low, high = (float("nan") if v is None else float(v) for v in (line.low, line.high))
    return Interval(low, high, "", line.n, 0)


def _verdicts(lines: Sequence[Line], scores: Sequence[Score]) -> Iterable[str]:
    """How many methods are worse or better than human, by the interval of the percent decrease."""
    counts = []
    for score in scores:
        known = [found for x in _of(lines, score, DECREASE) if (found := _interval(x)).known]
        worse, better = sum(x.low > 0 for x in known), sum(x.high < 0 for x in known)
        if known:
            counts.append(f"{readable(score.name)} {worse} / {better} / {len(known) - worse - better}")
    if counts:
        yield f"Methods worse than {HUMAN} / better / not significant, by the percent's interval: {', '.join(counts)}."


def _notes(lines: Sequence[Line], scores: Sequence[Score]) -> list[str]:
    """Why values are missing, and what was left out; a line for each reason."""
    shown = {(s.metric, s.name + kind) for s in scores for kind in ("", DECREASE, NORMALIZED)}
    found: dict[str, list[tuple[str, str]]] = {}
    for x in lines:
        if x.metric and (x.metric, x.score_name) not in shown:
            continue
        if x.value != x.value and x.note:
            what = "no percent" if x.score_name.endswith(DECREASE) else "no value"
            what = "no place between chance and human" if x.score_name.endswith(NORMALIZED) else what
            found.setdefault(f"{what}, {x.note}", []).append((x.classifier, x.explainer))
        elif not x.score_name.endswith((DECREASE, NORMALIZED)):
            for reason, count in dict(x.exclusions or {}).items():
                why = f"{count} pair{'s' * (count != 1)} of film and reader left out, {reason}"
                found.setdefault(why, []).append((x.classifier, x.explainer))
    everyone = {(x.classifier, x.explainer) for x in lines}
    return [f"{'Every row' if set(who) == everyone else together(who)}: {why}." for why, who in found.items()]
