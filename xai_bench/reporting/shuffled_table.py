"""Tables of shuffled scores: what a map scores on its own film's region beyond what it scores on another patient's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.reporting.estimates import ARROWS, place_in_words
from xai_bench.reporting.table import DASH, MINUS, Cell, Column, Number, Rows, Table, number, readable, signed, together
from xai_bench.statistics import holm

if TYPE_CHECKING:
    from xai_bench.running.run import Run

SUMMARY = "shuffled"
WIDTH = 5
Score = tuple[str, str]  # metric, score name


@dataclass(frozen=True)
class Gain:
    """One explainer's mean score, the mean against other patients' regions, and their difference, as summary rows.

    `adjusted` is p after Holm over all gains that are printed; NaN where no film has both scores.
    """

    classifier: str
    explainer: str
    score: Score
    place: tuple[str, str]  # region, reference
    own: Any
    other: Any
    difference: Any
    adjusted: float

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many scores are missing, by reason."""
        return dict(self.difference.exclusions or {})


def shuffled_tables(run: Run) -> list[Table]:
    """A table for each region and reference: a row a method, a column a headline score."""
    found = gains(run)
    tables: list[Table] = []
    for place in dict.fromkeys(g.place for g in found):
        scores = list(dict.fromkeys(g.score for g in found if g.place == place))
        for start in range(0, len(scores), WIDTH):
            part = scores[start : start + WIDTH]
            mine = [g for g in found if g.place == place and g.score in part]
            tables.append(_table(run, mine, part, f"{SUMMARY}_{len(tables) + 1}", len(found)))
    return tables


def gains(run: Run) -> list[Gain]:
    """Every printed gain: of headline scores or, where the study's metrics declare none, of all."""
    rows = run.summaries[run.summaries.summary == SUMMARY]
    who = zip(*(rows[name] for name in ("classifier", "explainer", "metric", "region", "reference")), strict=True)
    found = {(*key, row.score_name): row for key, row in zip(who, rows.itertuples(), strict=True)}
    there = {(key[2], key[5]) for key in found}
    declared = [score for score in run.score_info if score in there]
    shown = [score for score in declared if run.score_info[score].headline] or declared
    keys = [key for key in found if (key[2], key[5]) in shown]
    p = np.array([found[*key[:5], f"{key[5]}_p"].value for key in keys], np.float64)
    adjusted = np.full_like(p, np.nan)
    adjusted[np.isfinite(p)] = holm(p[np.isfinite(p)])
    gains = []
    for key, q in zip(keys, adjusted.tolist(), strict=True):
        own, other, difference = (found[*key[:5], key[5] + ending] for ending in ("", "_shuffled", "_difference"))
        gains.append(Gain(key[0], key[1], (key[2], key[5]), (key[3], key[4]), own, other, difference, q))
    return gains


def _table(run: Run, mine: Sequence[Gain], scores: Sequence[Score], name: str, tests: int) -> Table:
    usual = {s: Counter(g.own.n for g in mine if g.score == s).most_common(1)[0][0] for s in scores}
    caption = (
        "Mean score on the film's own region minus the same map's score on the region of another patient of the same "
        "labels and view: what a map says of this film, beyond where such regions usually lie. Below, both means. In "
        "brackets the 95% interval over patients, of each film's mean over retrained twins and conditional on these; p "
        f"by sign flips of whole patients, after Holm over the {tests} differences of this family, * below "
        f"0.05. Arrows point to the better side of a score. Run {run.key}."
    )
    columns = (Column("method", left=True), *(Column(_title(run, s, scores), f"n {usual[s]}") for s in scores))
    controls = set(run.rows[run.rows.family == "control"].explainer)
    groups = []
    for classifier in dict.fromkeys(g.classifier for g in mine):
        for control in (False, True):
            block = [g for g in mine if g.classifier == classifier and (g.explainer in controls) == control]
            lines = tuple(_line(run, x, block, usual) for x in dict.fromkeys(g.explainer for g in block))
            if lines:
                groups.append(Rows(f"chance ({classifier})" if control else classifier, lines, chance=control))
    title = f"Beyond the usual place \N{MIDDLE DOT} {place_in_words(*mine[0].place)}"
    return Table(name, title, caption, columns, tuple(groups), tuple(_notes(mine)))


def _title(run: Run, score: Score, scores: Sequence[Score]) -> str:
    metric, name = score
    ambiguous = [n for _, n in scores].count(name) > 1
    words = f"{readable(metric)}: {readable(name)}" if ambiguous else readable(name)
    return f"{words} {ARROWS[run.score_info[score].better]}".strip()


def _line(run: Run, explainer: str, block: Sequence[Gain], usual: Mapping[Score, int]) -> tuple[Cell, ...]:
    own = {g.score: g for g in block if g.explainer == explainer}
    return (Cell(readable(explainer)), *(_cell(run, own.get(score), n) for score, n in usual.items()))


def _cell(run: Run, g: Gain | None, usual: int) -> Cell:
    if g is None or not g.own.n:
        return Cell(DASH, mark="muted")
    low, high = (np.nan if limit is None else float(limit) for limit in (g.difference.low, g.difference.high))
    limits = f"{number(low)}, {number(high)}" if low == low else DASH
    p = "p < 0.001" if g.adjusted < 0.001 else f"p {g.adjusted:.3f}"
    means = f"{number(g.own.value)} {MINUS} {number(g.other.value)}"
    small = [means, p + "*" * (g.adjusted < 0.05), *([f"n {g.own.n}"] if g.own.n != usual else [])]
    numbers: dict[str, Number] = {
        "score": g.own.value, "shuffled": g.other.value, "difference": g.difference.value, "low": low, "high": high,
        "p_holm": g.adjusted, "films": g.own.n,
    }  # fmt: skip
    return Cell(f"{signed(g.difference.value)} [{limits}]", ", ".join(small), numbers, _mark(run, g))


def _mark(run: Run, g: Gain) -> str:
    better = run.score_info[g.score].better
    if better is None or not g.adjusted < 0.05:
        return ""
    return "good" if (g.difference.value > 0) == (better == "higher") else "bad"


def _notes(mine: Sequence[Gain]) -> list[str]:
    """What was left out, one note a reason and number."""
    found: dict[tuple[str, int], dict[tuple[str, str], None]] = {}
    for g in mine:
        for reason, count in g.left_out.items():
            found.setdefault((reason, count), {})[g.classifier, g.explainer] = None
    everyone = len({(g.classifier, g.explainer) for g in mine})
    return [
        f"{'Every row' if len(who) == everyone else together(who)}: {count} left out, {reason}."
        for (reason, count), who in found.items()
    ]
