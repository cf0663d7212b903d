"""Variance components: how much of a map belongs to the picture, to the training run, and to the explainer's chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import ClassifierCard, Evidence, Saliency, SummaryRow
from xai_bench.registry import summary
from xai_bench.saliency import constant, invalid, to_grid
from xai_bench.spec import spec_of
from xai_bench.variance import (
    BOTH,
    CONSISTENCY,
    FOLD,
    ICC,
    INTERACTION,
    NOISE,
    PICTURE,
    REPEAT,
    TWIN,
    Decomposition,
    Design,
    variance_parts,
)

Maps = Mapping[str, tuple[int, Tensor]]  # picture -> (target, map)
SCORES = {
    PICTURE: "share_picture",
    FOLD: "share_fold",
    TWIN: "share_twin",
    INTERACTION: "share_picture_twin",
    BOTH: "share_picture_twin_and_noise",
    NOISE: "share_noise",
    ICC: "icc",
    CONSISTENCY: "icc_consistency",
}


@dataclass(frozen=True)
class Twins:
    """Replicates of one classifier in the order of the design's axes, and what is to be said of that."""

    cards: tuple[ClassifierCard, ...]
    design: Design
    sizes: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True)
class Repeats:
    """Runs of one explainer by label, each with another seed, and whether chance plays a part in it at all."""

    label: str
    runs: tuple[str, ...]
    random: bool


@dataclass(frozen=True)
class Gathered:
    """Maps of the pictures that count (pictures, twins x runs, cells), and how many do not, by reason."""

    maps: Float[NDArray[np.float64], "pictures runs cells"]
    patients: tuple[str, ...]
    excluded: Mapping[str, int]


@summary("variance_components", cite="Searle, Casella & McCulloch 1992; ICC: Shrout & Fleiss 1979")
@dataclass(frozen=True)
class VarianceComponents:
    """Shares of a map's variance over pictures, training runs and repeated runs of the explainer, on common pictures.

    Maps on the coarser of the native grids, at most `grid` cells a side, divided by their norm inside content, of the
    pictures for which all twins predict one class. Shares are of the sum over cells. `share_picture`: what all twins
    show alike of a picture; `share_twin`: what a twin shows in all pictures; `share_fold`, where folds and training
    seeds are crossed or seeds nested in folds; `share_picture_twin`: what one twin (or fold) shows of one picture.
    `share_noise`: the explainer's own chance, exactly 0 for one without a `seed`, otherwise known only from repeated
    runs (`lime#2`); without them it is in `share_picture_twin_and_noise` and, as twins are explained with one seed, in
    the picture's share too. `icc`: absolute agreement of single twins; `icc_consistency`: the same when what a twin
    does alike to all pictures does not count. Intervals are over patients, conditional on the twins.
    """

    grid: int = 56

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise BadInput(f"grid is {self.grid}; use 2 cells or more.")

    def __call__(self, evidence: Evidence) -> Sequence[SummaryRow]:
        """Rows of every explainer and classifier."""
        names = dict.fromkeys(card.classifier for card in evidence.cards)
        groups = [twins([card for card in evidence.cards if card.classifier == name]) for name in names]
        found = []
        for explainer in repeats(evidence):
            for group in groups:
                found += self._rows(evidence, explainer, group)
        return found

    def _rows(self, evidence: Evidence, explainer: Repeats, group: Twins) -> list[SummaryRow]:
        who = (explainer.label, group.cards[0].classifier)
        if len(group.cards) < 2:
            return [_missing(who, {}, "no twin: it has one replicate")]
        gathered = self._gathered(evidence, explainer, group)
        if len(gathered.maps) < 2:
            return [_missing(who, gathered.excluded, "fewer than two films that count")]
        design, sizes = group.design, group.sizes
        if len(explainer.runs) > 1:  # a picture's randomness is (seed, picture): common to all twins
            design = Design((*design.factors, REPEAT), {**design.within, REPEAT: (PICTURE,)})
            sizes = (*sizes, len(explainer.runs))
        values = gathered.maps.reshape(len(gathered.maps), *sizes, -1)
        once = explainer.random and len(explainer.runs) == 1
        found = variance_parts(values, design, gathered.patients, separable=not once, seed=evidence.seed)
        if np.isnan(found.values[ICC]):
            return [_missing(who, gathered.excluded, "all maps are equal")]
        return list(_values(who, found, gathered.excluded, explainer, group))

    def _gathered(self, evidence: Evidence, explainer: Repeats, group: Twins) -> Gathered:
        tables = [evidence.maps(card.weights, run) for card in group.cards for run in explainer.runs]
        seen = set[str]().union(*tables)
        every = sorted(seen.intersection(*tables))
        ids = [i for i in every if len({table[i][0] for table in tables}) == 1]
        lost = {"no map of one twin": len(seen) - len(every), "predictions differ": len(every) - len(ids)}
        bad, flat = torch.zeros(2, len(ids), dtype=torch.bool)
        maps: NDArray[np.float64] = np.zeros((0, len(tables), 0))
        if ids:
            size = _common([table[ids[0]][1] for table in tables], self.grid)
            content = _content(evidence, group.cards, ids, size)
            maps = np.empty((len(ids), len(tables), size[0] * size[1]))
            for n, table in enumerate(tables):
                native = torch.stack([table[i][1] for i in ids]).float().cpu()
                bad |= invalid(native)
                scaled, same = normalized(to_grid(native.nan_to_num(0, 0, 0), size), content)
                flat |= same | constant(native, torch.ones_like(native, dtype=torch.bool))
                maps[:, n] = scaled.flatten(1).numpy()
        lost |= {"invalid map": int(bad.sum()), "constant map": int((flat & ~bad).sum())}
        kept = (~bad & ~flat).numpy()
        known = evidence.predictions.drop_duplicates("picture").set_index("picture").patient.astype(str)
        patients = tuple(known.loc[[i for i, keep in zip(ids, kept, strict=True) if keep]])
        return Gathered(maps[kept], patients, {why: n for why, n in lost.items() if n})


