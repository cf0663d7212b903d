"""A control: what the map of another patient's film scores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.pictures import pad
from xai_bench.protocols import Batch, Explainer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench.seeding import derive
from xai_bench_explainers._wrapped import Wrapped


class Film(NamedTuple):
    """One training film, and its place in the random order of all."""

    place: int
    id: str
    image: Tensor
    content: Tensor
    spacing_mm: Tensor


@explainer("other_patient_map")
@dataclass(frozen=True)
class OtherPatientMap(Wrapped):
    """The map of another patient's film of the target's class, by another explainer; by default `grad_cam`.

    Up to `films` training films of each class are explained once, for their own class; which they are and which of
    their maps a picture gets depend on the seed and the picture ids only. A method that does not beat it says what is
    typical of the class, and nothing of this film. A picture of a class without training films gets a map of NaN.
    Training films are of other patients than those explained, unless the training films themselves are explained: then
    a film, known by its pixels, never gets its own map. Raises BadInput where it was not fitted.
    """

    films: int = 8
    seed: int = 0
    state: Mapping[str, Tensor] | None = field(default=None, repr=False)
    class_specific: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.films < 1:
            raise BadInput(f"other_patient_map: films is {self.films}; expected 1 or more of each class, such as 8.")

    def fit(self, classifier: Classifier, training: TrainingData) -> OtherPatientMap:
        """Explain the films of each class whose ids come first in a random order, a batch of one size a class."""
        learn = getattr(self.explainer, "fit", None)
        ready = learn(classifier, training) if learn else self.explainer
        kept = self._draw(training)
        if not kept:
            raise BadInput("other_patient_map needs training films, and there are none; leave this control out.")
        maps = [self._explain(ready, classifier, target, films) for target, films in kept.items()]
        pixels = [_pixels(film.image) for films in kept.values() for film in films]
        targets = [target for target, films in kept.items() for _ in films]
        state = {"maps": torch.cat(maps).cpu(), "targets": torch.tensor(targets), "pixels": torch.tensor(pixels)}
        return replace(self, state=state)

    def _draw(self, training: TrainingData) -> dict[int, list[Film]]:
        """For each target its first films; never more than these and a batch are in memory."""
        kept: dict[int, list[Film]] = {}
        for batch, _ in training:
            rows = zip(batch.ids, batch.targets.tolist(), batch.images, batch.content, batch.spacing_mm, strict=True)
            for name, target, *tensors in rows:
                film = Film(derive(self.seed, name), name, *(tensor.clone() for tensor in tensors))
                kept[target] = sorted([*kept.get(target, []), film], key=lambda film: film.place)[: self.films]
        return dict(sorted(kept.items()))

    def _explain(
        self, ready: Explainer, classifier: Classifier, target: int, films: list[Film]
    ) -> Float[Tensor, "n rows columns"]:
        channels = max(len(film.image) for film in films)  # gray films are expanded beside those in color
        batch = Batch(
            torch.stack([film.image.expand(channels, -1, -1) for film in films]),
            torch.full((len(films),), target),
            tuple(film.id for film in films),
            torch.stack([film.content for film in films]),
            None,
            torch.stack([film.spacing_mm for film in films]),
        )
        return ready(classifier, pad(batch, self.films).to(classifier.device))[: len(films)].detach().float()

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        if self.state is None:
            raise BadInput(
                "other_patient_map was not fitted; run it in a study, or call fit(classifier, training) first."
            )
        maps, targets, pixels = (self.state[key].cpu() for key in ("maps", "targets", "pixels"))
        found = []
        for name, image, target in zip(batch.ids, batch.images, batch.targets.cpu(), strict=True):
            others = torch.nonzero((targets == target) & (pixels != _pixels(image)))[:, 0]
            pick = derive(self.seed, name) % max(len(others), 1)
            found.append(maps[others[pick]] if len(others) else torch.full_like(maps[0], torch.nan))
        return torch.stack(found).to(batch.images.device)


def _pixels(image: Float[Tensor, "c h w"]) -> int:
    """A hash of a picture, below 2**63."""
    content = image.detach().cpu().contiguous().numpy().tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1
