"""Removing pixels by relevance: their order and steps, and the model's answers for many maps in one call."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.perturbation import Outcome, Scene, Score, evaluate_scores, with_fitted_imputer
from xai_bench.protocols import Case, Imputer, Result, Saliency, TrainingData
from xai_bench.seeding import generator
from xai_bench_metrics._contract import Checked, Polarity, check

Pass = Literal["morf", "lerf"]
"""Most or least relevant first."""


@dataclass(frozen=True)
class Question:
    """Coalitions of all pictures of a batch, m each: each pixel's player, and which players show. On a CPU: `keep`.

    The last player is padding, and pixels that are never removed.
    """

    labels: Int[Tensor, "b h w"]
    keep: Bool[Tensor, "b m players"]


@dataclass(frozen=True)
class Walk:
    """What the model says of each picture while its pixels are removed, in float64, both end points included.

    `fraction` is the real share of content that most relevant first has removed after each step; least relevant first
    takes the same steps backwards.
    """

    found: Checked
    fraction: Float[Tensor, "b points"]
    y: Mapping[Pass, Float[Tensor, "b points"]]

    def area(self, way: Pass) -> Float[Tensor, "b"]:
        """The area under a pass, over the share removed."""
        removed = self.fraction if way == "morf" else (1 - self.fraction).flip(1)
        return torch.trapezoid(self.y[way], removed)


@dataclass(frozen=True)
class Removal(ABC):
    """What metrics share that remove pixels in the order of a map. All maps of a batch are asked in one call.

    `imputer` fills what is removed, the same mask on all channels; `score` is the target's probability or logit. Ties
    go in an order seeded by (seed, picture id).
    """

    imputer: Imputer = field(default_factory=Blur)
    score: Score = "probability"
    seed: int = 0
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"

    def fit(self, classifier: Classifier, training: TrainingData) -> "Removal":
        """Fit the imputer on training films, where it learns from them."""
        return with_fitted_imputer(self, training)

    def __call__(self, case: Case) -> Result:
        """Scores and curves of each picture."""
        return self.many([case])[0]

    def many(self, cases: Sequence[Case]) -> list[Result]:
        """The same for many maps: those of one batch share backgrounds, end points and model batches."""
        groups: dict[tuple[int, int], list[int]] = {}
        for n, case in enumerate(cases):
            groups.setdefault((id(case.classifier), id(case.batch)), []).append(n)
        results: dict[int, Result] = {}
        for places in groups.values():
            results |= zip(places, self.together([cases[n] for n in places]), strict=True)
        return [results[n] for n in range(len(cases))]

    @abstractmethod
    def together(self, cases: Sequence[Case]) -> list[Result]:
        """Results for maps of one classifier and batch."""

    def ask(
        self, case: Case, questions: Sequence[Question], outcomes: Sequence[Outcome]
    ) -> list[Float[Tensor, "outcomes b m"]]:
        """The answers to each question about the case's pictures, in one call: no model batch is half empty."""
        batch, b = case.batch, len(case.batch)
        scene, rows = Scene.of(batch, questions[0].labels, self.imputer), torch.arange(b).repeat(len(questions))
        if len(questions) > 1:  # one question needs no copies of the pictures
            scene = replace(
                scene,
                images=scene.images[rows],
                background=scene.background[rows],
                labels=torch.cat([q.labels.to(scene.labels) for q in questions]),
                targets=scene.targets[rows],
                content=scene.content[rows],
            )
        sizes = [q.keep.shape[1] for q in questions]
        owner = torch.arange(len(rows)).repeat_interleave(torch.tensor(sizes).repeat_interleave(b))
        keep = torch.cat([q.keep.flatten(0, 1) for q in questions])
        found = evaluate_scores(case.classifier, scene, owner, keep, outcomes).double()
        return [part.view(len(outcomes), b, -1) for part in torch.split(found, [b * m for m in sizes], 1)]


