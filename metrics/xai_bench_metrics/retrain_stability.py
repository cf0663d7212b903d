"""Retrain stability: does a retrained twin look at the same place?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Better, ClassifierCard, Evidence, Saliency, SummaryRow, Traits
from xai_bench.registry import summary
from xai_bench.saliency import constant, invalid, spearman, ssim, to_grid, top_k_iou
from xai_bench.seeding import generator
from xai_bench.statistics import interval

Pair = tuple[ClassifierCard, ClassifierCard]
Maps = Mapping[str, tuple[int, Tensor]]  # picture -> (target, map)
SCORES = ("ssim", "spearman", "top_k_iou")
CHUNK = 256  # pairs of maps compared at once: bounds the memory


@dataclass(frozen=True)
class Group:
    """Pairs of classifiers that share rows: twins of one classifier (`other` None), or replicates of two."""

    classifier: str
    other: str | None
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Lines:
    """Values, one line a picture and pair (columns pair, picture, patient, scores), and what was left out and why."""

    table: pd.DataFrame
    excluded: Mapping[str, int]


@dataclass(frozen=True)
class Aligned:
    """Both maps of the films on which a pair agrees, on one grid, and which of them hold NaN or are constant."""

    first: Saliency
    second: Saliency
    content: Bool[Tensor, "b h w"]
    invalid: Bool[Tensor, "b"]
    flat: Bool[Tensor, "b"]


@summary("retrain_stability", cite="Venkatesh et al. 2024; Arun et al. 2021; SSIM: Wang et al. 2004")
@dataclass(frozen=True)
class RetrainStability:
    """How alike the maps of retrained twins are on films where both predict the same class, beside a null band.

    `ssim`, `spearman` (signed) and `top_k_iou` (k = `share` of content, largest first) on the coarser of the two native
    grids, at most `grid` cells a side, for every pair of replicates of one classifier (repeatability) and of two
    (reproducibility). `*_null` compares with films of other patients of the same predicted class and view, `null_draws`
    each; its limits are the 2.5 and 97.5 percentiles of single pairs of maps. `agreeing_share` is the share of films on
    which a pair predicts the same class. Other intervals are over patients, conditional on these classifiers.
    """

    grid: int = 56
    share: float = 0.1
    null_draws: int = 4

    def __post_init__(self) -> None:
        if self.grid < 2 or not 0 < self.share < 1 or self.null_draws < 1:
            raise BadInput(f"{self}: use a grid of 2 cells or more, a share between 0 and 1, and 1 null draw or more.")

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Rows of every explainer."""
        rows = []
        for explainer in evidence.explainers:
            for group in groups(evidence.cards):
                pairs = [self._pair(evidence, explainer, pair) for pair in group.pairs]
                rows += _rows(explainer, group, pairs, evidence.seed)
        return rows

    def _pair(self, evidence: Evidence, explainer: str, pair: Pair) -> dict[str, Lines]:
        """Lines of one pair: `share` of agreement, `same` picture, `null`."""
        first, second = (evidence.maps(card.weights, explainer) for card in pair)
        films = _films(evidence.predictions, first, second, pair)
        agree = films[films.agreeing_share == 1].reset_index(drop=True)
        alone = {"no map of one classifier": len(first.keys() ^ second.keys())}
        lost = alone | {"predictions differ": len(films) - len(agree)}
        if agree.empty:
            return {"share": Lines(films, alone), "same": Lines(agree, lost), "null": Lines(agree, {})}
        both = self._aligned(evidence, pair, (first, second), list(agree.picture))
        span = 2.0 if Traits.of(evidence.explainers[explainer]).signed else 1.0
        everywhere = torch.arange(len(agree), device=both.content.device)
        same, lost_maps = _kept(agree, everywhere, self._alike(both, everywhere, everywhere, span), both)
        i, j = (n.to(everywhere.device) for n in partners(agree, same.index.to_numpy(), self.null_draws, evidence.seed))
        null, lost_null = _kept(agree, i, self._alike(both, i, j, span), both)
        lonely = {"no other patient of the class and view": len(same) - len(set(i.tolist()))}
        return {
            "share": Lines(films, alone),
            "same": Lines(same, lost | lost_maps),
            "null": Lines(null, lonely | lost_null),
        }

    def _aligned(self, evidence: Evidence, pair: Pair, maps: tuple[Maps, Maps], ids: Sequence[str]) -> Aligned:
        native = [torch.stack([found[i][1] for i in ids]).float() for found in maps]
        height, width = (min(self.grid, *sides) for sides in zip(*(m.shape[1:] for m in native), strict=True))
        bad, flat = (torch.stack([test(m) for m in native]).any(0) for test in (invalid, _flat))
        first, second = (to_grid(m.nan_to_num(0, 0, 0), (height, width)) for m in native)
        content = _content(evidence, pair, ids, (height, width)).to(first.device)
        return Aligned(first, second, content, bad, flat)

    def _alike(self, both: Aligned, i: Int[Tensor, "n"], j: Int[Tensor, "n"], span: float) -> Float[Tensor, "scores n"]:
        """The scores of the first maps `i` against the second maps `j`."""
        parts = [torch.empty(len(SCORES), 0, dtype=torch.float64, device=i.device)]
        for start in range(0, len(i), CHUNK):
            one, other = i[start : start + CHUNK], j[start : start + CHUNK]
            content = both.content[one] & both.content[other]
            x, y = _scaled(both.first[one], content), _scaled(both.second[other], content)
            parts.append(
                torch.stack([ssim(x, y, content, span), spearman(x, y, content), top_k_iou(x, y, content, self.share)])
            )
        return torch.cat(parts, 1)


