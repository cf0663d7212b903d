"""Removed pixels show the mean film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, TrainingData
from xai_bench.registry import imputer


@imputer("training_mean", cite="Petsiuk et al. 2018")
@dataclass(frozen=True)
class TrainingMean:
    """The mean film of the training patients, one picture for all."""

    state: Mapping[str, Tensor] | None = field(default=None, repr=False)

    def fit(self, training: TrainingData) -> TrainingMean:
        """Average every training film."""
        total, count = None, 0
        for batch, _ in training:
            part = batch.images.sum(0)
            total, count = part if total is None else total + part, count + len(batch)
        if total is None:
            raise BadInput("imputer 'training_mean' needs training films, and there are none; use 'blur' or 'zero'.")
        return replace(self, state={"mean": total / count})

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        if self.state is None:
            raise BadInput("imputer 'training_mean' was not fitted; run it in a study, or call fit(training) first.")
        mean = self.state["mean"].to(batch.images.device)
        if mean.shape[-2:] != batch.images.shape[-2:]:
            raise BadInput(
                f"imputer 'training_mean' was fitted on {tuple(mean.shape[-2:])}, "
                f"the pictures are {tuple(batch.images.shape[-2:])}."
            )
        if len(mean) > batch.images.shape[1]:  # gray films where some training films are in color
            mean = mean.mean(0, keepdim=True)
        return mean.expand_as(batch.images)