@dataclass(frozen=True)
class PixelRemoval(Removal):
    """Removal of pixels inside content in `steps` equal parts; areas are on the real fractions, both end points in."""

    steps: int = 32
    passes: ClassVar[tuple[Pass, ...]]

    def __post_init__(self) -> None:
        if self.steps < 2:
            name = getattr(self, "xai_bench_name", type(self).__name__)
            raise BadInput(f"{name}: steps is {self.steps}; expected 2 or more, such as 32.")

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture and map; the two end points are asked once for all maps of a batch."""
        return len(self.passes) * (self.steps - 1) + 2

    def divide(self, cases: Sequence[Case]) -> list[tuple[Checked, Question, Float[Tensor, "b points"]]]:
        """Each map checked, with its question (all inner points of all passes) and its real fractions."""
        batch = cases[0].batch
        order, keep = tie_order(batch.ids, batch.content[0].numel(), self.seed), coalitions(self.steps, self.passes)
        everyone, order = keep.expand(len(batch), *keep.shape), order.to(batch.content.device)
        parts = []
        for case in cases:
            found = check(case, self.polarity, needs_region=False)
            labels, fraction = removal_steps(found.saliency, found.content, order, self.steps)
            parts.append((found, Question(labels, everyone), fraction))
        return parts

    def walks(self, cases: Sequence[Case]) -> list[Walk]:
        """What the model says along all passes of each map."""
        parts = self.divide(cases)
        # The end points are the same for all maps; they are asked with the first one's players.
        ends = torch.arange(self.steps + 1) >= torch.tensor([[0], [self.steps]])
        _, first, _ = parts[0]
        keep = torch.cat([ends.expand(len(first.keep), *ends.shape), first.keep], 1)
        questions = [Question(first.labels, keep), *(question for _, question, _ in parts[1:])]
        told = [y for (y,) in self.ask(cases[0], questions, (self.score,))]
        whole, gone, told[0] = torch.split(told[0], [1, 1, first.keep.shape[1]], 1)
        return [
            Walk(found, fraction, {way: torch.cat([whole, y, gone], 1) for way, y in self.by_pass(inner)})
            for (found, _, fraction), inner in zip(parts, told, strict=True)
        ]

    def by_pass(self, y: Float[Tensor, "*rows m"]) -> list[tuple[Pass, Float[Tensor, "*rows n"]]]:
        """The answers of each pass."""
        return list(zip(self.passes, torch.split(y, self.steps - 1, -1), strict=True))


def end_points(content: Bool[Tensor, "b h w"], padding: int) -> Question:
    """The picture, and the picture with all its content removed; padding is a player of the given number."""
    keep = torch.ones(len(content), 2, padding + 1, dtype=torch.bool)
    keep[:, 1, :padding] = False
    return Question(torch.where(content, 0, padding), keep)


def coalitions(steps: int, passes: Sequence[Pass]) -> Bool[Tensor, "m players"]:
    """Who shows after 1, 2 ... steps - 1 of the steps of each pass; player k leaves in step k of most relevant first.

    >>> coalitions(3, ["morf", "lerf"]).int().tolist()
    [[0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [1, 0, 0, 1]]
    """
    player, gone = torch.arange(steps + 1), torch.arange(1, steps)[:, None]
    keep = {"morf": player >= gone, "lerf": (player < steps - gone) | (player == steps)}
    return torch.cat([keep[way] for way in passes])


def tie_order(ids: Sequence[str], count: int, seed: int) -> Int[Tensor, "b n"]:
    """A permutation for each picture, by its id and the seed alone."""
    return torch.stack([torch.randperm(count, generator=generator(seed, name)) for name in ids])


def places(values: Float[Tensor, "b n"], order: Int[Tensor, "b n"]) -> Int[Tensor, "b n"]:
    """The place of each value when the largest comes first; equal ones in the given order.

    >>> places(torch.tensor([[1.0, 9.0, 1.0]]), torch.tensor([[2, 1, 0]])).tolist()
    [[2, 0, 1]]
    """
    best = order.gather(1, values.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return torch.empty_like(best).scatter(1, best, torch.arange(best.shape[1], device=best.device).expand(best.shape))


def removal_steps(
    maps: Saliency, content: Bool[Tensor, "b h w"], order: Int[Tensor, "b n"], steps: int
) -> tuple[Int[Tensor, "b h w"], Float[Tensor, "b points"]]:
    """In which step each pixel changes hands (padding: `steps`, never), and the real fraction of content after each.

    Descending by value; tied pixels in the given order. The steps differ by at most one pixel.

    >>> everywhere = torch.ones(1, 1, 4, dtype=torch.bool)
    >>> labels, fraction = removal_steps(torch.tensor([[[1.0, 9.0, 3.0, 2.0]]]), everywhere, torch.arange(4)[None], 2)
    >>> labels.tolist(), fraction.tolist()
    ([[[1, 0, 0, 1]]], [[0.0, 0.5, 1.0]])
    """
    place = places(maps.masked_fill(~content, -torch.inf).flatten(1), order)
    pixels = content.flatten(1).sum(1, keepdim=True)
    counts = (torch.arange(steps + 1, device=maps.device) * pixels + steps // 2) // steps
    labels = torch.searchsorted(counts[:, 1:].contiguous(), place, right=True, out_int32=True)
    return labels.view(maps.shape), counts.double() / pixels
