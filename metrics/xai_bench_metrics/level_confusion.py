"""Level confusion: how many levels above or below the reference the maps of a set of films peak."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from xai_bench.protocols import Evidence, SummaryRow
from xai_bench.registry import summary
from xai_bench.statistics import interval
from xai_bench_metrics.level import ABOVE, BELOW, Level

COLUMNS = (*reversed(ABOVE), "level_hit", *BELOW, "outside_spine")
"""From the top of the spine to the bottom; together 1 on every film."""


@summary("level_confusion")
@dataclass(frozen=True)
class LevelConfusion:
    """Shares of films whose map peaks so many levels above or below the nearest reference level, or outside the spine.

    From the scores of the metric `level`, for every explainer, classifier, region and reference; each 0 to 1, together
    1. A film counts once, with the mean of its twins and its tied maxima; intervals are over patients, conditional on
    these classifiers.
    """

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Rows of every explainer and classifier; one without a value where nothing was scored."""
        rows = evidence.rows[evidence.rows.score_name.isin(COLUMNS)]
        found = [
            row
            for _, part in rows.groupby(["classifier", "explainer", "metric", "region", "reference"], sort=False)
            for row in _confusion(part, evidence.seed)
        ]
        seen = {(row.classifier, row.explainer) for row in found}
        everyone = [
            (c, e) for c in dict.fromkeys(card.classifier for card in evidence.cards) for e in evidence.explainers
        ]
        return found + [_missing(*who) for who in everyone if who not in seen]


def _confusion(part: pd.DataFrame, seed: int) -> Iterator[SummaryRow]:
    """The rows of one explainer on one classifier, against one region and reference."""
    first, infos = part.iloc[0], Level().scores
    decisive = part[part.score_name == "level_hit"]
    left_out = {str(why): int(n) for why, n in decisive[decisive.status != "ok"].reason.value_counts().items()}
    line = ["picture", "patient", "replicate", "target"]
    wide = part[part.status == "ok"].pivot_table("score", line, "score_name").reindex(columns=list(COLUMNS)).dropna()
    films = wide.groupby(["picture", "patient"], sort=True).mean()
    patients = films.index.get_level_values("patient").to_numpy()
    about = {"metric": first.metric, "region": first.region, "reference": first.reference, "exclusions": left_out}
    for name in COLUMNS:
        who = ("level_confusion", name, first.explainer, first.classifier, None)
        if films.empty:
            yield SummaryRow(*who, float("nan"), None, None, 0, note="no film that counts", **about)
            continue
        values = films[name].to_numpy(float)
        shown = interval(values, patients, True, seed=seed)
        low, high = (shown.low, shown.high) if shown.known else (None, None)
        method = shown.method if shown.known else "no interval (one patient, or no spread)"
        note = f"{method}; over patients, conditional on {part.replicate.nunique()} classifiers"
        better = infos[name].better
        yield SummaryRow(*who, float(values.mean()), low, high, len(films), better=better, note=note, **about)


def _missing(classifier: str, explainer: str) -> SummaryRow:
    nan, note = float("nan"), "no scores of the metric level in this study"
    return SummaryRow("level_confusion", "level_hit", explainer, classifier, None, nan, None, None, 0, note=note)