def groups(cards: Sequence[ClassifierCard]) -> list[Group]:
    """Twins of each classifier, then replicates of each two classifiers, in the order of the cards."""
    names = list(dict.fromkeys(card.classifier for card in cards))
    of = {name: [card for card in cards if card.classifier == name] for name in names}
    twins = [Group(name, None, tuple(combinations(of[name], 2))) for name in names]
    return twins + [Group(a, b, tuple(product(of[a], of[b]))) for a, b in combinations(names, 2)]


def partners(
    films: pd.DataFrame, usable: NDArray[np.int64], draws: int, seed: int
) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"]]:
    """For each usable film (columns picture, patient, view, target), films of other patients of its class and view.

    Positions of the film and of its usable partner, `draws` each or as many as there are, seeded by (seed, picture id).
    """
    patient, picture = films.patient.to_numpy(), films.picture.to_numpy()
    kind = films.groupby(["target", "view"], sort=False).ngroup().to_numpy()
    i, j = [], []
    for film in usable.tolist():
        others = usable[(kind[usable] == kind[film]) & (patient[usable] != patient[film])]
        chosen = torch.randperm(len(others), generator=generator(seed, picture[film]))[:draws].numpy()
        i += [film] * len(chosen)
        j += others[chosen].tolist()
    return torch.tensor(i, dtype=torch.long), torch.tensor(j, dtype=torch.long)


def _films(predictions: pd.DataFrame, first: Maps, second: Maps, pair: Pair) -> pd.DataFrame:
    """The pictures of which both classifiers have a map; `agreeing_share` is 1 where both explain the same class."""
    ids = sorted(first.keys() & second.keys())
    known = predictions.drop_duplicates("picture").set_index("picture").reindex(ids)
    targets = [first[i][0] for i in ids]
    agree = [float(first[i][0] == second[i][0]) for i in ids]
    columns = {"patient": known.patient.astype(str).to_list(), "view": known["view"].astype(str).to_list()}
    label = f"{pair[0].replicate}/{pair[1].replicate}"
    return pd.DataFrame({"picture": ids, "pair": label, "target": targets, "agreeing_share": agree} | columns)


def _flat(maps: Saliency) -> Bool[Tensor, "b"]:
    return constant(maps, torch.ones_like(maps, dtype=torch.bool))


