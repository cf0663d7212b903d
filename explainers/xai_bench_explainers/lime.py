"""LIME for images: a linear model of which superpixels raise the score, fitted by the package `lime`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.perturbation import Score, evaluate_coalitions
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench.seeding import derive
from xai_bench_explainers._padding import each_picture


@explainer("lime", cite="Ribeiro et al. 2016")
@dataclass(frozen=True)
class Lime:
    """The ridge coefficient of each superpixel, painted on its pixels; signed, in units of the score.

    Segmentation, samples, kernel (cosine distance, width 0.25) and ridge regression on all superpixels are those of the
    package's `explain_instance` (Ribeiro et al. 2016, equation 1), with a random state made anew for each picture; our
    engine composes the pictures and calls the model in batches of one shape. `hide_color` is a gray value in [0, 1];
    None = the superpixel's mean color. A picture whose scores are not finite gets a map of NaN.
    """

    samples: int = 1000
    seed: int = 0
    segmentation: Literal["quickshift", "slic", "felzenszwalb"] = "quickshift"
    hide_color: float | None = None
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise BadInput(f"lime: samples is {self.samples}; expected 2 or more, such as 1000.")

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        return each_picture(batch, lambda i: self._explain(classifier, batch, i))

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates."""
        return self.samples

    def _explain(self, classifier: Classifier, batch: Batch, i: int) -> Float[Tensor, "h w"]:
        image, target = batch.images[i : i + 1], batch.targets[i : i + 1]
        segments = superpixels(image[0], self.segmentation)
        labels, players = torch.from_numpy(segments).to(image.device), int(segments.max()) + 1
        random = np.random.RandomState(derive(self.seed, batch.ids[i]) % 2**32)  # the package's kind
        data = random.randint(0, 2, self.samples * players).reshape(self.samples, players)
        data[0] = 1  # the package's first sample is the picture itself
        hidden = (
            mean_colors(image[0], labels) if self.hide_color is None else torch.full_like(image[0], self.hide_color)
        )
        keep = torch.from_numpy(data > 0).to(image.device)
        scores = evaluate_coalitions(
            classifier, image, hidden[None], labels[None], keep[None], target, score=self.score
        )[0]
        if not scores.isfinite().all():
            return torch.full_like(image[0, 0], float("nan"))
        weights = ridge(data, scores.double().cpu().numpy(), random)
        return torch.from_numpy(weights).to(image)[labels]


def superpixels(image: Float[Tensor, "c h w"], algorithm: str) -> Int[NDArray[np.int64], "h w"]:
    """The package's segmentation of the picture in RGB, numbered from 0 without gaps."""
    from lime.wrappers.scikit_image import SegmentationAlgorithm

    # The package's own defaults; the other algorithms run with scikit-image's, as a user of the package gets them.
    options = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2} if algorithm == "quickshift" else {}
    rgb = image.expand(3, -1, -1).permute(1, 2, 0).double().cpu().numpy()
    found = SegmentationAlgorithm(algorithm, **options)(rgb)
    # Without this, the package never hides the last superpixel of slic, which counts from 1.
    return np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int64)


def mean_colors(image: Float[Tensor, "c h w"], labels: Int[Tensor, "h w"]) -> Float[Tensor, "c h w"]:
    """Each pixel replaced by the mean color of its superpixel.

    >>> mean_colors(torch.tensor([[[0.0, 1.0, 5.0]]]), torch.tensor([[0, 0, 1]]))
    tensor([[[0.5000, 0.5000, 5.0000]]])
    """
    flat, index = image.flatten(1).double(), labels.flatten()
    totals = torch.zeros(len(flat), int(index.max()) + 1, dtype=flat.dtype, device=flat.device).index_add_(
        1, index, flat
    )
    return (totals / index.bincount()).to(image)[:, labels]


def ridge(data: NDArray[np.int64], scores: NDArray[np.float64], random: np.random.RandomState) -> NDArray[np.float32]:
    """The package's weighted ridge regression of the scores on which superpixels show: one coefficient a superpixel."""
    from lime.lime_image import LimeImageExplainer
    from sklearn.metrics import pairwise_distances

    distances = pairwise_distances(data, data[:1], metric="cosine").ravel()
    base = LimeImageExplainer(feature_selection="none", random_state=random).base
    _, found, _, _ = base.explain_instance_with_data(
        data, scores[:, None], distances, 0, data.shape[1], feature_selection="none"
    )
    weights = np.zeros(data.shape[1], dtype=np.float32)
    for player, weight in found:
        weights[player] = weight
    return weights
