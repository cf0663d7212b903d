"""Retrain stability: does a retrained twin look at the same place?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from xai_bench.errors import BadInput
from xai_bench.protocols import Better, ClassifierCard, Evidence, SummaryRow
from xai_bench.registry import summary
from xai_bench.seeding import numpy_generator
from xai_bench.similarity import SCORES
from xai_bench.spec import spec_of
from xai_bench.statistics import Interval
from xai_bench_metrics._pair_interval import T_PAIRS, pair_interval
from xai_bench_metrics._twin_maps import Gather, Indices, TwinMaps, by_classifier, methods, repeats

NAME = "retrain_stability"
SHARE, GAP = "agreeing_share", "accuracy_gap"
Films = Int[NDArray[np.int64], "_"]  # as many as each pair has
SPEARMAN = SCORES.index("spearman")
BAND = (0.025, 0.975)


@dataclass(frozen=True)
class Group:
    """Pairs of classifiers that share rows: twins of one classifier (`other` None), or twins of two."""

    classifier: str
    other: str | None
    cards: tuple[ClassifierCard, ...]
    pairs: tuple[tuple[int, int], ...]  # of `cards`

    @property
    def folds(self) -> bool:
        """Whether twins learned from folds, which share films: no number of them is a sample of twins."""
        return any(card.fold is not None for card in self.cards)


@dataclass(frozen=True, eq=False)
class Lines:
    """One line a comparison: which pair, of which film (and its patient), its scores, and what was left out and why."""

    pair: Indices
    films: Indices
    patients: NDArray[Any]
    values: Float64[NDArray[np.float64], "s k"]
    excluded: Mapping[str, int] = field(default_factory=dict)


@summary(NAME, cite="Venkatesh et al. 2024; Arun et al. 2021; SSIM: Wang et al. 2004")
@dataclass(frozen=True)
class RetrainStability:
    """How alike the maps of retrained twins are on films where both predict the same class, beside null and floor.

    `ssim`, `spearman` (signed), `spearman_absolute` and `top_k_iou` (k = `share` of content, largest first) on the
    coarser native grid, at most `grid` cells a side, for every pair of twins of one classifier (repeatability) and of
    two (reproducibility); `*_pair` is one pair's mean, its replicates in the note. `*_null` compares with films of
    other patients of the same predicted class and view, `null_draws` each; its limits are the 2.5 and 97.5 percentiles
    of single comparisons, and `*_passes` is the share of comparisons of twins above the upper one. `*_floor` compares
    repeat runs of the explainer on the same classifier; exactly 1 for a method without a seed. `agreeing_share`: films
    on which a pair predicts the same class; `accuracy_gap`: mean |difference| of accuracies over pairs.

    Intervals are over patients, conditional on these twins; from 5 twins on over patients and twins, folds excepted.
    """

    grid: int = 56
    share: float = 0.1
    null_draws: int = 4

    def __post_init__(self) -> None:
        if self.grid < 2 or not 0 < self.share < 1 or self.null_draws < 1:
            raise BadInput(f"{self}: use a grid of 2 cells or more, a share between 0 and 1, and 1 null draw or more.")

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Rows of every explainer."""
        gather, found = Gather(evidence, self.grid), groups(evidence)
        return [
            row
            for method in methods(evidence)
            for group in found
            for row in (*self._twins(gather, method, group), *self._floor(gather, method, group))
        ]

    def _twins(self, gather: Gather, method: str, group: Group) -> Iterator[SummaryRow]:
        """Rows of pairs of classifiers."""
        write = Writer(method, group, gather.evidence.seed)
        if not group.pairs:
            yield write.missing(SHARE, "no twin: it has one replicate")
            return
        seen = gather([(card, method) for card in group.cards])
        yield write.mean(SHARE, _agreement(seen, group.pairs), 0, binary=True)
        yield write.accuracy_gap()
        same, usable = self._same_film(seen, group.pairs)
        null = self._other_films(seen, group.pairs, usable, gather.evidence.seed)
        better: Better | None = "higher" if group.other is None else None  # two classifiers may rightly look elsewhere
        for at, score in enumerate(SCORES):
            band = write.band(score, null, at)
            yield write.mean(score, same, at, better)
            yield band
            yield write.passes(score, same, at, band.high, better)
            yield from write.each_pair(score, same, at)

    def _floor(self, gather: Gather, method: str, group: Group) -> Iterator[SummaryRow]:
        """Rows of the same classifier explained twice."""
        if group.other is not None:
            return
        write, runs = Writer(method, group, gather.evidence.seed), [method, *repeats(gather.evidence, method)]
        if len(runs) > 1:
            seen = gather([(card, run) for card in group.cards for run in runs])
            firsts = range(0, len(seen.maps), len(runs))
            same, _ = self._same_film(seen, [(n, n + m) for n in firsts for m in range(1, len(runs))])
            yield from (write.mean(f"{score}_floor", same, at, conditional=True) for at, score in enumerate(SCORES))
        elif deterministic(gather.evidence.explainers[method]):
            films = len({i for card in group.cards for i in gather.evidence.maps(card.weights, method)})
            yield from (write.row(f"{score}_floor", 1.0, films, note="deterministic") for score in SCORES)

    def _same_film(self, seen: TwinMaps, pairs: Sequence[tuple[int, int]]) -> tuple[Lines, list[Films]]:
        """Two maps of one film where both explain the same class, and the films of each pair that can be compared."""
        a, b = np.array(pairs).T
        present = seen.present[a] & seen.present[b]
        agree = present & (seen.targets[a] == seen.targets[b])
        bad, flat = (agree & (kind[a] | kind[b]) for kind in (seen.invalid, seen.flat & ~seen.invalid))
        pair, films = np.nonzero(agree & ~bad & ~flat)
        values = seen.alike((a[pair], b[pair]), (films, films), self.share)
        # A map can also be constant in the content only, or on the coarser grid: it has no rank correlation then.
        varied = ~np.isnan(values[SPEARMAN])
        pair, films, values = pair[varied], films[varied], values[:, varied]
        excluded = {
            "no map of one classifier": int((seen.present[a] ^ seen.present[b]).sum()),
            "predictions differ": int((present & ~agree).sum()),
            "invalid map": int(bad.sum()),
            "constant map": int((flat & ~bad).sum() + (~varied).sum()),
        }
        return Lines(pair, films, seen.patients[films], values, excluded), [films[pair == p] for p in range(len(a))]

    def _other_films(
        self, seen: TwinMaps, pairs: Sequence[tuple[int, int]], usable: Sequence[Films], seed: int
    ) -> Lines:
        """One twin's map of a film, the other's of another patient's film."""
        views = np.unique(seen.views, return_inverse=True)[1]
        drawn, lonely = [], 0
        for n, ((a, b), films) in enumerate(zip(pairs, usable, strict=True)):
            kinds = seen.targets[a] * (len(views) + 1) + views
            i, j = partners(films, kinds, seen.patients, seen.pictures, (self.null_draws, seed))
            lonely += len(films) - len(np.unique(i))
            drawn.append(np.stack([np.full_like(i, n), np.full_like(i, a), np.full_like(i, b), i, j]))
        pair, a, b, i, j = np.concatenate(drawn, 1)
        values = seen.alike((a, b), (i, j), self.share)
        kept = ~np.isnan(values[SPEARMAN])
        excluded = {"no other patient of the class and view": lonely, "constant map": int((~kept).sum())}
        return Lines(pair[kept], i[kept], seen.patients[i[kept]], values[:, kept], excluded)


