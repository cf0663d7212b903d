"""Deletion and insertion: does the score follow the pixels that the map calls relevant?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers import Blur
from xai_bench.perturbation import Score, evaluate_coalitions
from xai_bench.protocols import Better, Case, Imputer, Reason, Result, Saliency, ScoreInfo, TrainingData
from xai_bench.registry import metric
from xai_bench.seeding import generator
from xai_bench_metrics._contract import Polarity, check, conclude

MIN_DROP = 0.05
NO_DROP = Reason("excluded", "scores of picture and imputed picture differ by less than 0.05")
BAD_MODEL = Reason("invalid", "model returned NaN or infinite values")


@dataclass(frozen=True)
class _Film:
    """What does not depend on the map: replacements, the order of tied pixels, f(picture) and f(imputed)."""

    imputed: Float[Tensor, "b c h w"]
    order: Int[Tensor, "b n"]
    whole: Float[Tensor, "b"]
    gone: Float[Tensor, "b"]


@dataclass(frozen=True)
class Removal:
    """What deletion and insertion share: pixels inside content change hands in `steps` equal parts, best first.

    `imputer` fills what is removed, the same mask on all channels; `score` is the target's probability or logit. Tied
    pixels (superpixels) go in an order seeded by (seed, picture id). Areas are on the real fractions of pixels, both
    end points included.
    """

    imputer: Imputer = Blur()  # noqa: RUF009  # frozen: one instance can serve all
    steps: int = 32
    score: Score = "probability"
    seed: int = 0
    batch_size: int = 16
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"
    curve: ClassVar[str]
    removes: ClassVar[bool]

    def __post_init__(self) -> None:
        if self.steps < 2 or self.batch_size < 1:
            raise BadInput(
                f"{self.curve}(steps={self.steps}, batch_size={self.batch_size}): use 2 steps and 1 picture or more."
            )

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The raw area, and the area on a scale where f(imputed) is 0 and f(picture) is 1, not clipped."""
        inf = float("inf")
        better: Better = "lower" if self.removes else "higher"
        low, high = (0.0, 1.0) if self.score == "probability" else (-inf, inf)
        raw = ScoreInfo(better, low, high, headline=True)
        return {self.curve: raw, f"{self.curve}_normalized": ScoreInfo(better, -inf, inf)}

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture."""
        return self.steps + 1

    def fit(self, classifier: Classifier, training: TrainingData) -> "Removal":
        """Fit the imputer on training films, where it learns from them."""
        learn = getattr(self.imputer, "fit", None)
        return replace(self, imputer=learn(training)) if learn else self

    def __call__(self, case: Case) -> Result:
        """Areas and curve of each picture. x is the fraction of content removed (deletion) or shown (insertion)."""
        return self.many([case])[0]

    def many(self, cases: Sequence[Case]) -> list[Result]:
        """The same for many maps of a batch: imputed pictures and both end points are computed once."""
        films: dict[int, _Film] = {}
        for case in cases:
            if id(case.batch) not in films:
                films[id(case.batch)] = self._film(case)
        return [self._one(case, films[id(case.batch)]) for case in cases]

    def _film(self, case: Case) -> _Film:
        batch, device = case.batch, case.batch.images.device
        imputed, pixels = self.imputer(batch), batch.content[0].numel()
        order = torch.stack([torch.randperm(pixels, generator=generator(self.seed, name)) for name in batch.ids])
        keep = torch.tensor(
            [[True, True], [False, True]], device=device
        )  # player 0 is content, 1 padding, which always shows
        ends = self._ask(case, imputed, (~batch.content).long(), keep)
        return _Film(imputed, order.to(device), ends[:, 0], ends[:, 1])

    def _one(self, case: Case, film: _Film) -> Result:
        found = check(case, self.polarity, needs_region=False)
        labels, fraction = removal_steps(found.saliency, found.content, film.order, self.steps)
        player, step = (
            torch.arange(self.steps + 1, device=labels.device),
            torch.arange(1, self.steps, device=labels.device),
        )
        shown = player >= step[:, None] if self.removes else (player < step[:, None]) | (player == self.steps)
        first, last = (film.whole, film.gone) if self.removes else (film.gone, film.whole)
        y = torch.cat([first[:, None], self._ask(case, film.imputed, labels, shown), last[:, None]], 1)
        area, drop = torch.trapezoid(y, fraction), film.whole - film.gone
        scores = {self.curve: area, f"{self.curve}_normalized": (area - film.gone) / drop}
        broken, small = (~y.isfinite().all(1), BAD_MODEL), (drop.abs() < MIN_DROP, NO_DROP)
        own = {self.curve: (broken,), f"{self.curve}_normalized": (broken, small)}
        x = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64, device=y.device)
        return conclude(found, scores, own, {self.curve: y}, x)

    def _ask(
        self, case: Case, imputed: Tensor, labels: Int[Tensor, "b h w"], keep: Bool[Tensor, "m p"]
    ) -> Float[Tensor, "b m"]:
        """The model's score of every coalition; rows that repeat the row before (a padded batch) are asked once."""
        batch = case.batch
        fresh = _fresh(batch.images, imputed, labels, batch.targets)
        images, baselines, where, targets = batch.images[fresh], imputed[fresh], labels[fresh], batch.targets[fresh]
        each = keep.expand(len(targets), *keep.shape)
        found = evaluate_coalitions(
            case.classifier, images, baselines, where, each, targets, batch_size=self.batch_size, score=self.score
        )
        return found.double()[fresh.cumsum(0) - 1]


def _fresh(*parts: Tensor) -> Bool[Tensor, "b"]:
    new = torch.ones(len(parts[0]), dtype=torch.bool, device=parts[0].device)
    rows = [part.reshape(len(part), -1) for part in parts]
    new[1:] = torch.stack([(row[1:] != row[:-1]).any(1) for row in rows]).any(0)
    return new


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
    values = maps.masked_fill(~content, -torch.inf).flatten(1).gather(1, order)
    best = order.gather(1, values.argsort(dim=1, descending=True, stable=True))
    rank = torch.empty_like(best).scatter(1, best, torch.arange(best.shape[1], device=best.device).expand(best.shape))
    pixels = content.flatten(1).sum(1, keepdim=True)
    counts = (torch.arange(steps + 1, device=maps.device) * pixels + steps // 2) // steps
    labels = torch.searchsorted(counts[:, 1:].contiguous(), rank, right=True)
    return labels.view(maps.shape), counts.double() / pixels


@metric("deletion", cite="Petsiuk et al. 2018")
@dataclass(frozen=True)
class Deletion(Removal):
    """Area under the score while the most relevant pixels are removed first; low where the map is faithful.

    Raw, and normalized by f(picture) and f(imputed): excluded where they differ by less than 0.05, not clipped.
    """

    curve: ClassVar[str] = "deletion"
    removes: ClassVar[bool] = True


@metric("insertion", cite="Petsiuk et al. 2018")
@dataclass(frozen=True)
class Insertion(Removal):
    """Area under the score while the most relevant pixels are put into the imputed picture first; high where faithful.

    Raw, and normalized by f(picture) and f(imputed): excluded where they differ by less than 0.05, not clipped.
    """

    curve: ClassVar[str] = "insertion"
    removes: ClassVar[bool] = False