def _content(evidence: Evidence, pair: Pair, ids: Sequence[str], size: tuple[int, int]) -> Bool[Tensor, "b h w"]:
    """Grid cells of which at least half is content for both classifiers."""
    if evidence.content is None:
        return torch.ones(len(ids), *size, dtype=torch.bool)
    shown = [torch.stack(list(evidence.content(card.weights, ids))).float() for card in pair]
    first, second = (to_grid(mask, size) >= 0.5 for mask in shown)
    return first & second


def _scaled(maps: Saliency, content: Bool[Tensor, "b h w"]) -> Saliency:
    shown = maps * content
    return shown / shown.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def _kept(
    films: pd.DataFrame, i: Int[Tensor, "n"], values: Float[Tensor, "scores n"], both: Aligned
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Lines of the films `i` with their values, without those that have none, and how many that were."""
    bad = both.invalid[i]
    # A map can also be constant in the content only, or on the coarser grid: its rank correlation is undefined then.
    flat = ~bad & (both.flat[i] | values[SCORES.index("spearman")].isnan())
    columns = dict(zip(SCORES, values.double().cpu().numpy(), strict=True))
    table = films.iloc[i.tolist()].assign(**columns)[(~bad & ~flat).cpu().numpy()]
    return table, {"invalid map": int(bad.sum()), "constant map": int(flat.sum())}


def _rows(explainer: str, group: Group, pairs: Sequence[Mapping[str, Lines]], seed: int) -> list[SummaryRow]:
    better: Better | None = "higher" if group.other is None else None  # two classifiers may rightly look elsewhere
    rows = [_row("agreeing_share", explainer, group, _joined(pairs, "share"), seed)]
    for score in SCORES if group.pairs else ():
        rows.append(_row(score, explainer, group, _joined(pairs, "same"), seed, better))
        rows.append(_null_row(score, explainer, group, _joined(pairs, "null")))
    return rows


def _joined(pairs: Sequence[Mapping[str, Lines]], name: str) -> Lines:
    parts = [pair[name] for pair in pairs]
    tables = [part.table for part in parts if len(part.table)]
    reasons = dict.fromkeys(reason for part in parts for reason in part.excluded)
    counts = {reason: sum(part.excluded.get(reason, 0) for part in parts) for reason in reasons}
    return Lines(
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), {r: n for r, n in counts.items() if n}
    )


def _row(score: str, explainer: str, group: Group, lines: Lines, seed: int, better: Better | None = None) -> SummaryRow:
    who = ("retrain_stability", score, explainer, group.classifier, group.other)
    if lines.table.empty:
        why = "no film that counts" if group.pairs else "no twin: it has one replicate"
        return SummaryRow(*who, float("nan"), None, None, 0, lines.excluded, better, why)
    values = lines.table[score].to_numpy(float)
    found = interval(values, lines.table.patient.to_numpy(), score == "agreeing_share", seed=seed)
    each = lines.table.groupby("pair", sort=False)[score].mean()
    dots = ", ".join(f"{pair} {mean:.3f}" for pair, mean in each.items())
    low, high = (found.low, found.high) if found.known else (None, None)
    method = f"{found.method} over patients" if found.known else "no interval (one patient, or no spread)"
    note = f"{method}, conditional on these pairs of replicates: {dots}"
    return SummaryRow(
        *who, float(values.mean()), low, high, lines.table.picture.nunique(), lines.excluded, better, note
    )


def _null_row(score: str, explainer: str, group: Group, lines: Lines) -> SummaryRow:
    who = ("retrain_stability", f"{score}_null", explainer, group.classifier, group.other)
    if lines.table.empty:
        return SummaryRow(
            *who, float("nan"), None, None, 0, lines.excluded, None, "no two patients of one class and view"
        )
    values = lines.table[score].to_numpy(float)
    low, high = np.quantile(values, [0.025, 0.975])
    note = "other patients of the same class and view; limits: 2.5 and 97.5 percentiles of single pairs of maps"
    return SummaryRow(
        *who, float(values.mean()), float(low), float(high), lines.table.picture.nunique(), lines.excluded, None, note
    )
