"""Score-CAM: activations weighted by the score of the picture seen through each of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import Scene, Score, evaluate_all, with_fitted_imputer
from xai_bench.protocols import Batch, Imputer, Saliency, TrainingData
from xai_bench.registry import explainer
from xai_bench.saliency import upsample
from xai_bench_explainers._cam import CAM
from xai_bench_explainers.rise import binary, number

USUAL_CHANNELS = 512
"""Channels of the last layer of many models, for estimates before the model is known; a ResNet-50 has 2,048."""


@explainer("score_cam", cite="Wang et al. 2020")
@dataclass(frozen=True)
class ScoreCAM(CAM):
    """Activations of one layer, weighted by the softmax over channels of the masked picture's score, positive part.

    A channel's mask is its activation, upsampled bilinearly and scaled to 0..1; the picture shows where it is 1 and the
    imputer's background where it is 0 (Wang et al. 2020, algorithm 1; black). What the background
    alone scores is the same for all channels and cancels in the softmax. A constant channel masks everything. `score`
    is what the softmax sees; probabilities make nearly equal weights of it. pytorch-grad-cam's masks are the same where
    the layer has the picture's size, else it aligns their corners, not the centers of pixels. On the layer's grid; one
    model evaluation a channel, no gradients. `layer` is a dotted name inside the wrapped model; by default the one that
    the classifier knows. Raises Unfit for a classifier without such a layer, BadInput for an unknown layer or one that
    is no grid. A picture whose scores are not finite gets a map of NaN.
    """

    imputer: Imputer = field(default_factory=Zero)
    score: Score = "logit"
    signed: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if hasattr(self.imputer, "fill"):
            name = getattr(self.imputer, "xai_bench_name", type(self.imputer).__name__)
            raise BadInput(
                f"score_cam: imputer {name!r} needs to know which pixels are hidden, and the masks of Score-CAM only "
                "dim them; use one with a fixed background, such as 'zero' or 'blur'."
            )

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates: one a channel, of which the layer decides."""
        return USUAL_CHANNELS

    def fit(self, classifier: Classifier, training: TrainingData) -> ScoreCAM:
        """Fit the imputer, where it learns from training films."""
        return with_fitted_imputer(self, training)

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        activation = self.activation(classifier, batch)
        channels = activation.shape[1]
        keep = binary(torch.arange(channels), max(1, (channels - 1).bit_length()))
        scene = ChannelScene.through(batch, self.imputer, activation)
        scores = evaluate_all(classifier, scene, keep.expand(len(batch), -1, -1), self.score)
        return (scores.softmax(1)[:, :, None, None] * activation).sum(1).relu()


@dataclass(frozen=True, kw_only=True)
class ChannelScene(Scene):
    """Pictures seen through one channel of a layer. A mask's "players" are the bits of its channel's number."""

    maps: Float[Tensor, "b k rows cols"]

    @classmethod
    def through(cls, batch: Batch, imputer: Imputer, maps: Float[Tensor, "b k rows cols"]) -> ChannelScene:
        """A batch, its background, and the activations that mask it."""
        plain = Scene.of(batch, torch.zeros_like(batch.content, dtype=torch.long), imputer)
        parts = (plain.images, plain.background, plain.labels, plain.targets, plain.content)
        return cls(*parts, imputer="masks of channels", maps=maps)

    @cached_property
    def contexts(self) -> tuple[str, ...]:
        """As for any scene; the masks count too, as two layers make two."""
        maps = self.maps.cpu().contiguous().numpy()
        plain = super().contexts
        return tuple(
            hashlib.sha256(context.encode() + maps[i].tobytes()).hexdigest()[:32] for i, context in enumerate(plain)
        )

    def compose(self, owner: Int[Tensor, n], keep: Bool[Tensor, "n bits"]) -> Float[Tensor, "n c h w"]:
        """Picture `owner[i]` where the mask of channel `keep[i]` is 1, its background where it is 0, mixed between."""
        mask = self.masks(owner, number(keep))[:, None]
        return self.images[owner] * mask + self.background[owner] * (1 - mask)

    def masks(self, owner: Int[Tensor, n], channel: Int[Tensor, n]) -> Float[Tensor, "n h w"]:
        """Activations at the picture's size, from 0 to 1 each; 0 where one is constant."""
        large = upsample(self.maps[owner, channel], (self.images.shape[2], self.images.shape[3]))
        low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
        return (large - low) / torch.where(high == low, 1, high - low)
