"""Randomization check: are maps of a random network less like the map than maps of other patients are?"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import ClassifierCard, Evidence, Saliency, SummaryRow, Traits
from xai_bench.registry import summary
from xai_bench.saliency import ssim
from xai_bench.seeding import numpy_generator
from xai_bench.statistics import Interval, bootstrap, interval
from xai_bench_metrics._explained_again import grid_content, scaled

NAME, SCORE, THRESHOLD = "randomization_check", "randomization_ssim", "random_pairs_ssim"
ROUNDING = 1e-6  # two means nearer than this are equal: a map that is the same for all must not pass by its last bits
CHUNK = 16  # pairs of maps compared at once: bounds the memory
ABSENT = f"no score {SCORE}: the study lacks cascading_randomization, or it has no value here"
ALONE = "no two patients with usable maps"


@dataclass(frozen=True)
class Pairs:
    """The SSIM of pairs of maps, the two patients of each, and how many maps could not take part."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    ssim: Float[NDArray[np.float64], "pairs"]
    invalid: int


@summary(NAME, cite="Arun et al. 2021; Adebayo et al. 2018")
@dataclass(frozen=True)
class RandomizationCheck:
    """Whether a method passes: mean SSIM with the random network's maps below that of `pairs` random pairs of maps.

    `randomization_ssim` is the mean of that score of `cascading_randomization`; `random_pairs_ssim` the mean SSIM of
    pairs of the trained network's maps of different patients under the same rule (the explainer's grid, content of
    both), drawn by the study's seed, for each replicate; `passes` is 1 where the first is the smaller (Arun et al.
    2021). Intervals are over patients, conditional on these classifiers. A map that ignores the network fails; so does
    one that is nearly the same for all patients, whatever randomization does to it.
    """

    pairs: int = 50

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise BadInput(f"randomization_check: pairs is {self.pairs}; expected 1 or more, such as 50.")

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Three rows for each explainer, classifier and metric that made the score."""
        rows: list[SummaryRow] = []
        scored = evidence.rows
        for explainer in [name for name in evidence.explainers if (scored.explainer == name).any()]:
            for name in dict.fromkeys(card.classifier for card in evidence.cards):
                cards = [card for card in evidence.cards if card.classifier == name]
                pairs = {card.replicate: self._pairs(evidence, card, explainer) for card in cards}
                mine = scored[(scored.explainer == explainer) & (scored.classifier == name)]
                rows += _rows((explainer, name), mine[mine.score_name == SCORE], pairs, evidence.seed)
        return rows

    def _pairs(self, evidence: Evidence, card: ClassifierCard, explainer: str) -> Pairs:
        maps = {i: found[1].float() for i, found in sorted(evidence.maps(card.weights, explainer).items())}
        usable = [i for i, one in maps.items() if bool(one.isfinite().all())]
        ids = [usable[n] for n in numpy_generator(evidence.seed, "random pairs").permutation(len(usable))]
        patient = evidence.predictions.drop_duplicates("picture").set_index("picture").patient.astype(str)
        drawn = list(islice(_different([patient[i] for i in ids]), self.pairs))
        first, second = ([ids[pair[side]] for pair in drawn] for side in (0, 1))
        span = 2.0 if Traits.of(evidence.explainers[explainer]).signed else 1.0
        values = [np.empty(0)]
        for start in range(0, len(drawn), CHUNK):
            (x, inside), (y, also) = (
                _side(evidence, card, maps, side[start : start + CHUNK]) for side in (first, second)
            )
            content = inside & also
            found = ssim(scaled(x, content), scaled(y, content), content, span)
            values.append(found.double().cpu().numpy())
        one, other = (tuple(patient[i] for i in side) for side in (first, second))
        return Pairs(one, other, np.concatenate(values), len(maps) - len(usable))


def _different(patients: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Places of two patients' films, neighbors first: each film comes equally often before any comes more often."""
    for gap in range(1, len(patients)):
        for i in range(len(patients) - gap):
            if patients[i] != patients[i + gap]:
                yield i, i + gap


