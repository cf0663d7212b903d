"""SHAP's Partition explainer on our engine: Owen values over a tree of players, many pictures at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.box_blur import BoxBlur
from xai_bench.perturbation import Scene, Score, evaluate, with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench_explainers._trees import Tree, anatomical, halved

CHUNK = 256
"""Coalitions that exist pixel by pixel at one time; whole batches, whatever their size."""

Coalition = tuple[int, ...]  # the nodes whose players show; none of them lies within another


@explainer("shap_partition", cite="Lundberg & Lee 2017")
@dataclass(frozen=True)
class ShapPartition:
    """Owen values of a tree that halves the picture or follows the anatomy; signed, in units of the score.

    The package shap's PartitionExplainer (Owen 1977): the node with the largest difference is opened first, on each
    picture by itself, `at_once` coalitions a round; ties go to the older node, where the package draws. A map sums to
    f(x) - f(all hidden); what the budget of `evaluations` leaves on a group of players is shared among its pixels.

    `halving` cuts the longer side of each rectangle down to single pixels, as the package does; the channels of a pixel
    stay together. `anatomy` follows the parents of the batch's players; of more than two parts the upper half and the
    lower half, by their centers, are a group, and so on; pixels of no player always show and get 0. A picture whose
    scores are not finite, or on which no player has a pixel, gets a map of NaN.
    """

    evaluations: int = 500
    imputer: Imputer = field(default_factory=BoxBlur)
    hierarchy: Literal["halving", "anatomy"] = "halving"
    at_once: int = 16
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        if self.evaluations < 4:
            raise BadInput(f"shap_partition: evaluations is {self.evaluations}; expected 4 or more, such as 500.")
        if self.at_once < 2 or self.at_once % 2:
            raise BadInput(f"shap_partition: at_once is {self.at_once}; expected an even number, two for each node.")

    @property
    def needs_players(self) -> bool:
        """Whether batches must carry anatomical players."""
        return self.hierarchy == "anatomy"

    def fit(self, classifier: Classifier, training: TrainingData) -> ShapPartition:
        """Fit the imputer, where it learns from training films."""
        return with_fitted_imputer(self, training)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        trees, labels = halved(batch) if self.hierarchy == "halving" else anatomical(batch)
        scene = Scene.of(batch, labels, self.imputer)
        same = [k if trees[k] == trees[i] else i for i, k in enumerate(scene.first.tolist())]
        planted = {i: tree for i in sorted(set(same)) if (tree := trees[i]) is not None}

        def answer(asked: Sequence[tuple[int, Coalition]]) -> list[float]:
            found: list[float] = []
            for start in range(0, len(asked), CHUNK):
                part = asked[start : start + CHUNK]
                keep = shown([(planted[i], coalition) for i, coalition in part])
                found += evaluate(classifier, scene, torch.tensor([i for i, _ in part]), keep, self.score).tolist()
            return found

        shares = together({i: owen(t, self.evaluations, self.at_once) for i, t in planted.items()}, answer)
        maps = {i: painted(shares.get(i), trees[i], labels[i]) for i in set(same)}
        return torch.stack([maps[i] for i in same]).to(batch.images)


class Share(NamedTuple):
    """A node beside a coalition: what its players add to the score, `high - low`, counts with `weight`.

    Compared by how soon it is opened: the largest weighted difference first, then the oldest.
    """

    urgency: float
    number: int
    node: int
    beside: Coalition
    low: float
    high: float
    weight: float


Asking = Generator[list[Coalition], list[float], list[Share]]


def owen(tree: Tree, evaluations: int, at_once: int) -> Asking:
    """Asks for the scores of coalitions until the budget is spent; returns what each node reached is worth."""
    opening = surely_asked(tree) if min(evaluations - 4, at_once) >= 8 else [(), (0,)]
    known = dict(zip(opening, (yield opening), strict=True))
    number, spent = count(1), 2
    done, queue = list[Share](), [Share(0.0, 0, 0, (), known[()], known[(0,)], 1.0)]
    while True:
        opened: list[Share] = []
        while queue and len(opened) < min(at_once, evaluations - spent) // 2:
            share = heappop(queue)
            (done if tree.left[share.node] < 0 else opened).append(share)
        if not opened:
            return done + queue
        asked = [coalition for share in opened for coalition in halves(tree, share.node, share.beside)]
        fresh = [coalition for coalition in asked if coalition not in known]
        if fresh:
            known = dict(zip(fresh, (yield fresh), strict=True))
        spent += len(asked)
        for share in opened:
            for part in split(share, tree, known, number):
                heappush(queue, part)


def surely_asked(tree: Tree) -> list[Coalition]:
    """What the first two rounds ask whatever the scores: one model call instead of three."""
    one, found = tree.left[0], [(), (0,)]
    if one < 0:
        return found
    for node, beside in ((0, ()), (one, ()), (one + 1, ()), (one, (one + 1,)), (one + 1, (one,))):
        found += halves(tree, node, beside)
    return found


def halves(tree: Tree, node: int, beside: Coalition) -> list[Coalition]:
    """The coalition joined by either child of the node; a player's own node has none."""
    one = tree.left[node]
    return [] if one < 0 else [(*beside, one), (*beside, one + 1)]


