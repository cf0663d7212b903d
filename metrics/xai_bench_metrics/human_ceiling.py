"""Human ceiling: how well do readers' own drawings score against the reference that the other readers make?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from xai_bench.agreement import READER_EMPTY
from xai_bench.consensus import PREFIX
from xai_bench.errors import Unfit
from xai_bench.protocols import Better, Case, Evidence, Metric, Reason, Result, ScoreInfo, SummaryRow
from xai_bench.references import CEILING, CHANCE, DECREASE, HUMAN, LEAVE_ONE_OUT, NORMALIZED, WITHOUT
from xai_bench.registry import summary
from xai_bench.samples import RegionKey
from xai_bench.statistics import Array, Interval, bootstrap, bootstrap_mean, interval, patient_sums
from xai_bench_metrics._contract import NOT_READ

SINGLE = "single reader, no ceiling"
SCORE = "score"
CHUNK = 32  # films scored at once: bounds the memory
Place = tuple[str, str, str]  # metric, score name, region
Words = NDArray[np.object_]


@dataclass(frozen=True)
class Term:
    """A number for each film and left-out reader, NaN where there is none, and why."""

    values: Float[Array, "films readers"]
    why: Words

    @staticmethod
    def missing(films: int, readers: int) -> Term:
        """None is there yet."""
        return Term(np.full((films, readers), np.nan), np.full((films, readers), "", object))


@dataclass(frozen=True)
class Films:
    """Each film's mean of every term over its left-out readers, whose film it is, and what is missing."""

    means: Mapping[str, Float[Array, "n"]]
    patients: Words
    excluded: Mapping[str, int]

    @staticmethod
    def of(terms: Mapping[str, Term], asked: Bool[np.ndarray, "films readers"], patients: Words) -> Films:
        """Films of which some reader has all terms; a pair without one of them is counted by the first one's reason."""
        missing = np.isnan(np.stack([term.values for term in terms.values()]))
        complete = asked & ~missing.any(0)
        why = np.stack([term.why for term in terms.values()])
        reasons = np.take_along_axis(why, missing.argmax(0)[None], 0)[0][asked & ~complete]
        kept, readers = complete.any(1), complete.sum(1)
        means = {n: np.where(complete, t.values, 0).sum(1)[kept] / readers[kept] for n, t in terms.items()}
        return Films(means, patients[kept], dict(Counter(map(str, reasons))))

    def __getitem__(self, term: str) -> Float[Array, "n"]:
        return self.means[term]

    @property
    def nothing(self) -> str:
        """Why there is no film, or "" where there is one."""
        if len(self.patients):
            return ""
        if set(self.excluded) <= {NOT_READ.text}:
            return SINGLE
        return f"no film that counts: {max(self.excluded, key=self.excluded.__getitem__)}"


@dataclass(frozen=True)
class Asked:
    """A classifier's rows against references without one reader, as numbers: row -> film, left-out reader, score."""

    rows: pd.DataFrame
    films: tuple[str, ...]
    patients: Words
    readers: tuple[str, ...]
    film: Int[np.ndarray, "rows"]
    reader: Int[np.ndarray, "rows"]

    @staticmethod
    def of(rows: pd.DataFrame) -> Asked:
        """Films and readers sorted by name."""
        film, films = pd.factorize(rows.picture, sort=True)
        reader, readers = pd.factorize(rows.reader, sort=True)
        patients = np.empty(len(films), object)
        patients[film] = rows.patient.astype(str).to_numpy(object)
        return Asked(rows, tuple(map(str, films)), patients, tuple(map(str, readers)), film, reader)

    def where(self, **values: str) -> Bool[np.ndarray, "rows"]:
        """Rows that have these values in these columns."""
        found = np.ones(len(self.rows), np.bool_)
        for column, value in values.items():
            found &= (self.rows[column] == value).to_numpy(np.bool_)
        return found

    def pairs(self, chosen: Bool[np.ndarray, "rows"]) -> Bool[np.ndarray, "films readers"]:
        """The films and readers that these rows are about."""
        found = np.zeros((len(self.films), len(self.readers)), np.bool_)
        found[self.film[chosen], self.reader[chosen]] = True
        return found

    def term(self, chosen: Bool[np.ndarray, "rows"]) -> Term:
        """The mean score of each film and reader over twins and targets; missing ones do not count."""
        film, reader = self.film[chosen], self.reader[chosen]
        scores, term = self.rows.score.to_numpy(np.float64)[chosen], Term.missing(len(self.films), len(self.readers))
        total, count = np.zeros(term.values.shape), np.zeros(term.values.shape)
        there = ~np.isnan(scores)
        np.add.at(total, (film[there], reader[there]), scores[there])
        np.add.at(count, (film[there], reader[there]), 1)
        term.why[film[~there], reader[~there]] = self.rows.reason.to_numpy(object)[chosen][~there]
        np.divide(total, count, out=term.values, where=count > 0)
        return term


