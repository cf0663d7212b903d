"""Removed pixels show the film of another patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, TrainingData
from xai_bench.registry import imputer
from xai_bench.seeding import derive


@imputer("other_patient", cite="Janzing et al. 2020")
@dataclass(frozen=True)
class OtherPatient:
    """One of `films` training films for each picture: a draw from the marginal distribution of the hidden pixels.

    The kept films are a random sample of all; which they are and which of them a picture gets depend on the seed and
    the picture ids only. They are of training patients, so never of the patient who is explained.
    """

    films: int = 16
    seed: int = 0
    state: Mapping[str, Tensor] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.films < 1:
            raise BadInput(f"other_patient: {self.films} films; expected 1 or more, such as 16.")

    def fit(self, training: TrainingData) -> OtherPatient:
        """Keep the films whose ids come first in a random order; never more than these and a batch are in memory."""
        kept: dict[int, Tensor] = {}
        for batch, _ in training:
            seen = {derive(self.seed, name): image for name, image in zip(batch.ids, batch.images, strict=True)}
            first = sorted(kept.keys() | seen.keys())[: self.films]
            kept = {place: kept[place] if place in kept else seen[place].clone() for place in first}
        if not kept:
            raise BadInput("imputer 'other_patient' needs training films, and there are none; use 'blur' or 'zero'.")
        channels = max(len(image) for image in kept.values())  # gray films are expanded beside those in color
        return replace(self, state={"films": torch.stack([image.expand(channels, -1, -1) for image in kept.values()])})

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        if self.state is None:
            raise BadInput("imputer 'other_patient' was not fitted; run it in a study, or call fit(training) first.")
        films = self.state["films"]
        if films.shape[-2:] != batch.images.shape[-2:]:
            raise BadInput(
                f"imputer 'other_patient' was fitted on {tuple(films.shape[-2:])}, "
                f"the pictures are {tuple(batch.images.shape[-2:])}."
            )
        found = films[[derive(self.seed, name) % len(films) for name in batch.ids]].to(batch.images.device)
        if found.shape[1] > batch.images.shape[1]:  # gray films where some training films are in color
            found = found.mean(1, keepdim=True)
        return found.expand_as(batch.images)