def split(share: Share, tree: Tree, known: Mapping[Coalition, float], number: Iterator[int]) -> Iterator[Share]:
    """Both children, each without and with the other; either way counts half."""
    with_one, with_other = halves(tree, share.node, share.beside)
    one, other = with_one[-1], with_other[-1]
    for node, beside, low, high in (
        (one, share.beside, share.low, known[with_one]),
        (other, share.beside, share.low, known[with_other]),
        (one, with_other, known[with_other], share.high),
        (other, with_one, known[with_one], share.high),
    ):
        weight = share.weight / 2
        yield Share(-abs(high - low) * weight, next(number), node, beside, low, high, weight)


def together(
    asking: Mapping[int, Asking], answer: Callable[[list[tuple[int, Coalition]]], list[float]]
) -> dict[int, list[Share]]:
    """Run all at once: each round's questions of all in one call. Whoever gets a score that is not finite drops out."""
    found, questions = {}, {i: next(ask) for i, ask in asking.items()}
    while questions:
        scores = iter(answer([(i, coalition) for i, asked in questions.items() for coalition in asked]))
        for i, asked in list(questions.items()):
            mine = [next(scores) for _ in asked]
            try:
                if all(map(math.isfinite, mine)):
                    questions[i] = asking[i].send(mine)
                else:
                    del questions[i]
            except StopIteration as end:
                found[i] = end.value
                del questions[i]
    return found


def shown(asked: Sequence[tuple[Tree, Coalition]]) -> Bool[Tensor, "n players"]:
    """Which players show, a row a coalition; the place after a tree's last player, for pixels of none, always does."""
    keep = torch.zeros(len(asked), max((tree.players for tree, _ in asked)) + 1, dtype=torch.bool)
    rows = keep.numpy()  # a slice of it is set much faster than one of a tensor
    for row, (tree, coalition) in zip(rows, asked, strict=True):
        row[tree.players] = True
        for node in coalition:
            row[tree.start[node] : tree.stop[node]] = True
    return keep


def painted(shares: Sequence[Share] | None, tree: Tree | None, labels: Int[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """What the nodes are worth, on their pixels in equal parts; NaN where nothing is known."""
    if shares is None or tree is None:
        return torch.full(labels.shape, torch.nan, dtype=torch.float64)
    players = labels.cpu().numpy()
    pixels = np.concatenate([[0], np.bincount(players.ravel(), minlength=tree.players + 1).cumsum()])
    values = np.zeros(tree.players + 1)
    for share in shares:
        start, stop = tree.start[share.node], tree.stop[share.node]
        values[start:stop] += (share.high - share.low) * share.weight / (pixels[stop] - pixels[start])
    return torch.from_numpy(values[players])