@summary(CEILING, cite="Saporta et al. 2022")
@dataclass(frozen=True)
class HumanCeiling:
    """Readers' drawings as maps of 0 and 1, scored by the localization metrics against the consensus of the others.

    `human` is the mean over readers, `human: <reader>` one of them, `chance` a constant map on the same references; the
    explainers' scores are those against the same references, averaged over the left-out readers. With h, c and s these
    means, `*_ceiling_normalized` is (s - c) / (h - c), `*_decrease_percent` 100 (h - s) / h, turned where lower is
    better. A film and reader count where human, chance and explainer all have a score; exclusions count such pairs.
    Intervals are over patients. The study's references must hold `consensus:<method>:without:*`.
    """

    method: Literal["majority", "staple", "union", "intersection"] = "majority"

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Rows of every classifier: they differ only where the classifiers' pictures have other sizes."""
        start = f"{PREFIX}{self.method}{WITHOUT}"
        rows = evidence.rows[evidence.rows.reference.astype(str).str.startswith(start)]
        rows = rows.assign(reader=rows.reference.astype(str).str.removeprefix(start))
        weights = {card.classifier: card.weights for card in reversed(evidence.cards)}  # twins read alike: the first's
        if rows.empty:
            note = f"{SINGLE}; or the study's references lack '{start}*'"
            return [SummaryRow(CEILING, "", HUMAN, name, None, np.nan, None, None, 0, note=note) for name in weights]
        made: list[SummaryRow] = []
        for name, own in rows.groupby("classifier", sort=False):
            asked = Asked.of(own)
            for place, terms in _drawn_terms(evidence, weights[str(name)], asked, start).items():
                reference = f"{PREFIX}{self.method}{LEAVE_ONE_OUT}"
                made += _Part(evidence, str(name), place, reference, asked, terms).rows()
        return made


def _drawn_terms(evidence: Evidence, weights: str, asked: Asked, start: str) -> dict[Place, dict[str, Term]]:
    """Human and chance of each metric, score, region, film and reader that explainers were asked about."""
    size = (len(asked.films), len(asked.readers))
    found: dict[Place, dict[str, Term]] = {}
    for region in map(str, dict.fromkeys(asked.rows.region)):
        for column, reader in enumerate(asked.readers):
            mine = asked.where(region=region, reader=reader)
            labels, films = list(dict.fromkeys(asked.rows.metric[mine])), np.unique(asked.film[mine])
            for part in (films[i : i + CHUNK] for i in range(0, len(films), CHUNK)):
                drawn, human = _cases(evidence, weights, [asked.films[i] for i in part], (region, reader), start)
                for label in labels:
                    for name, score, (values, why) in _scored(evidence.metrics[label], drawn, human):
                        blank = {HUMAN: Term.missing(*size), CHANCE: Term.missing(*size)}
                        term = found.setdefault((str(label), score, region), blank)[name]
                        term.values[part, column], term.why[part, column] = values, why
    return found


def _cases(
    evidence: Evidence, weights: str, ids: Sequence[str], place: tuple[str, str], start: str
) -> tuple[Case, Case]:
    """The case whose region is the reader's drawing, and that in which the drawing is scored against the others'."""
    if evidence.cases is None:
        raise Unfit("there are no films at hand")
    region, reader = place
    drawn = evidence.cases(weights, ids, RegionKey(region, reader), None)
    if drawn.region is None:
        raise Unfit("the films have no regions")
    return drawn, evidence.cases(weights, ids, RegionKey(region, f"{start}{reader}"), drawn.region.float())


