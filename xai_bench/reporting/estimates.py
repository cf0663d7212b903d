"""From tidy rows to one number a cell of a table: mean over films, interval, twins, n, what was left out and why."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray

from xai_bench.listing import FAMILIES, family_of
from xai_bench.protocols import ScoreInfo
from xai_bench.references import leave_one_out_together
from xai_bench.reporting.table import readable
from xai_bench.shuffled import PREFIX
from xai_bench.statistics import FEW_TWINS, Array, Interval, twins_interval

if TYPE_CHECKING:
    from xai_bench.running.run import Run

T = TypeVar("T")

WIDTH = 5  # score columns that fit a terminal of 110 characters
UNKNOWN = ScoreInfo(better=None)
OTHER = "other"  # the family of a metric that the study does not name
CONSTANT_MAP = "constant map"  # the mark that metrics leave on a map without information
INCOMPLETE = "another twin has no score of this film"
ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}", None: ""}


class Score(NamedTuple):
    """What a column shows: a metric's score, against which region by whom (empty: it needs none), and its family."""

    metric: str
    name: str
    region: str
    reference: str
    family: str


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


def once(run: Run, name: str, make: Callable[[], T]) -> T:
    """What is made of a run only once, however many tables and pages ask for it; `name` says what."""
    made = vars(run).setdefault("_made", {})
    if name not in made:
        made[name] = make()
    found: T = made[name]
    return found


def estimates(run: Run, rows: pd.DataFrame | None = None, *, full: bool = False) -> list[Estimate]:
    """Every cell's estimate, in the study's order, of `rows` or of all rows: headline scores or, if `full`, all."""
    found = once(run, "estimates", lambda: _estimates(run, run.rows)) if rows is None else _estimates(run, rows)
    if full:
        return found
    wanted = {key for key, info in run.score_info.items() if info.headline}
    return [e for e in found if not wanted or (e.score.metric, e.score.name) in wanted]


def _estimates(run: Run, chosen: pd.DataFrame) -> list[Estimate]:
    shuffled = chosen.reference.fillna("").str.startswith(PREFIX)  # they have tables of their own
    chosen = leave_one_out_together(chosen[(chosen.picture != "") & ~shuffled])
    keys = ["classifier", "explainer", "metric", "score_name", "region", "reference"]
    heads = chosen[[*keys, "family"]].fillna("")
    known, values = families(run), _Values.of(chosen)
    found = []
    for places in _groups(heads[keys]):
        head = heads.iloc[places[0]]
        score = Score(head.metric, head.score_name, head.region, head.reference, known.get(head.metric, OTHER))
        info = run.score_info.get((score.metric, score.name), UNKNOWN)
        found.append(_estimate(head, score, info, values, places))
    return found


def families(run: Run) -> dict[str, str]:
    """The family of each of the study's metrics, by the study's name for it."""
    return {chosen.label: family_of(chosen.plugin) for chosen in run.study.metrics}


@dataclass(frozen=True)
class _Values:
    """What is averaged, a value a row, as arrays; `film` and `why` are places in `pictures` and `reasons`."""

    film: NDArray[np.intp]
    pictures: pd.Index[str]
    patients: NDArray[np.object_]  # of `pictures`
    replicate: NDArray[np.int64]
    ok: NDArray[np.bool_]
    why: NDArray[np.intp]
    reasons: pd.Index[str]
    constant: NDArray[np.bool_]
    score: Float[Array, "rows"]

    @staticmethod
    def of(rows: pd.DataFrame) -> _Values:
        film, pictures = pd.factorize(rows.picture, sort=True)
        why, reasons = pd.factorize(rows.reason.fillna(""))
        marked = np.array([CONSTANT_MAP in reason for reason in reasons], bool)
        patients = rows.drop_duplicates("picture").set_index("picture").patient.reindex(pictures)
        return _Values(
            film,
            pd.Index(pictures),
            patients.to_numpy(object),
            rows.replicate.to_numpy(np.int64),
            (rows.status == "ok").to_numpy(bool),
            why,
            pd.Index(reasons),
            marked[why],
            rows.score.to_numpy(np.float64),
        )


def _groups(keys: pd.DataFrame) -> list[NDArray[np.intp]]:
    """The places of the rows of every combination, in the order of their first row."""
    number = keys.groupby(list(keys), sort=False).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []


def _estimate(
    head: pd.Series[str], score: Score, info: ScoreInfo, values: _Values, places: NDArray[np.intp]
) -> Estimate:
    ok, missing = places[values.ok[places]], places[~values.ok[places]]
    by_twin, shown, twins = _by_twin(values.film[ok], values.replicate[ok], values.score[ok])
    left_out = Counter(values.reasons[values.why[missing]])
    if len(twins) >= FEW_TWINS:  # twins as a sample: all of them on the same films
        complete = np.flatnonzero(np.isfinite(by_twin).all(0))
        by_twin, shown = by_twin[:, complete], shown[complete]
        left_out += Counter({INCOMPLETE: int(np.isin(values.film[ok], shown, invert=True).sum())})  # adds no zeros
    films = np.nanmean(by_twin, axis=0) if len(shown) else np.empty(0)
    sample = by_twin if len(twins) >= FEW_TWINS else films[None]
    pictures, patients = values.pictures[shown], values.patients[shown]
    return Estimate(
        classifier=head.classifier,
        explainer=head.explainer,
        control=head.family == "control",
        score=score,
        info=info,
        interval=twins_interval(sample, list(patients), info.binary) if len(shown) else None,
        films=pd.Series(films, index=pictures),
        patients=pd.Series(patients, index=pictures, dtype="str"),
        twins={int(twin): float(np.nanmean(row)) for twin, row in zip(twins, by_twin, strict=True) if row.size},
        left_out=dict(left_out.most_common()),
        total=len(places),
        constant=float(values.constant[ok].mean()) if len(ok) else 0.0,
    )