def groups(evidence: Evidence) -> list[Group]:
    """Twins of each classifier, then twins of each two classifiers, in the order of the cards."""
    of = by_classifier(evidence)
    found = [Group(name, None, cards, tuple(combinations(range(len(cards)), 2))) for name, cards in of.items()]
    for a, b in combinations(of, 2):
        first, second = range(len(of[a])), range(len(of[a]), len(of[a]) + len(of[b]))
        found.append(Group(a, b, (*of[a], *of[b]), tuple(product(first, second))))
    return found


def partners(
    films: Int[NDArray[np.int64], "f"],
    kinds: Int[NDArray[np.int64], "n"],
    patients: NDArray[Any],
    pictures: Sequence[str],
    draws: tuple[int, int],
) -> tuple[Indices, Indices]:
    """For each of `films`, others of them of the same kind (class and view) and another patient: (film, other).

    `draws` = (how many each, or as many as there are; seed); they depend on (seed, picture id).
    """
    i, j = [films[:0]], [films[:0]]
    for film in films:
        others = films[(kinds[films] == kinds[film]) & (patients[films] != patients[film])]
        chosen = numpy_generator(draws[1], pictures[film]).permutation(others)[: draws[0]]
        i.append(np.full_like(chosen, film))
        j.append(chosen)
    return np.concatenate(i), np.concatenate(j)


def deterministic(explainer: Any) -> bool:
    """Whether nothing in an explainer's specification is a seed: a second run gives the same map."""
    return not _has_seed(spec_of(explainer))


def _has_seed(spec: Any) -> bool:
    if isinstance(spec, Mapping):
        seed = spec.get("seed")
        return (isinstance(seed, int) and not isinstance(seed, bool)) or any(map(_has_seed, spec.values()))
    return isinstance(spec, list) and any(map(_has_seed, spec))


def _agreement(seen: TwinMaps, pairs: Sequence[tuple[int, int]]) -> Lines:
    """1 where both explain the same class, 0 where they do not."""
    a, b = np.array(pairs).T
    pair, films = np.nonzero(seen.present[a] & seen.present[b])
    same = (seen.targets[a[pair], films] == seen.targets[b[pair], films]).astype(float)
    alone = {"no map of one classifier": int((seen.present[a] ^ seen.present[b]).sum())}
    return Lines(pair, films, seen.patients[films], same[None], alone)


