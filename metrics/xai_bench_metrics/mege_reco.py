"""MeGe and ReCo: do the maps of retrained twins agree where both are right, and differ where one is wrong?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from xai_bench.errors import BadInput
from xai_bench.protocols import ClassifierCard, Evidence, SummaryRow
from xai_bench.registry import summary
from xai_bench.statistics import Array, bootstrap
from xai_bench_metrics._twin_maps import Gather, TwinMaps, by_classifier, methods

NAME = "mege_reco"
CONDITIONAL = "over patients, conditional on these twins"
BLOCK = 1 << 22  # weights of lines held at once


@dataclass(frozen=True, eq=False)
class Distances:
    """One line a pair of twins and film: distance of the maps, whether both are right (else exactly one), patient."""

    distance: Float64[NDArray[np.float64], "k"]
    agreeing: Bool[NDArray[np.bool_], "k"]
    patients: NDArray[Any]
    films: NDArray[np.int64]
    excluded: Mapping[str, int]


@summary(NAME, cite="Fel et al. 2020, arXiv:2009.04521")
@dataclass(frozen=True)
class MegeReco:
    """Mean generalizability and relative consistency of maps over twins of one classifier, in [0, 1].

    Spearman distance d = sqrt(1 - |rank correlation|) of every two twins, on the coarser native grid, at most `grid`
    cells a side. `mege` = 1 / (1 + mean d) where both twins are right; `reco` = the largest TPR + TNR - 1 with which a
    threshold on d tells the films where both are right from those where exactly one is. Fel et al. explain the label;
    here each map explains what its twin predicts, which is the label wherever the twin is right.
    """

    grid: int = 56

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise BadInput(f"{self}: use a grid of 2 cells or more.")

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Rows of every explainer and classifier."""
        gather, found = Gather(evidence, self.grid), by_classifier(evidence)
        return [
            row for method in methods(evidence) for cards in found.values() for row in self._rows(gather, method, cards)
        ]

    def _rows(self, gather: Gather, method: str, cards: Sequence[ClassifierCard]) -> list[SummaryRow]:
        who = (method, cards[0].classifier, None)
        if len(cards) < 2:
            note = "no twin: it has one replicate"
            return [
                SummaryRow(NAME, s, *who, float("nan"), None, None, 0, {}, "higher", note) for s in ("mege", "reco")
            ]
        lines = _distances(gather.evidence, gather([(card, method) for card in cards]), cards)
        agreeing = int(lines.agreeing.sum())
        sizes = f"{agreeing} comparisons where both are right, {len(lines.agreeing) - agreeing} where one is"
        rows = []
        both = agreeing * (len(lines.films) - agreeing)
        for score, statistic, enough in (("mege", _mege, agreeing), ("reco", _reco, both)):
            if not enough:
                row = SummaryRow(NAME, score, *who, float("nan"), None, None, 0, lines.excluded, "higher", sizes)
            else:
                row = SummaryRow(NAME, score, *who, **_measured(statistic, lines, gather.evidence.seed, sizes))
            rows.append(row)
        return rows


def _distances(evidence: Evidence, seen: TwinMaps, cards: Sequence[ClassifierCard]) -> Distances:
    """Distances of all pairs of twins on the films where at least one of the two is right."""
    right, labeled = _right(evidence, seen, cards)
    a, b = np.array(list(combinations(range(len(cards)), 2))).T
    present = seen.present[a] & seen.present[b]
    known = present & labeled
    asked = known & (right[a] | right[b])
    sound = asked & seen.sound[a] & seen.sound[b]
    pair, films = np.nonzero(sound)
    correlation = seen.alike((a[pair], b[pair]), (films, films), scores=("spearman",))[0]
    varied = ~np.isnan(correlation)
    pair, films = pair[varied], films[varied]
    excluded = {
        "no map of one classifier": int((seen.present[a] ^ seen.present[b]).sum()),
        "no label": int((present & ~labeled).sum()),
        "both are wrong": int((known & ~asked).sum()),
        "invalid or constant map": int((asked & ~sound).sum() + (~varied).sum()),
    }
    distance = np.sqrt(np.maximum(1 - np.abs(correlation[varied]), 0))
    agreeing = right[a[pair], films] & right[b[pair], films]
    return Distances(distance, agreeing, seen.patients[films], films, {r: n for r, n in excluded.items() if n})


def _right(
    evidence: Evidence, seen: TwinMaps, cards: Sequence[ClassifierCard]
) -> tuple[Bool[NDArray[np.bool_], "t n"], Bool[NDArray[np.bool_], "n"]]:
    """Whether each twin's explained class is the film's label, and which films have a label."""
    table = evidence.predictions
    table = table[table.label.notna()]
    hits = (table.label == table.prediction).tolist()
    said = dict(zip(zip(table.weights, table.picture, table.target, strict=True), hits, strict=True))
    right = [
        [bool(said.get((card.weights, i, target), False)) for i, target in zip(seen.pictures, targets, strict=True)]
        for card, targets in zip(cards, seen.targets.tolist(), strict=True)
    ]
    return np.array(right), np.isin(np.array(seen.pictures), table.picture.unique())


def _measured(statistic: Any, lines: Distances, seed: int, sizes: str) -> dict[str, Any]:
    """The value and its interval, as fields of a row."""
    code = np.unique(lines.patients, return_inverse=True)[1]
    patients = int(code.max()) + 1

    def weighted(weights: Array) -> Array:
        size = max(1, BLOCK // len(code))
        parts = [statistic(weights[n : n + size][:, code], lines) for n in range(0, len(weights), size)]
        return np.concatenate(parts)

    found = bootstrap(weighted, (len(code), patients), seed=seed)
    low, high = (found.low, found.high) if found.known else (None, None)
    method = f"{found.method} {CONDITIONAL}" if found.known else "no interval (one patient, or no spread)"
    value = float(weighted(np.ones((1, patients)))[0])
    about = {"n": len(np.unique(lines.films)), "exclusions": lines.excluded, "better": "higher"}
    return {"value": value, "low": low, "high": high, "note": f"{sizes}; {method}"} | about


def _mege(weights: Array, lines: Distances) -> Array:
    """For each row of weights of lines; NaN where no line with both right has weight."""
    mine = weights[:, lines.agreeing]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Array = (mine @ lines.distance[lines.agreeing]) / mine.sum(1)
    return 1 / (1 + mean)


def _reco(weights: Array, lines: Distances) -> Array:
    """For each row of weights of lines; NaN where one of the two kinds has no weight."""
    order = np.argsort(lines.distance, kind="stable")
    last = np.append(np.diff(lines.distance[order]) > 0, True)  # thresholds lie between different distances
    weights, agreeing = weights[:, order], lines.agreeing[order]
    with np.errstate(invalid="ignore", divide="ignore"):
        below = [
            np.cumsum(weights * kind, 1) / (weights @ kind.astype(float))[:, None] for kind in (agreeing, ~agreeing)
        ]
    best: Array = np.maximum((below[0] - below[1])[:, last].max(1), 0)  # TPR - (1 - TNR); 0 below the least distance
    return best
