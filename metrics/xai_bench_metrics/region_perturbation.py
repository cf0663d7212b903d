"""Region perturbation: pixel flipping in patches or superpixels, the most relevant first."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Case, Result, Saliency, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import BAD_MODEL, Checked, check, conclude
from xai_bench_metrics._hidden_cells import cells_of
from xai_bench_metrics._removal import Question, Removal, end_points, places, tie_order


@dataclass(frozen=True)
class Pieces:
    """The regions of a batch, which no map changes: each pixel's region, numbered from 0 in each picture, and how many.

    Padding is a region of its own, the last. `steps` is how many regions leave each picture, `order` that of regions
    with equal relevance, `keep` (on the CPU) who shows after each step.
    """

    labels: Int[Tensor, "b h w"]
    count: Int[Tensor, "b"]
    steps: Int[Tensor, "b"]
    order: Int[Tensor, "b n"]
    keep: Bool[Tensor, "b m players"]


@metric("region_perturbation", cite="Samek et al. 2017")
@dataclass(frozen=True)
class RegionPerturbation(Removal):
    """Mean fall of the score while regions are removed one after another, by falling mean relevance (AOPC).

    1 / (L + 1) times the sum of f(x) - f(x without the first k regions) over k = 0 ... L (Samek et al. 2017, equation
    12, for one picture), in [-1, 1] for probabilities; comparable only at equal segmentation, L and imputer.
    `segmentation` is `grid(n)`, n x n equal patches of the content, or `slic(n)`, about n superpixels of the picture;
    `regions` is L, all regions by default.
    """

    segmentation: str = "grid(14)"
    regions: int | None = None
    curve: ClassVar[str] = "region_perturbation"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(grid|slic)\([1-9]\d*\)", self.segmentation):
            raise BadInput(
                f"region_perturbation: segmentation is {self.segmentation!r}; expected 'grid(14)' or 'slic(100)', with "
                "any whole number from 1."
            )
        if self.regions is not None and self.regions < 1:
            raise BadInput(f"region_perturbation: regions is {self.regions}; expected 1 or more, or None for all.")

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The area over the perturbation curve."""
        span = 1.0 if self.score == "probability" else float("inf")
        return {self.curve: ScoreInfo("higher", -span, span, headline=True)}

    @property
    def points(self) -> int:
        """Regions removed of a picture that has as many as asked for: the steps of the curve."""
        asked = int(self.segmentation[5:-1]) ** (2 if self.segmentation.startswith("grid") else 1)
        return min(asked, self.regions or asked)

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture and map; the two end points are asked once for all maps of a batch."""
        return self.points + 1

    def together(self, cases: Sequence[Case]) -> list[Result]:
        """Score and curve of each picture. x is the share of the regions to be removed that are."""
        batch = cases[0].batch
        found, pieces = [check(case, self.polarity, needs_region=False) for case in cases], self.cut(batch)
        questions = [Question(players(one, pieces), pieces.keep) for one in found]
        ends = end_points(batch.content, pieces.keep.shape[2] - 1)
        (whole,), *told = self.ask(cases[0], [ends, *questions], (self.score,))
        return [self._one(one, pieces, whole, y) for one, (y,) in zip(found, told, strict=True)]

    def cut(self, batch: Batch) -> Pieces:
        """The regions, and in which order equal ones go."""
        kind, number = self.segmentation[:4], int(self.segmentation[5:-1])
        raw = cells_of(batch.content, number) if kind == "grid" else superpixels(batch.images, batch.content, number)
        labels, count = numbered(raw, batch.content)
        every = int(count.max())
        steps = count.clamp(max=self.regions or every)
        drawn = [tie_order([name], n, self.seed)[0] for name, n in zip(batch.ids, count.tolist(), strict=True)]
        order = torch.stack([torch.cat([one, torch.arange(len(one), every)]) for one in drawn])
        last = int(steps.max())
        # A picture without any region is an end point, asked once for all maps: it is not asked here.
        gone = torch.arange(1, last + 1).minimum(torch.minimum(steps, count - 1).cpu()[:, None])
        keep = torch.arange(last + 1) >= gone[:, :, None]
        return Pieces(labels, count, steps, order.to(labels.device), keep)

    def _one(self, found: Checked, pieces: Pieces, ends: Float[Tensor, "b 2"], inner: Float[Tensor, "b m"]) -> Result:
        whole, gone = torch.split(ends, 1, 1)
        k = torch.arange(inner.shape[1] + 1, device=inner.device)
        y = torch.cat([whole, torch.where(k[1:] >= pieces.count[:, None], gone, inner)], 1)
        counted = k <= pieces.steps[:, None]
        score = ((whole - y) * counted).sum(1) / (pieces.steps + 1)
        broken = (~y.isfinite().all(1), BAD_MODEL)
        x = torch.linspace(0, 1, self.points + 1, dtype=torch.float64, device=y.device)
        curve = resampled(y, pieces.steps, self.points)
        return conclude(found, {self.curve: score}, {self.curve: (broken,)}, {self.curve: curve}, x)


def players(found: Checked, pieces: Pieces) -> Int[Tensor, "b h w"]:
    """Each pixel's player: its region's place by falling mean relevance; the last is all that is never removed."""
    place = places(mean_by_region(found.saliency, pieces), pieces.order)
    last = pieces.keep.shape[2] - 1
    table = F.pad(place.clamp(max=last), (0, 1), value=last)
    return table.gather(1, pieces.labels.flatten(1)).view(pieces.labels.shape)


def mean_by_region(maps: Saliency, pieces: Pieces) -> Float[Tensor, "b n"]:
    """The mean of the map over each region, in float64, so that regions of equal pixels tie; absent ones -inf."""
    values, where = maps.flatten(1).double(), pieces.labels.flatten(1)
    totals = values.new_zeros(len(maps), pieces.order.shape[1] + 1).scatter_add(1, where, values)
    sizes = torch.zeros_like(totals).scatter_add(1, where, torch.ones_like(values))
    return (totals / sizes).masked_fill(sizes == 0, -torch.inf)[:, :-1]


def numbered(
    raw: Int[Tensor, "b h w"], content: Bool[Tensor, "b h w"]
) -> tuple[Int[Tensor, "b h w"], Int[Tensor, "b"]]:
    """Regions of the content numbered from 0 without gaps, and how many; padding has the largest number of all.

    >>> labels, count = numbered(torch.tensor([[[7, 3, 7, 5]]]), torch.tensor([[[True, True, True, False]]]))
    >>> labels.tolist(), count.tolist()
    ([[[1, 0, 1, 2]]], [2])
    """
    parts = [torch.unique(one[shown], return_inverse=True) for one, shown in zip(raw, content, strict=True)]
    count = torch.tensor([len(names) for names, _ in parts], device=raw.device)
    labels = torch.full_like(raw, int(count.max()))
    labels[content] = torch.cat([inverse for _, inverse in parts])
    return labels, count


def superpixels(images: Float[Tensor, "b c h w"], content: Bool[Tensor, "b h w"], number: int) -> Int[Tensor, "b h w"]:
    """About so many superpixels of the box around each picture's content, by scikit-image's `slic` in RGB."""
    from skimage.segmentation import slic

    labels = torch.zeros(content.shape, dtype=torch.long)
    images, visible = images.cpu(), content.cpu()
    for i, (image, shown) in enumerate(zip(images, visible, strict=True)):
        if i > 0 and torch.equal(image, images[i - 1]) and torch.equal(shown, visible[i - 1]):  # padded batches repeat
            labels[i] = labels[i - 1]
            continue
        rows, columns = (slice(int(at[0]), int(at[-1]) + 1) for at in map(_nonzero, (shown.any(1), shown.any(0))))
        rgb = image[:, rows, columns].expand(3, -1, -1).permute(1, 2, 0).double().numpy()
        labels[i, rows, columns] = torch.from_numpy(slic(rgb, number, start_label=0))
    return labels.to(content.device)


def _nonzero(line: Bool[Tensor, "n"]) -> Int[Tensor, "k"]:
    return line.nonzero()[:, 0]


def resampled(y: Float[Tensor, "b m"], steps: Int[Tensor, "b"], points: int) -> Float[Tensor, "b k"]:
    """Each curve's first `steps` + 1 values at points + 1 even places, linear between; as it is where it has so many.

    >>> resampled(torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([2]), 4).tolist()
    [[0.0, 0.5, 1.0, 2.0, 3.0]]
    """
    position = torch.arange(points + 1, device=y.device) * steps[:, None]
    low = position // points
    high = torch.minimum(low + 1, steps[:, None])
    start = y.gather(1, low)
    return start + (position % points).to(y) / points * (y.gather(1, high) - start)
