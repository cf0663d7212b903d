"""From tidy rows to one number a cell of a table: mean over films, interval, twins, n, what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from xai_bench.protocols import ScoreInfo
from xai_bench.reporting.table import readable
from xai_bench.statistics import FEW_TWINS, Array, Interval, twins_interval

if TYPE_CHECKING:
    from xai_bench.run import Run

WIDTH = 5  # score columns that fit a terminal of 110 characters
UNKNOWN = ScoreInfo(better=None)
CONSTANT_MAP = "constant map"  # the mark that metrics leave on a map without information
ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}", None: ""}


class Score(NamedTuple):
    """What a column shows: a metric's score, and against which region by whom (empty: it needs none)."""

    metric: str
    name: str
    region: str
    reference: str


@dataclass(frozen=True)
class Estimate:
    """One explainer's mean of one score on one classifier.

    `films` has each film's mean over twins, `patients` whose film it is; `twins` each replicate's own mean over its
    films; `left_out` of the `total` scores (one a film and twin) how many are missing, by reason; `constant` the share
    of maps without information.
    """

    classifier: str
    explainer: str
    control: bool
    score: Score
    info: ScoreInfo
    interval: Interval | None
    films: pd.Series[float]
    patients: pd.Series[str]
    twins: Mapping[int, float]
    left_out: Mapping[str, int]
    total: int
    constant: float

    @property
    def value(self) -> float:
        """Mean over films; NaN where no film could be scored."""
        return float(self.films.mean()) if len(self.films) else float("nan")

    @property
    def size(self) -> tuple[int, int]:
        """Number of films and of patients."""
        return len(self.films), self.n_patients

    @property
    def n_patients(self) -> int:
        """Number of patients behind the mean."""
        return int(self.patients.nunique())


def estimates(run: Run, rows: pd.DataFrame | None = None, *, full: bool = False) -> list[Estimate]:
    """Every cell's estimate, in the study's order, of `rows` or of all rows: headline scores or, if `full`, all."""
    chosen = run.rows if rows is None else rows
    chosen = chosen[chosen.picture != ""]
    if not full and any(info.headline for info in run.score_info.values()):
        wanted = {key for key, info in run.score_info.items() if info.headline}
        headline = [key in wanted for key in zip(chosen.metric, chosen.score_name, strict=True)]
        chosen = chosen[np.array(headline, bool)]
    names = ["classifier", "explainer", "metric", "score_name", "region", "reference"]
    read = chosen[[*names, "family", "picture", "patient", "replicate", "status", "reason", "score"]].copy()
    read[["region", "reference", "reason"]] = read[["region", "reference", "reason"]].fillna("")
    return [_estimate(run, group) for _, group in read.groupby(names, sort=False)]


def _estimate(run: Run, group: pd.DataFrame) -> Estimate:
    first, scored = group.iloc[0], (group.status == "ok").to_numpy()
    ok, missing = group[scored], group[~scored]
    score = Score(first.metric, first.score_name, first.region, first.reference)
    info = run.score_info.get((score.metric, score.name), UNKNOWN)
    by_twin, pictures, twins = _by_twin(ok)
    if len(twins) >= FEW_TWINS:  # twins as a sample: all of them on the same films
        complete = np.flatnonzero(np.isfinite(by_twin).all(0))
        by_twin, pictures = by_twin[:, complete], pictures[complete]
    patients = pd.Series(dict(zip(ok.picture, ok.patient, strict=True)), dtype="str").reindex(pictures)
    films = np.nanmean(by_twin, axis=0) if len(pictures) else np.empty(0)
    sample = by_twin if len(twins) >= FEW_TWINS else films[None]
    return Estimate(
        classifier=first.classifier,
        explainer=first.explainer,
        control=first.family == "control",
        score=score,
        info=info,
        interval=twins_interval(sample, list(patients), info.binary) if len(pictures) else None,
        films=pd.Series(films, index=pictures),
        patients=patients,
        twins={int(twin): float(np.nanmean(row)) for twin, row in zip(twins, by_twin, strict=True) if row.size},
        left_out={str(why): int(n) for why, n in missing.reason.value_counts().items()},
        total=len(group),
        constant=float(np.mean([CONSTANT_MAP in reason for reason in ok.reason])) if len(ok) else 0.0,
    )


def _by_twin(ok: pd.DataFrame) -> tuple[Float[Array, "twins films"], pd.Index[str], pd.Index[int]]:
    """Each film's score by each twin (the mean, where a film has several targets); NaN where a twin has none."""
    film, pictures = pd.factorize(ok.picture, sort=True)
    twin, twins = pd.factorize(ok.replicate, sort=True)
    shape = (len(twins), len(pictures))
    place = twin * shape[1] + film
    count = np.bincount(place, minlength=shape[0] * shape[1])
    total = np.bincount(place, ok.score.to_numpy(np.float64), minlength=shape[0] * shape[1])
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean.reshape(shape), pd.Index(pictures), pd.Index(twins)


def column_groups(found: Iterable[Estimate]) -> list[list[Score]]:
    """Columns of tables, five at most, by region and reader; scores without a region join the first if they fit."""
    by_region: dict[tuple[str, str], list[Score]] = {}
    for score in dict.fromkeys(e.score for e in found):
        by_region.setdefault((score.region, score.reference), []).append(score)
    free = by_region.pop(("", ""), [])
    groups = list(by_region.values())
    if groups and len(groups[0]) + len(free) <= WIDTH:
        groups[0] = groups[0] + free
    else:
        groups.append(free)
    return [group[i : i + WIDTH] for group in groups for i in range(0, len(group), WIDTH)]


def where(columns: Iterable[Score]) -> str:
    """The region that the columns share, for a title."""
    region = next((s for s in columns if s.region), None)
    return f" \N{MIDDLE DOT} {region.region} ({region.reference})" if region else ""


def usual_n(sizes: Iterable[tuple[int, int]]) -> str:
    """The commonest (films, patients) of a column, for its head; cells that differ say so themselves.

    >>> usual_n([(9, 5), (9, 5), (8, 5)])
    'n 9 (5 patients)'
    """
    (films, patients), _ = Counter(sizes).most_common(1)[0]
    return f"n {films} ({patients} patients)"


def titles(found: Sequence[Estimate]) -> dict[Score, str]:
    """A short title for each column, with its arrow; the metric is named where two metrics share a score's name."""
    infos = {e.score: e.info for e in found}
    metrics: dict[str, set[str]] = {}
    for score in infos:
        metrics.setdefault(score.name, set()).add(score.metric)
    return {s: f"{_title(s, len(metrics[s.name]) > 1)} {ARROWS[i.better]}".strip() for s, i in infos.items()}


def _title(score: Score, ambiguous: bool) -> str:
    name = readable(score.name)
    return f"{readable(score.metric)}: {name}" if ambiguous and score.metric != score.name else name


def failures(run: Run) -> pd.DataFrame:
    """Whole cells that failed or were skipped: classifier, explainer, metric, status, reason."""
    blamed = run.rows[run.rows.status.isin(["failed", "skipped"])]
    return blamed[["classifier", "explainer", "metric", "status", "reason"]].drop_duplicates(ignore_index=True)