@dataclass(frozen=True)
class Writer:
    """Makes the rows of one explainer and one group."""

    method: str
    group: Group
    seed: int

    def row(self, score: str, value: float, n: int, **more: Any) -> SummaryRow:
        """A row; without an interval unless `more` has one."""
        who = (self.method, self.group.classifier, self.group.other)
        return SummaryRow(NAME, score, *who, value, **({"low": None, "high": None, "n": n} | more))

    def missing(self, score: str, why: str, excluded: Mapping[str, int] | None = None, **more: Any) -> SummaryRow:
        """A row that says why there is no value."""
        return self.row(score, float("nan"), 0, note=why, exclusions=dict(excluded or {}), **more)

    def mean(
        self, score: str, lines: Lines, at: int, better: Better | None = None, *,
        binary: bool = False, conditional: bool = False,
    ) -> SummaryRow:  # fmt: skip
        """The mean over films and pairs."""
        known, excluded = _defined(lines, at)
        if not known.any():
            return self.missing(score, "no film that counts", excluded, better=better)
        values, films = lines.values[at, known], lines.films[known]
        found = self._interval(values, lines, known, binary, conditional)
        low, high = (found.low, min(found.high, 1.0)) if found.known else (None, None)
        about = {"low": low, "high": high, "exclusions": excluded, "better": better, "note": self._said(found)}
        return self.row(score, float(values.mean()), len(np.unique(films)), **about)

    def _interval(
        self, values: NDArray[np.float64], lines: Lines, known: NDArray[np.bool_], binary: bool, conditional: bool
    ) -> Interval:
        ends = np.array(self.group.pairs or [(0, 0)])
        pair = np.zeros_like(lines.pair[known]) if conditional or self.group.folds else lines.pair[known]
        twins = (ends[pair, 0], ends[pair, 1])
        crossed = self.group.other is not None
        return pair_interval(values, lines.patients[known], twins, crossed=crossed, binary=binary, seed=self.seed)

    def _said(self, found: Interval) -> str:
        if not found.known:
            return "no interval (one patient, or no spread)"
        if found.method == T_PAIRS:
            return f"{found.method} and patients: these twins are a sample of twins"
        folds = "; folds share films and are not independent" if self.group.folds else ""
        return f"{found.method} over patients, conditional on these twins{folds}"

    def band(self, score: str, lines: Lines, at: int) -> SummaryRow:
        """Mean and percentiles of single comparisons of unrelated films."""
        known, excluded = _defined(lines, at)
        if not known.any():
            return self.missing(f"{score}_null", "no two patients of one class and view", excluded)
        values, films = lines.values[at, known], len(np.unique(lines.films[known]))
        low, high = (float(limit) for limit in np.quantile(values, BAND))
        note = "other patients of the same class and view; limits: 2.5 and 97.5 percentiles of single comparisons"
        about = {"low": low, "high": high, "exclusions": excluded, "note": note}
        return self.row(f"{score}_null", float(values.mean()), films, **about)

    def passes(self, score: str, lines: Lines, at: int, limit: float | None, better: Better | None) -> SummaryRow:
        """The share of comparisons that lie above the null band."""
        if limit is None:
            return self.missing(f"{score}_passes", "no null band", better=better)
        above = np.where(np.isnan(lines.values[at]), np.nan, lines.values[at] > limit)
        shares = Lines(lines.pair, lines.films, lines.patients, above[None], lines.excluded)
        return self.mean(f"{score}_passes", shares, 0, better, binary=True)

    def each_pair(self, score: str, lines: Lines, at: int) -> Iterator[SummaryRow]:
        """The mean over films of each pair of twins."""
        known, _ = _defined(lines, at)
        for n, (a, b) in enumerate(self.group.pairs):
            mine = known & (lines.pair == n)
            if mine.any():
                note = f"{self.group.cards[a].replicate}-{self.group.cards[b].replicate}"
                yield self.row(f"{score}_pair", float(lines.values[at, mine].mean()), int(mine.sum()), note=note)

    def accuracy_gap(self) -> SummaryRow:
        """How much the accuracies of a pair differ, in the mean over pairs."""
        cards = self.group.cards
        gaps = [
            abs(first - second)
            for first, second in ((cards[a].accuracy, cards[b].accuracy) for a, b in self.group.pairs)
            if first is not None and second is not None
        ]
        if not gaps:
            return self.missing(GAP, "accuracies are not known")
        known = [f"{card.accuracy:.3f}" for card in cards if card.accuracy is not None]
        return self.row(GAP, float(np.mean(gaps)), len(gaps), note=f"accuracies {', '.join(known)}; n is pairs")


def _defined(lines: Lines, at: int) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Which lines have this score, and what was left out of them."""
    known = ~np.isnan(lines.values[at])
    counts = Counter(lines.excluded) + Counter({"score undefined": int((~known).sum())})
    return known, dict(counts)
