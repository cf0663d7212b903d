"""Coalitions of pixels -> model scores, in device batches (the hot path).

Every perturbation method asks the same thing: the model's score of this picture with these players switched off. Masks
stay small (players, not pixels) until a device batch is composed by a gather and a `where`, and every model call has
one fixed shape, so that a row's result does not depend on its companions.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier, untouched

Score = Literal["probability", "logit"]


def compose(
    image: Float[Tensor, "n c h w"],
    baseline: Float[Tensor, "n c h w"],
    labels: Int[Tensor, "n h w"],
    keep: Bool[Tensor, "n players"],
) -> Float[Tensor, "n c h w"]:
    """Pictures in which the players of `keep` show the image and all others the baseline; one mask for all channels.

    >>> image, labels = torch.ones(1, 1, 1, 2), torch.tensor([[[0, 1]]])
    >>> compose(image, 0 * image, labels, torch.tensor([[True, False]])).flatten().tolist()
    [1.0, 0.0]
    """
    shown = keep.gather(1, labels.flatten(1)).view(labels.shape)
    return torch.where(shown[:, None], image, baseline)


@torch.inference_mode()
def score_batch(
    classifier: Classifier, images: Float[Tensor, "n c h w"], targets: Int[Tensor, n], score: Score = "probability"
) -> Float[Tensor, n]:
    """The target's probability (or logit) of each picture."""
    logits = classifier(images)
    values = classifier.probabilities(logits) if score == "probability" else logits
    return values.gather(1, targets[:, None])[:, 0]


def evaluate_coalitions(
    classifier: Classifier,
    images: Float[Tensor, "b c h w"],
    baselines: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b h w"],
    keep: Bool[Tensor, "b m players"],
    targets: Int[Tensor, b],
    *,
    batch_size: int = 16,
    score: Score = "probability",
) -> Float[Tensor, "b m"]:
    """Scores of m coalitions of each of b pictures, mixed over both in batches of one fixed shape (the last padded).

    Peak memory is that of one batch of pictures. `keep[i, j, p]` says whether player p of picture i shows in
    coalition j.
    """
    b, m = keep.shape[:2]
    flat = keep.reshape(b * m, -1)
    scores = torch.empty(b * m, device=images.device)
    with untouched(classifier):
        for start in range(0, b * m, batch_size):
            rows = torch.arange(start, start + batch_size, device=images.device).clamp(max=b * m - 1)
            owner = rows // m
            pictures = compose(images[owner], baselines[owner], labels[owner], flat[rows])
            found = score_batch(classifier, pictures, targets[owner], score)
            count = min(batch_size, b * m - start)
            scores[start : start + count] = found[:count]
    return scores.view(b, m)
