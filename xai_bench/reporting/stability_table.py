"""One table of what a method must show before its maps are believed: useful, true to the weights, and repeatable.

After Arun et al. 2021 (Radiology: Artificial Intelligence), table 2, and Venkatesh et al. 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_bench.references import CEILING, HUMAN, LEAVE_ONE_OUT
from xai_bench.reporting.estimates import Estimate, estimates, place_in_words
from xai_bench.reporting.table import DASH, Cell, Column, Rows, Table, number, readable, with_interval
from xai_bench.statistics import Interval

if TYPE_CHECKING:
    from xai_bench.running.run import Run

STABILITY, CHECK = "retrain_stability", "randomization_check"
SCORE = "ssim"
UTILITY = "auprc"
MUTED = Cell(DASH, mark="muted")


def stability_tables(run: Run) -> list[Table]:
    """The table, or none where the study compares no twins and randomizes no weights."""
    found = run.summaries
    if not len(found) or not {STABILITY, CHECK} & set(found.summary):
        return []
    useful = _utility(run)
    heads = (
        Column("method", left=True), Column("utility: AUPRC \N{UPWARDS ARROW}", _where(useful)),
        Column("randomization", "SSIM, and of random pairs"), Column("repeatability: SSIM \N{UPWARDS ARROW}", "twins"),
        Column("reproducibility: SSIM", "other classifiers"),
    )  # fmt: skip
    controls = set(run.rows[run.rows.family == "control"].explainer)
    groups = []
    for name in dict.fromkeys(run.rows.classifier):
        methods = [str(m) for m in dict.fromkeys(run.rows[run.rows.classifier == name].explainer)]
        for control in (False, True):
            rows = [_line(run, useful, str(name), m) for m in methods if (m in controls) == control]
            rows += [] if control else _human(run, str(name))
            if rows:
                groups.append(Rows(f"chance ({name})" if control else str(name), tuple(rows), chance=control))
    return [Table("stability_1", "Can the maps be relied on?", _caption(run), heads, tuple(groups))]


def _caption(run: Run) -> str:
    return (
        "Utility: how well a map's pixels find the region. Randomization: passed where maps of the network with random "
        "weights are less like its maps than maps of other patients are (Arun et al. 2021). Repeatability: how alike "
        "the maps of retrained twins are on films where both predict the same class; null is what maps of other "
        "patients reach, floor the same model explained twice. Reproducibility: the same against the study's other "
        "classifiers. In brackets 95% intervals over patients, from 5 twins on over twins too, else conditional on "
        f"these classifiers. Run {run.key}."
    )


def _where(useful: Sequence[Estimate]) -> str:
    return place_in_words(useful[0].score.region, useful[0].score.reference) if useful else "no region"


def _utility(run: Run) -> list[Estimate]:
    """Estimates of the utility on the study's first region: where readers stand beside, against the same references."""
    found = estimates(run, run.rows[run.rows.score_name == UTILITY], full=True)
    mine = [e for e in found if e.score.region == found[0].score.region]
    references = list(dict.fromkeys(e.score.reference for e in mine))
    chosen = next((r for r in references if r.endswith(LEAVE_ONE_OUT)), references[0] if references else "")
    return [e for e in mine if e.score.reference == chosen]


def _line(run: Run, useful: Sequence[Estimate], classifier: str, method: str) -> tuple[Cell, ...]:
    mine = [e for e in useful if (e.classifier, e.explainer) == (classifier, method)]
    utility = MUTED
    if mine and mine[0].interval is not None:
        numbers = {"value": mine[0].value, "low": mine[0].interval.low, "high": mine[0].interval.high}
        utility = Cell(with_interval(mine[0].value, mine[0].interval), numbers=numbers)
    rows = run.summaries[run.summaries.explainer == method]
    both = (rows.classifier == classifier) | (rows.other_classifier == classifier)
    twins = rows[(rows.classifier == classifier) & rows.other_classifier.isna()]
    others = rows[both & rows.other_classifier.notna()]
    return (Cell(readable(method)), utility, _randomization(twins), _repeatability(twins), _reproducibility(others))


def _only(rows: pd.DataFrame, summary: str, score: str) -> Any:
    mine = rows[(rows.summary == summary) & (rows.score_name == score) & rows.value.notna()]
    return next(mine.itertuples(), None)


def _randomization(rows: pd.DataFrame) -> Cell:
    verdict, own, pairs = (_only(rows, CHECK, s) for s in ("passes", "randomization_ssim", "random_pairs_ssim"))
    if verdict is None or own is None or pairs is None:
        return MUTED
    numbers = {"passes": verdict.value, "randomization_ssim": own.value, "random_pairs_ssim": pairs.value}
    passed = verdict.value > 0.5
    small = f"{number(own.value)}; {number(pairs.value)}"
    return Cell("passed" if passed else "failed", small, numbers, mark="good" if passed else "bad")


def _repeatability(rows: pd.DataFrame) -> Cell:
    row, null, floor = (_only(rows, STABILITY, SCORE + end) for end in ("", "_null", "_floor"))
    if row is None:
        return MUTED
    numbers = {"value": row.value, "low": row.low, "high": row.high, "n": row.n}
    said = []
    for name, other in (("null", null), ("floor", floor)):
        if other is not None:
            numbers[name] = other.value
            said.append(f"{name} {number(other.value)}")
    return Cell(_with_interval(row), "; ".join(said), numbers)


def _reproducibility(rows: pd.DataFrame) -> Cell:
    mine = rows[(rows.summary == STABILITY) & (rows.score_name == SCORE) & rows.value.notna()]
    if not len(mine):
        return MUTED
    if len(mine) == 1:
        row: Any = next(mine.itertuples())
        return Cell(_with_interval(row), numbers={"value": row.value, "low": row.low, "high": row.high})
    low, high = float(mine.value.min()), float(mine.value.max())
    mean = float(mine.value.mean())
    small = f"{len(mine)} classifiers, {number(low)} to {number(high)}"
    return Cell(number(mean), small, {"value": mean, "least": low, "most": high})


def _human(run: Run, classifier: str) -> list[tuple[Cell, ...]]:
    """Readers against the other readers, where the study asks for the human ceiling."""
    rows = run.summaries[(run.summaries.summary == CEILING) & (run.summaries.classifier == classifier)]
    rows = rows[(rows.explainer == HUMAN) & (rows.score_name == UTILITY) & rows.value.notna()]
    found: list[Any] = list(rows[:1].itertuples())
    return [(Cell(HUMAN), Cell(_with_interval(r), numbers={"value": r.value}), MUTED, MUTED, MUTED) for r in found]


def _with_interval(row: Any) -> str:
    low, high = (float("nan") if v is None else float(v) for v in (row.low, row.high))
    return with_interval(row.value, Interval(low, high, "", int(row.n), 0))
