"""What metrics that explain again share: new maps of a batch beside its own, compared on the explainer's grid."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.pictures import pad
from xai_bench.protocols import Batch, Case, Reason, Saliency, Traits
from xai_bench.saliency import constant, invalid, spearman, ssim, to_grid
from xai_bench_metrics._contract import BAD_MAP, Checked, Mark, check

NEW_BAD = Reason("excluded", "the new map holds NaN or infinite values")
NEW_FLAT = Reason("note", "the new map is constant")
FLAT = Reason("excluded", "zero norm: a map is constant where it counts")


@dataclass(frozen=True)
class Explained:
    """A batch's own maps on the explainer's grid, the grid's cells that count, and what is to be said of the case.

    The own maps are made again, so that they share grid and numerical mode with what they are compared to; the case's
    map says which pictures are invalid or constant. A randomized explainer gets its randomness from (seed, picture id)
    and new maps keep the ids, so that its chance is the same in both and cancels.
    """

    case: Case
    checked: Checked
    maps: Saliency  # 0 where a map is unusable
    content: Bool[Tensor, "b rows columns"]

    @classmethod
    def of(cls, case: Case) -> "Explained":
        """Explain the case's batch."""
        checked = check(case, "signed", needs_region=False)
        maps = explain(case, case.batch)
        bad = invalid(maps)
        told = replace(checked, marks=(*checked.marks, (bad, BAD_MAP)))
        size = (maps.shape[1], maps.shape[2])
        return cls(case, told, maps.masked_fill(bad[:, None, None], 0), grid_content(case.batch.content, size))

    def ssim(self, new: Saliency) -> Float[Tensor, "b"]:
        """SSIM of own and new maps, each divided by its largest absolute value; data range 2 (1 if never negative)."""
        span = 2.0 if Traits.of(self.case.explainer).signed else 1.0
        found = ssim(scaled(self.maps, self.content), scaled(_finite(new), self.content), self.content, span)
        return found.masked_fill(invalid(new), torch.nan)

    def spearman(self, new: Saliency, *, absolute: bool = False) -> Float[Tensor, "b"]:
        """Rank correlation of own and new maps, or of their absolute values; NaN where one is constant."""
        pair = (self.maps, _finite(new))
        one, other = (maps.abs() for maps in pair) if absolute else pair
        return spearman(one, other, self.content).masked_fill(invalid(new), torch.nan)

    def marks(self, new: Saliency, values: Float[Tensor, "b"]) -> tuple[Mark, ...]:
        """Why a comparison with the new maps has no value, and where the new map is constant."""
        flat = constant(_finite(new), self.content)
        return (invalid(new), NEW_BAD), (values.isnan(), FLAT), (flat, NEW_FLAT)


def explain(case: Case, batch: Batch, classifier: Classifier | None = None) -> Saliency:
    """The explainer's maps of a batch, by the case's classifier or a copy of it; to the progress one answer a picture.

    How often an explainer asks the model is not known here, so its own answers are not told.
    """
    engine = case.classifier.engine
    progress = engine.progress if engine else None
    if engine:
        engine.progress = None
    try:
        maps = case.explainer(classifier or case.classifier, batch)
    finally:
        if engine:
            engine.progress = progress
    if progress:
        progress(len(batch))
    return maps.detach().float()


def explain_many(case: Case, rows: Batch) -> Saliency:
    """The maps of at most as many pictures as the case's batch has, in a batch of that very size."""
    return explain(case, pad(rows, len(case.batch)))[: len(rows)]


def grid_content(content: Bool[Tensor, "b h w"], size: tuple[int, int]) -> Bool[Tensor, "b rows columns"]:
    """The cells of a grid of which at least half is content.

    >>> grid_content(torch.tensor([[[True, True, True, False, False, False]]]), (1, 2)).tolist()
    [[[True, False]]]
    """
    return content if content.shape[1:] == size else to_grid(content.float(), size) >= 0.5


def scaled(maps: Saliency, content: Bool[Tensor, "b h w"]) -> Saliency:
    """Maps divided by their largest absolute value inside content, 0 outside; a map of zeros stays.

    >>> scaled(torch.tensor([[[1.0, -4.0, 9.0]]]), torch.tensor([[[True, True, False]]])).tolist()
    [[[0.25, -1.0, 0.0]]]
    """
    shown = maps.double().masked_fill(~content, 0)
    return shown / shown.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(shown.dtype).tiny)


def _finite(maps: Saliency) -> Saliency:
    return maps.masked_fill(invalid(maps)[:, None, None], 0)