def _by_twin(
    film: NDArray[np.intp], replicate: NDArray[np.int64], score: Float[Array, "n"]
) -> tuple[Float[Array, "twins films"], NDArray[np.intp], NDArray[np.int64]]:
    """Each film's score by each twin (the mean, where a film has several targets); NaN where a twin has none."""
    pictures, film = np.unique(film, return_inverse=True)
    twins, twin = np.unique(replicate, return_inverse=True)
    shape = (len(twins), len(pictures))
    place = twin * shape[1] + film
    count = np.bincount(place, minlength=shape[0] * shape[1])
    total = np.bincount(place, score, minlength=shape[0] * shape[1])
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean.reshape(shape), pictures, twins


def column_groups(found: Iterable[Estimate]) -> list[list[Score]]:
    """Columns of tables of all these scores, five at most, by region and reference.

    Scores without a region join the first region's if all fit, else they follow, a family each.
    """
    regions, free = _by_region(found)
    if regions and len(regions[0]) + len(free) <= WIDTH:
        groups = [regions[0] + free, *regions[1:]]
    else:
        groups = [*regions, *(list(own) for _, own in itertools.groupby(free, key=lambda s: s.family))]
    return [group[i : i + WIDTH] for group in groups for i in range(0, len(group), WIDTH)]


def short_groups(found: Iterable[Estimate]) -> list[list[Score]]:
    """Columns of short tables: one for each region and reference, of its first scores, from every family in turn.

    Scores without a region stand beside the first region's. What comes first in a family is the study's order.
    """
    regions, free = _by_region(found)
    return [_first_of_each(group) for group in [[*(regions[0] if regions else ()), *free], *regions[1:]] if group]


def _by_region(found: Iterable[Estimate]) -> tuple[list[list[Score]], list[Score]]:
    """The scores of each region and reference, and those without a region; families in their order."""
    by_region: dict[tuple[str, str], list[Score]] = {}
    for score in sorted(dict.fromkeys(e.score for e in found), key=lambda s: family_rank(s.family)):
        by_region.setdefault((score.region, score.reference), []).append(score)
    free = by_region.pop(("", ""), [])
    return list(by_region.values()), free


def _first_of_each(scores: Sequence[Score]) -> list[Score]:
    """At most WIDTH scores: the first of every family, then the second of every family ..., in the order given."""
    counts: Counter[str] = Counter()
    turns = {}
    for place, score in enumerate(scores):
        turns[score] = (counts[score.family], place)
        counts[score.family] += 1
    chosen = set(sorted(scores, key=turns.__getitem__)[:WIDTH])
    return [score for score in scores if score in chosen]


def family_rank(family: str) -> tuple[int, str]:
    """The place of a family among all: the order of FAMILIES, then others by name."""
    return (list(FAMILIES).index(family), "") if family in FAMILIES else (len(FAMILIES), family)


def where(columns: Iterable[Score]) -> str:
    """The region and reference, or else the family, that the columns share, in words, for a title."""
    region = next((s for s in columns if s.region), None)
    shared = {s.family for s in columns}
    if region is None:
        return f" \N{MIDDLE DOT} {shared.pop()}" if len(shared) == 1 else ""
    return f" \N{MIDDLE DOT} {place_in_words(region.region, region.reference)}"


def place_in_words(region: str, reference: str) -> str:
    """A region and whose it is, as a title says it.

    >>> place_in_words("scoliosis.R1", "derived"), place_in_words("column", "anna#2")
    ('region scoliosis R1, derived', 'region column, read by anna (read 2)')
    >>> place_in_words("scoliosis.R2", "consensus:majority:without:anna")
    'region scoliosis R2, majority consensus without anna'
    >>> place_in_words("scoliosis.R2", "consensus:majority, leave one out")
    'region scoliosis R2, majority consensus, leave one out'
    """
    return f"region {readable(region.replace('.', ' '))}, {_reference_in_words(reference)}"


def _reference_in_words(reference: str) -> str:
    kind, _, rest = reference.partition(":")
    if kind == "consensus":
        method, comma, how = rest.partition(",")
        method, _, reader = method.partition(":without:")
        return f"{readable(method)} consensus" + (f" without {reader}" if reader else "") + comma + how
    reader, _, read = reference.partition("#")
    return reference if reference == "derived" else f"read by {reader}" + (f" (read {read})" if read else "")


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
