"""RISE: the mean score of randomly masked pictures, by which part of the picture the mask left visible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import Scene, Score, evaluate_all, with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench.seeding import generator
from xai_bench_explainers._players import check_segmentation, coin_flips, mean_colors, paint, players

CHUNK = 256
"""Masks that exist at the size of the picture at one time, whatever the number of samples."""


@explainer("rise", cite="Petsiuk et al. 2018")
@dataclass(frozen=True)
class Rise:
    """Sum of score x mask over random soft masks, divided by (samples x `keep`): the mean score where a pixel shows.

    A mask is a grid of `cells` x `cells` bits, each 1 with probability `keep`, upsampled bilinearly to one cell more
    and cut out at a random shift (Petsiuk et al. 2018, equation 6 and section 3.2; reflecting at the border, as in the
    authors' code). Pictures are image x mask + imputer's background x (1 - mask): with the default, black, the paper's.
    Map at the picture's size, in units of the score, never negative for probabilities; even where nothing matters it is
    the mean score, so only differences within a map mean something. The paper takes 4,000 masks for VGG16, 8,000 for
    ResNet50. A picture whose scores are not finite gets a map of NaN.
    """

    samples: int = 4000
    cells: int = 7
    keep: float = 0.5
    seed: int = 0
    imputer: Imputer = field(default_factory=Zero)
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise BadInput(f"rise: samples is {self.samples}; expected 1 or more, such as 4000.")
        if self.cells < 2:
            raise BadInput(f"rise: cells is {self.cells}; expected 2 or more, such as 7.")
        if not 0 < self.keep < 1:
            raise BadInput(f"rise: keep is {self.keep}; expected a probability between 0 and 1, such as 0.5.")
        if hasattr(self.imputer, "fill"):
            name = getattr(self.imputer, "xai_bench_name", type(self.imputer).__name__)
            raise BadInput(
                f"rise: imputer {name!r} needs to know which pixels are hidden, and the masks of RISE only dim them; "
                "use one with a fixed background, such as 'zero' or 'blur'."
            )

    @property
    def signed(self) -> bool:
        """Logits have either sign; probabilities do not."""
        return self.score == "logit"

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates."""
        return self.samples

    def fit(self, classifier: Classifier, training: TrainingData) -> Rise:
        """Fit the imputer, where it learns from training films."""
        return with_fitted_imputer(self, training)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        h, w = batch.images.shape[-2:]
        if min(h, w) < self.cells:
            raise BadInput(f"rise: {self.cells} cells do not fit into {h} x {w} pixels; use fewer cells.")
        scene = SoftScene.over(batch, self.imputer, self.cells)
        keep = torch.stack([self._masks(scene, name) for name in batch.ids])
        scores = evaluate_all(classifier, scene, keep, self.score)
        maps = [scene.weighted_sum(rows, found) for rows, found in zip(keep, scores, strict=True)]
        bad = ~scores.isfinite().all(1)[:, None, None]
        return (torch.stack(maps) / (self.samples * self.keep)).masked_fill(bad, torch.nan)

    def _masks(self, scene: SoftScene, picture_id: str) -> Bool[Tensor, "m bits"]:
        random = generator(self.seed, picture_id)
        cells = torch.empty(self.samples, self.cells**2, dtype=torch.bool).bernoulli_(self.keep, generator=random)
        shifts = [torch.randint(0, size, (self.samples,), generator=random) for size in scene.cell_size]
        return torch.cat([cells, *(binary(s, bits) for s, bits in zip(shifts, scene.shift_bits, strict=True))], 1)


@dataclass(frozen=True)
class SoftScene(Scene):
    """Pictures under soft masks. A mask's "players" are the bits of its grid, row by row, and of its two shifts.

    So written, masks are as small as any coalition, and the engine removes doubles, caches and batches them alike.
    """

    cells: int = 7

    @classmethod
    def over(cls, batch: Batch, imputer: Imputer, cells: int) -> SoftScene:
        """A batch and its background."""
        nobody = torch.zeros((), dtype=torch.long, device=batch.images.device).expand(batch.content.shape)
        plain, kind = Scene.of(batch, nobody, imputer), f"soft masks of {cells} x {cells} cells"
        return cls(plain.images, plain.background, nobody, plain.targets, plain.content, imputer=kind, cells=cells)

    @property
    def cell_size(self) -> tuple[int, int]:
        """Height and width of a cell in pixels, rounded up; shifts are smaller."""
        h, w = self.images.shape[-2:]
        return -(-h // self.cells), -(-w // self.cells)

    @property
    def shift_bits(self) -> tuple[int, int]:
        """How many bits the shifts down and to the right take."""
        down, right = ((size - 1).bit_length() for size in self.cell_size)
        return down, right

    def compose(self, owner: Int[Tensor, n], keep: Bool[Tensor, "n bits"]) -> Float[Tensor, "n c h w"]:
        """Picture `owner[i]` where mask `keep[i]` is 1, its background where it is 0, mixed between."""
        rows, grid, columns = self.factors(keep)
        mask = (rows @ grid @ columns.mT)[:, None]
        return self.images[owner] * mask + self.background[owner] * (1 - mask)

    def factors(
        self, keep: Bool[Tensor, "n bits"]
    ) -> tuple[Float[Tensor, "n h s"], Float[Tensor, "n s s"], Float[Tensor, "n w s"]]:
        """Mask = rows x grid x columns transposed: bilinear upsampling and shift are linear along each axis."""
        grid, *shifts = torch.split(keep, [self.cells**2, *self.shift_bits], 1)
        down, right = (
            upsampling(self.cells, size, length, number(bits))
            for size, length, bits in zip(self.cell_size, self.images.shape[-2:], shifts, strict=True)
        )
        return down, grid.view(-1, self.cells, self.cells).to(down), right

    def weighted_sum(self, keep: Bool[Tensor, "m bits"], weights: Float[Tensor, m]) -> Float[Tensor, "h w"]:
        """The sum of weight x mask, without ever holding more than `CHUNK` masks."""
        total = torch.zeros_like(self.images[0, 0])
        for bits, weight in zip(torch.split(keep, CHUNK), torch.split(weights, CHUNK), strict=True):
            rows, grid, columns = self.factors(bits.to(total.device))
            total += torch.tensordot(rows, weight[:, None, None] * grid @ columns.mT, ([0, 2], [0, 1]))
        return total


def upsampling(cells: int, size: int, length: int, shift: Int[Tensor, n]) -> Float[Tensor, "n length cells"]:
    """Weights of the cells for each of `length` pixels from `shift` on, when `cells` become (cells + 1) x size pixels.

    Linear between the cells' centers, mirrored at the border: scikit-image's `resize` of order 1 with mode `reflect`.

    >>> upsampling(2, 2, 4, torch.tensor([1]))[0, 0].tolist()
    [1.0, 0.0]
    """
    pixel = shift[:, None] + torch.arange(length, device=shift.device)
    center = ((pixel + 0.5) * cells / ((cells + 1) * size) - 0.5).abs()
    center = (cells - 1) - ((cells - 1) - center).abs()
    return (1 - (center[:, :, None] - torch.arange(cells, device=shift.device)).abs()).clamp(min=0)


def binary(values: Int[Tensor, n], bits: int) -> Bool[Tensor, "n bits"]:
    """Whole numbers as bits, the lowest first.

    >>> binary(torch.tensor([6]), 4).int().tolist()
    [[0, 1, 1, 0]]
    """
    return (values[:, None] >> torch.arange(bits, device=values.device)) & 1 > 0


def number(bits: Bool[Tensor, "n bits"]) -> Int[Tensor, n]:
    """The whole numbers of `binary`.

    >>> number(binary(torch.tensor([6, 9]), 4)).tolist()
    [6, 9]
    """
    return (bits.long() << torch.arange(bits.shape[1], device=bits.device)).sum(1)


@explainer("rise_players", cite="Petsiuk et al. 2018")
@dataclass(frozen=True)
class RisePlayers:
    """RISE on players: a player's mean score when it shows minus its mean score when it is hidden, on its pixels.

    Hard masks that show each player of the segmentation with probability 1/2 instead of RISE's soft ones, and a
    difference, so that a player without influence is near 0: signed, in units of the score. The coalitions and the
    hidden color (`hide_color` in [0, 1]; None = the player's mean color) are those of `lime` with the same seed,
    segmentation and samples: what is in the score cache is not computed again. Lime's first sample, the whole picture,
    is not random and left out. A player that is shown always or never gets 0, a picture whose scores are not finite a
    map of NaN.
    """

    samples: int = 1000
    seed: int = 0
    segmentation: str = "quickshift"
    hide_color: float | None = None
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        check_segmentation("rise_players", self.segmentation)
        if self.samples < 3:
            raise BadInput(f"rise_players: samples is {self.samples}; expected 3 or more, such as 1000.")
        if self.hide_color is not None and not 0 <= self.hide_color <= 1:
            raise BadInput(
                f"rise_players: hide_color is {self.hide_color}; expected a gray value from 0 to 1, or None."
            )

    @property
    def needs_players(self) -> bool:
        """Whether batches must carry anatomical players."""
        return self.segmentation == "anatomy"

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates."""
        return self.samples - 1

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        labels = players(batch, self.segmentation)
        counts = (labels.flatten(1).amax(1) + 1).tolist()
        keep = torch.zeros(len(batch), self.samples - 1, max(counts), dtype=torch.bool)
        for i, count in enumerate(counts):
            keep[i, :, :count] = coin_flips(self.seed, batch.ids[i], self.samples, count)[1:]
        images = batch.images
        hidden = mean_colors(images, labels) if self.hide_color is None else torch.full_like(images, self.hide_color)
        scene = Scene(images, hidden, labels, batch.targets, batch.content)
        scores = evaluate_all(classifier, scene, keep, self.score).double().cpu()
        # Picture by picture: taken together, a picture's last bits would depend on the players of the others.
        values = [effects(rows[:, :n], found) for rows, n, found in zip(keep, counts, scores, strict=True)]
        return paint(torch.nn.utils.rnn.pad_sequence(values, batch_first=True).to(images), labels)


def effects(keep: Bool[Tensor, "m players"], scores: Float[Tensor, m]) -> Float[Tensor, players]:
    """For each player the mean score of the coalitions with it minus that of those without it; 0 where one is missing.

    >>> effects(torch.tensor([[True, True], [False, True]]), torch.tensor([3.0, 1.0], dtype=torch.float64)).tolist()
    [2.0, 0.0]
    """
    if not scores.isfinite().all():
        return scores.new_full((keep.shape[1],), torch.nan)
    centered = keep.double() - keep.double().mean(0)
    # The slope of a regression on one bit is the difference of two means, and an absent player is not divided by 0.
    return (centered.T @ scores) / centered.square().sum(0).clamp(min=torch.finfo(torch.float64).tiny)