def _scored(metric: Metric, drawn: Case, human: Case) -> Iterator[tuple[str, str, tuple[Float[Array, "b"], Words]]]:
    """Human and chance, score by score. A drawing without pixels is no map: it has no score, and chance still has."""
    assert drawn.region is not None
    try:
        # A map of 0 and 1 is the same above every threshold: whatever a tuned one is tuned on, nothing changes.
        ready = metric.tune([human]) if hasattr(metric, "tune") else metric
        by_hand, constant = ready(human), ready(replace(human, saliency=torch.ones_like(human.saliency)))
    except Unfit as error:
        by_hand = constant = _unscored(metric, len(human.batch), str(error))
    empty = (~drawn.region.flatten(1).any(1)).cpu().numpy()
    said = np.array([NOT_READ.text if s == "not_read" else READER_EMPTY for s in drawn.region_state], object)
    for score in metric.scores:
        values, why = _told(by_hand, score)
        why = np.where(empty & (why == ""), said, why)
        yield HUMAN, score, (np.where(empty, np.nan, values), why)
        yield CHANCE, score, _told(constant, score)


def _unscored(metric: Metric, films: int, why: str) -> Result:
    missing = torch.full((films,), torch.nan)
    return Result(dict.fromkeys(metric.scores, missing), (Reason("excluded", why),) * films)


def _told(result: Result, score: str) -> tuple[Float[Array, "b"], Words]:
    """A score's values, and why they are missing: "" where they are not."""
    values = result.scores[score].double().cpu().numpy()
    reasons = [result.reason(score, n) for n in range(len(values))]
    unsaid = "the metric returned NaN without a reason"
    why = [(r.text if r else unsaid) if v != v else "" for v, r in zip(values, reasons, strict=True)]
    return values, np.array(why, object)