def _side(
    evidence: Evidence, card: ClassifierCard, maps: Mapping[str, Tensor], ids: Sequence[str]
) -> tuple[Saliency, Bool[Tensor, "n h w"]]:
    """These films' maps, and where they count."""
    stacked = torch.stack([maps[i] for i in ids])
    if evidence.content is None:
        return stacked, torch.ones_like(stacked, dtype=torch.bool)
    shown = torch.stack(list(evidence.content(card.weights, ids)))
    return stacked, grid_content(shown, (stacked.shape[1], stacked.shape[2])).to(stacked.device)


def _rows(who: tuple[str, str], mine: pd.DataFrame, pairs: Mapping[int, Pairs], seed: int) -> list[SummaryRow]:
    """The rows of one explainer and classifier; `mine` are its scores, of one metric or of several."""
    rows = []
    for label, part in mine.groupby("metric", sort=False) if len(mine) else [("", mine)]:
        good = part[part.status == "ok"]
        score, threshold = _score_row(who, part, good, seed), _pairs_row(who, pairs, seed)
        rows += [replace(row, metric=str(label)) for row in (score, threshold, _verdict(score, threshold, good, pairs))]
    return rows


def _score_row(who: tuple[str, str], part: pd.DataFrame, good: pd.DataFrame, seed: int) -> SummaryRow:
    lost = {str(reason): int(n) for reason, n in part[part.status != "ok"].reason.value_counts().items()}
    if good.empty:
        return SummaryRow(NAME, SCORE, *who, None, math.nan, None, None, 0, lost, "lower", ABSENT)
    values = good.score.to_numpy(float)
    found = interval(values, good.patient.to_numpy(), False, seed=seed)
    return SummaryRow(
        NAME, SCORE, *who, None, float(values.mean()), *_limits(found), good.picture.nunique(), lost, "lower",
        f"{_method(found)}, conditional on these replicates",
    )  # fmt: skip


def _pairs_row(who: tuple[str, str], pairs: Mapping[int, Pairs], seed: int) -> SummaryRow:
    """The threshold; a pair counts as often as both its patients are drawn."""
    lost = {"invalid map": n} if (n := sum(found.invalid for found in pairs.values())) else {}
    values = np.concatenate([found.ssim for found in pairs.values()])
    if not values.size:
        return SummaryRow(NAME, THRESHOLD, *who, None, math.nan, None, None, 0, lost, None, ALONE)
    names = [name for found in pairs.values() for name in found.first]
    names += [name for found in pairs.values() for name in found.second]
    known, code = np.unique(names, return_inverse=True)
    one, other = np.split(code, 2)

    def mean(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        both = weights[:, one] * weights[:, other]
        with np.errstate(invalid="ignore"):  # a draw without any pair has no mean
            return np.asarray((both @ values) / both.sum(1))

    found = bootstrap(mean, (values.size, known.size), seed=seed)
    note = f"{_method(found)}; n counts pairs of maps of different patients"
    return SummaryRow(NAME, THRESHOLD, *who, None, float(values.mean()), *_limits(found), values.size, lost, None, note)


def _verdict(score: SummaryRow, threshold: SummaryRow, good: pd.DataFrame, pairs: Mapping[int, Pairs]) -> SummaryRow:
    who = (score.explainer, score.classifier, None)
    missing = score.note if math.isnan(score.value) else threshold.note if math.isnan(threshold.value) else ""
    if missing:
        return SummaryRow(NAME, "passes", *who, math.nan, None, None, 0, {}, "higher", missing)
    means = good.groupby("replicate").score.mean()
    known = {r: pairs[r].ssim.mean() for r in means.index if pairs[r].ssim.size}
    each = [f"{r} {'passes' if means[r] < limit - ROUNDING else 'fails'}" for r, limit in known.items()]
    note = f"{score.value:.3f} against {threshold.value:.3f}; each replicate: {', '.join(each)}"
    passes = float(score.value < threshold.value - ROUNDING)
    return SummaryRow(NAME, "passes", *who, passes, None, None, score.n, {}, "higher", note)


def _method(found: Interval) -> str:
    return f"{found.method} over patients" if found.known else "no interval (one patient, or no spread)"


def _limits(found: Interval) -> tuple[float | None, float | None]:
    return (found.low, found.high) if found.known else (None, None)
