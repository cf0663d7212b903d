"""Shuffled scores: how much better a map fits its own film's region than another patient's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from xai_bench.protocols import Evidence, SummaryRow
from xai_bench.references import LEAVE_ONE_OUT, left_out_reader
from xai_bench.registry import summary
from xai_bench.shuffled import PREFIX
from xai_bench.statistics import paired_difference

FILM = ["replicate", "head", "target", "target_rule", "picture", "patient"]
GROUP = ["classifier", "explainer", "metric", "score_name", "region", "reference"]
ENDINGS = ("", "_shuffled", "_difference", "_p")
"""Score names of the rows of a score: its mean, the mean against other patients, their difference, and p."""


@summary("shuffled", cite="Bigolin Lanfredi et al. 2021")
@dataclass(frozen=True)
class Shuffled:
    """Every score against a region minus the same map's score against another patient's region of the same kind.

    The partner has the same labels and view, and lends its region by the same name and reader. A map that only knows
    where such regions usually lie scores the same on both: the difference cancels the bias to the center. Over the
    films that have both scores, each the mean over twins: `<score>` and `<score>_shuffled` are means, in the score's
    unit, `<score>_difference` is their paired difference with its interval over patients, `<score>_p` its two-sided p
    by sign flips of whole patients, before any correction.
    """

    needs_shuffled: ClassVar[bool] = True

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Four rows of each explainer, score, region and reference."""
        groups = _pairs(evidence.rows).groupby(GROUP, sort=False)
        return [row for who, part in groups for row in _rows(tuple(map(str, who)), part, evidence.seed)]


def _pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a film and twin with both scores: columns score, status, reason and other_score, other_status ..."""
    scored = rows[rows.region.fillna("").ne("") & rows.picture.ne("")]
    shuffled = scored.reference.str.startswith(PREFIX)
    keys, values = [*GROUP, *FILM], ["score", "status", "reason"]
    other = scored[shuffled].assign(reference=scored.reference[shuffled].str.removeprefix(PREFIX))
    other = other[[*keys, *values]].rename(columns={name: f"other_{name}" for name in values})
    pairs = scored[~shuffled][[*keys, *values]].merge(other, on=keys, how="inner", validate="one_to_one")
    return pairs.assign(reference=pairs.reference.map(_together))


def _together(reference: str) -> str:
    """The references without each reader are one: a film's score is the mean over those it has."""
    found = left_out_reader(reference)
    return f"{found[0]}{LEAVE_ONE_OUT}" if found else reference


def _rows(who: tuple[str, ...], part: pd.DataFrame, seed: int) -> list[SummaryRow]:
    classifier, explainer, metric, score, region, reference = who
    own, other = part.status == "ok", part.other_status == "ok"
    why = part.reason.where(~own, part.other_reason)[~(own & other)]
    left_out = {str(reason): int(count) for reason, count in why.value_counts().items()}
    films = part[own & other].groupby("picture").agg(
        score=("score", "mean"), other=("other_score", "mean"), patient=("patient", "first")
    )  # fmt: skip

    def row(ending: str, value: float, low: float = np.nan, high: float = np.nan, note: str = "") -> SummaryRow:
        known = np.isfinite(low) and np.isfinite(high)
        return SummaryRow(
            "shuffled", score + ending, explainer, classifier, None, value, low if known else None,
            high if known else None, len(films), left_out, None, note, metric, region, reference,
        )  # fmt: skip

    if films.empty:
        return [row(ending, np.nan, note="no film that counts") for ending in ENDINGS]
    a, b = films.score.to_numpy(np.float64), films.other.to_numpy(np.float64)
    found = paired_difference(a, b, films.patient.to_numpy(), seed)
    twins = part.replicate.nunique()
    given = f"{found.method} over {found.n_patients} patients"
    given += f", conditional on these {twins} twins" if twins > 1 else ""
    test = "two-sided, sign flips of whole patients, not corrected"
    return [
        row("", float(a.mean())),
        row("_shuffled", float(b.mean())),
        row("_difference", found.mean, found.low, found.high, given),
        row("_p", found.p, note=test),
    ]