@dataclass(frozen=True)
class _Part:
    """All that makes the rows of one score on one region: what readers and constant maps reach, and the explainers."""

    evidence: Evidence
    classifier: str
    place: Place
    reference: str
    asked: Asked
    drawn: Mapping[str, Term]

    @property
    def info(self) -> ScoreInfo:
        """What the score means."""
        return self.evidence.metrics[self.place[0]].scores[self.place[1]]

    @property
    def without_chance(self) -> str:
        """Why the metric gives constant maps no score though readers have one, "" where it does."""
        scored = ~np.isnan(self.drawn[HUMAN].values)
        if not scored.any() or not np.isnan(self.drawn[CHANCE].values).all():
            return ""
        return f"no chance value: {Counter(self.drawn[CHANCE].why[scored]).most_common(1)[0][0]}"

    @property
    def terms(self) -> dict[str, Term]:
        """What must exist of a film and reader."""
        return {HUMAN: self.drawn[HUMAN]} if self.without_chance else dict(self.drawn)

    def rows(self) -> list[SummaryRow]:
        """Explainers, human, each reader, chance."""
        metric, score, region = self.place
        mine = self.asked.where(metric=metric, score_name=score, region=region)
        made = []
        for explainer in dict.fromkeys(self.asked.rows.explainer[mine]):
            made += self._explainer(str(explainer), mine & self.asked.where(explainer=explainer))
        pairs = self.asked.pairs(mine)
        everyone = self._films(self.terms, pairs)
        made.append(self._mean(HUMAN, everyone, HUMAN, self.without_chance))
        for column, reader in enumerate(self.asked.readers):
            own = pairs & (np.arange(pairs.shape[1]) == column)
            if own.any():
                made.append(self._mean(f"{HUMAN}: {reader}", self._films(self.terms, own), HUMAN))
        return made if self.without_chance else [*made, self._mean(CHANCE, everyone, CHANCE)]

    def _films(self, terms: Mapping[str, Term], pairs: Bool[np.ndarray, "films readers"]) -> Films:
        return Films.of(terms, pairs, self.asked.patients)

    def _explainer(self, explainer: str, mine: Bool[np.ndarray, "rows"]) -> list[SummaryRow]:
        """Its mean on the films and readers where human and chance exist too, and where that lies between them."""
        both = self._films({**self.terms, SCORE: self.asked.term(mine)}, self.asked.pairs(mine))
        twins = self.asked.rows.replicate[mine].nunique()
        note = f"conditional on these {twins} twins" if twins > 1 else "conditional on this one trained classifier"
        made = [self._mean(explainer, both, SCORE, note)]
        return (
            made
            if self.info.better is None
            else [*made, self._normalized(explainer, both), self._decrease(explainer, both)]
        )

    def _mean(self, name: str, found: Films, term: str, note: str = "") -> SummaryRow:
        if found.nothing:
            return self._row(name, "", self.info.better, found, note=found.nothing)
        limits = interval(found[term], found.patients, self.info.binary, seed=self.evidence.seed)
        said = "; ".join(filter(None, (_method(limits), note)))
        return self._row(name, "", self.info.better, found, float(found[term].mean()), limits, said)

    def _normalized(self, explainer: str, found: Films) -> SummaryRow:
        refused = found.nothing or self.without_chance
        if not refused:
            room = found[HUMAN] - found[CHANCE]
            limits = bootstrap_mean(room, found.patients, seed=self.evidence.seed)
            if not limits.known or limits.low <= 0 <= limits.high:
                refused = f"the interval of ceiling - chance {'holds 0' if limits.known else 'is unknown'}"
        if refused:
            return self._row(explainer, NORMALIZED, "higher", found, note=refused)
        value, limits = ratio(found[SCORE] - found[CHANCE], room, found.patients, self.evidence.seed)
        return self._row(explainer, NORMALIZED, "higher", found, value, limits, _method(limits))

    def _decrease(self, explainer: str, found: Films) -> SummaryRow:
        refused = found.nothing
        if not refused:
            limits = bootstrap_mean(found[HUMAN], found.patients, seed=self.evidence.seed)
            zero = limits.low <= 0 <= limits.high if limits.known else abs(found[HUMAN].mean()) <= 1e-12
            refused = "the interval of the ceiling holds 0" if zero else ""
        if refused:
            return self._row(explainer, DECREASE, "lower", found, note=refused)
        worse = found[HUMAN] - found[SCORE] if self.info.better == "higher" else found[SCORE] - found[HUMAN]
        value, limits = ratio(100 * worse, found[HUMAN], found.patients, self.evidence.seed)
        return self._row(explainer, DECREASE, "lower", found, value, limits, _method(limits))

    def _row(
        self, name: str, kind: str, better: Better | None, found: Films, value: float = np.nan,
        limits: Interval | None = None, note: str = "",
    ) -> SummaryRow:  # fmt: skip
        metric, score, region = self.place
        low, high = (limits.low, limits.high) if limits is not None and limits.known else (None, None)
        return SummaryRow(
            CEILING, score + kind, name, self.classifier, None, value, low, high, len(found.patients), found.excluded,
            better, note, metric, region, self.reference,
        )  # fmt: skip


def _method(limits: Interval) -> str:
    return f"{limits.method} over patients" if limits.known else "no interval (one patient, or no spread)"


def ratio(top: Float[Array, "n"], bottom: Float[Array, "n"], patients: Words, seed: int) -> tuple[float, Interval]:
    """The ratio of two means over the same films, and its bootstrap interval over patients.

    >>> ratio(np.array([1.0, 2, 3]), np.array([2.0, 4, 4]), np.array(["a", "b", "c"], object), 0)[0]
    0.6
    """
    tops, bottoms = patient_sums(top, patients)[0], patient_sums(bottom, patients)[0]

    def statistic(weights: Array) -> Array:
        below = weights @ bottoms
        found: Array = np.divide(weights @ tops, below, out=np.full(len(weights), np.nan), where=below != 0)
        return found

    return float(top.sum() / bottom.sum()), bootstrap(statistic, (len(top), len(tops)), seed=seed)