def twins(cards: Sequence[ClassifierCard]) -> Twins:
    """The factors in which replicates differ: fold and seed where the two can be told apart, else `twin`."""
    folds, seeds = {c.fold for c in cards}, {c.train_seed for c in cards}
    count, per = len(cards), len(cards) // len(folds)
    ordered = tuple(sorted(cards, key=lambda c: (str(c.fold), str(c.train_seed), c.replicate)))
    balanced = all(sum(c.fold == f for c in cards) == per for f in folds) and len(folds) > 1 and per > 1
    if not balanced or None in folds:
        note = "" if len(folds) == 1 else "; twins differ in fold and seed, which this design cannot tell apart"
        return Twins(tuple(cards), Design((TWIN,)), (count,), note)
    sizes = (len(folds), per)
    if len(seeds) == per and len({(c.fold, c.train_seed) for c in cards}) == count:
        return Twins(ordered, Design((FOLD, TWIN)), sizes, "; folds and training seeds are crossed")
    return Twins(ordered, Design((FOLD, TWIN), {TWIN: (FOLD,)}), sizes, "; training seeds are nested in folds")


def repeats(evidence: Evidence) -> list[Repeats]:
    """The explainers with their repeated runs, called `label#2` and so on; equal runs count once."""
    runs: dict[str, list[str]] = {}
    for label in evidence.explainers:
        base = label.partition("#")[0]
        runs.setdefault(base if base in evidence.explainers else label, []).append(label)
    found = []
    for label, own in runs.items():
        specs = [spec_of(evidence.explainers[run]) for run in own]
        random = _seeded(specs[0])
        distinct = [run for n, run in enumerate(own) if specs[n] not in specs[:n]] if random else [label]
        found.append(Repeats(label, tuple(distinct), random))
    return found


def _seeded(value: object) -> bool:
    """Whether a whole number called `seed` is among a specification's fields, or those of what is in them."""
    if isinstance(value, Mapping):
        own = value.get("seed")
        return (isinstance(own, int) and not isinstance(own, bool)) or any(map(_seeded, value.values()))
    return isinstance(value, list) and any(map(_seeded, value))


def normalized(maps: Saliency, content: Bool[Tensor, "b h w"]) -> tuple[Saliency, Bool[Tensor, "b"]]:
    """Maps over their Euclidean norm inside content, 0 outside; and which are constant there.

    >>> normalized(torch.tensor([[[3.0, 4.0]]]), torch.ones(1, 1, 2, dtype=torch.bool))[0].tolist()
    [[[0.6000000238418579, 0.800000011920929]]]
    """
    shown = maps * content
    largest = shown.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    shown = shown / largest  # squares of tiny numbers would vanish
    norm = shown.square().sum((1, 2), keepdim=True).sqrt()
    return shown / norm.clamp(min=torch.finfo(maps.dtype).tiny), constant(maps, content)


def _common(maps: Sequence[Tensor], grid: int) -> tuple[int, int]:
    height, width = (min(grid, *(m.shape[axis] for m in maps)) for axis in (0, 1))
    return height, width


def _content(
    evidence: Evidence, cards: Sequence[ClassifierCard], ids: Sequence[str], size: tuple[int, int]
) -> Bool[Tensor, "b h w"]:
    """Grid cells of which at least half is content for all classifiers."""
    shown = torch.ones(len(ids), *size, dtype=torch.bool)
    if evidence.content is not None:
        for card in cards:
            shown &= to_grid(torch.stack(list(evidence.content(card.weights, ids))).float(), size) >= 0.5
    return shown


def _values(
    who: tuple[str, str], found: Decomposition, excluded: Mapping[str, int], explainer: Repeats, group: Twins
) -> Iterator[SummaryRow]:
    about = f", conditional on {len(group.cards)} twins{group.note}"
    if found.clipped:
        about += f"; negative estimate set to 0: {', '.join(found.clipped)}"
    if BOTH in found.values:
        about += "; one run of the explainer: its chance is not told apart, and counts in part as picture"
    for name, score in SCORES.items():
        if name in found.values:
            limits, method = found.intervals[name], f"{found.intervals[name].method} over patients"
            low, high = (limits.low, limits.high) if limits.known else (None, None)
            note = (method if limits.known else "no interval (one patient, or no spread)") + about
            yield SummaryRow(
                "variance_components", score, *who, None, found.values[name], low, high, found.n, excluded,
                "higher" if name == ICC else None, note,
            )  # fmt: skip
        elif name == NOISE and not explainer.random:
            note = "the explainer draws nothing at random"
            yield SummaryRow("variance_components", score, *who, None, 0.0, None, None, found.n, excluded, None, note)


def _missing(who: tuple[str, str], excluded: Mapping[str, int], why: str) -> SummaryRow:
    return SummaryRow("variance_components", "icc", *who, None, float("nan"), None, None, 0, excluded, "higher", why)
