"""What sensitivity and the local Lipschitz constant share: a picture is explained again under small noise."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.pictures import select, unpadded
from xai_bench.protocols import Batch, Case, Reason, Result
from xai_bench.saliency import invalid
from xai_bench.seeding import generator
from xai_bench_metrics._contract import Mark, Polarity
from xai_bench_metrics._explained_again import NEW_BAD, Explained, explain_many

NO_MAP = Reason("excluded", "zero norm: the map is 0 everywhere")


@dataclass(frozen=True)
class Changes:
    """How far each noisy copy's map and the copy itself are from the original's: Euclidean norms, in float64."""

    maps: Float[Tensor, "b samples"]  # in shares of the original map's norm; NaN for an unusable map
    pictures: Float[Tensor, "b samples"]  # over pixels and channels, intensities in [0, 1]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class NoisyCopies(ABC):
    """What sensitivity and the local Lipschitz constant share: a picture is explained again under small noise.

    `samples` copies of each picture with independent uniform noise in [-`radius`, `radius`] on every pixel and channel
    of the content, in intensity units, cut to [0, 1]. The noise depends on (seed, picture id) alone. Maps are compared
    on the explainer's grid inside content, as the explainer scales them, in shares of the original map's norm.
    """

    samples: int = 10
    radius: float = 0.02
    seed: int = 0
    family: ClassVar[str] = "stability"
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 < self.radius <= 1:
            raise BadInput(
                f"{type(self).__name__}(samples={self.samples}, radius={self.radius}): use 1 sample or more and a "
                "radius above 0 and at most 1, such as 0.02."
            )

    @property
    def evaluations(self) -> int:
        """Runs of the explainer; how often it asks the model is its own."""
        return self.samples + 1

    def __call__(self, case: Case) -> Result:
        """Scores of each picture."""
        own = Explained.of(case)
        return self.judge(own, self._changes(own))

    @abstractmethod
    def judge(self, own: Explained, changes: Changes) -> Result:
        """The scores, from how far maps and pictures moved."""

    def _changes(self, own: Explained) -> Changes:
        """Picture after picture, in batches of the case's size that hold copies of several pictures."""
        batch, count = own.case.batch, unpadded(own.case.batch)
        draws = [generator(self.seed, name) for name in batch.ids[:count]]
        parts = []
        for index in torch.split(torch.arange(count * self.samples), len(batch)):
            owner = index // self.samples
            rows = select(batch, owner)
            noisy = self._noisy(rows, [draws[i] for i in owner.tolist()])
            new = explain_many(own.case, noisy)
            moved = _norm((new - own.maps[owner]).masked_fill(~own.content[owner], 0))
            parts.append(torch.stack([moved.masked_fill(invalid(new), torch.nan), _norm(noisy.images - rows.images)]))
        repeated = torch.arange(len(batch)).clamp(max=count - 1)
        maps, pictures = torch.cat(parts, 1).view(2, count, self.samples)[:, repeated]
        size = _norm(own.maps.masked_fill(~own.content, 0))
        share = maps / size[:, None]
        return Changes(share, pictures, ((maps.isnan().any(1), NEW_BAD), (size == 0, NO_MAP)))

    def _noisy(self, rows: Batch, draws: Sequence[torch.Generator]) -> Batch:
        """The pictures under the next noise of each one's generator."""
        drawn = torch.stack([torch.rand(rows.images.shape[1:], generator=draw) for draw in draws])
        noise = self.radius * (2 * drawn.to(rows.images) - 1)
        changed = (rows.images + noise).clamp(0, 1)
        return replace(rows, images=torch.where(rows.content[:, None], changed, rows.images))


def _norm(values: Tensor) -> Float[Tensor, "n"]:
    found: Tensor = torch.linalg.vector_norm(values.double().flatten(1), dim=1)
    return found
