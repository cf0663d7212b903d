"""LIME: a linear model of which superpixels raise the score, fitted around each picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.perturbation import Scene, Score, evaluate_all
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._players import check_segmentation, coin_flips, mean_colors, paint, players

RIDGE = 1.0
"""The penalty on squared coefficients, as in the package."""

CHUNK = 2048
"""Samples that exist in double precision at one time."""


@explainer("lime", cite="Ribeiro et al. 2016")
@dataclass(frozen=True)
class Lime:
    """The ridge coefficient of each superpixel, painted on its pixels; signed, in units of the score.

    Equal to `explain_instance` of the package lime (Ribeiro et al. 2016, equation 1): quickshift, its random coalitions
    with the picture itself as the first, cosine distance, kernel and ridge regression on all superpixels; but with a
    random state of each picture's own. `hide_color` is a gray value in [0, 1]; None = the superpixel's mean color. A
    picture whose scores are not finite gets a map of NaN.
    """

    samples: int = 1000
    seed: int = 0
    segmentation: str = "quickshift"
    hide_color: float | None = None
    kernel_width: float = 0.25
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        check_segmentation("lime", self.segmentation)
        check_options("lime", self.samples, self.hide_color, self.kernel_width)

    @property
    def needs_players(self) -> bool:
        """Whether batches must carry anatomical players."""
        return self.segmentation == "anatomy"

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates."""
        return self.samples

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        images, labels = batch.images, players(batch, self.segmentation)
        counts = (labels.flatten(1).amax(1) + 1).tolist()
        keep = torch.zeros(len(batch), self.samples, max(counts), dtype=torch.bool)
        for i, count in enumerate(counts):
            keep[i, :, :count] = coin_flips(self.seed, batch.ids[i], self.samples, count)
            keep[i, 0, :count] = True
        hidden = mean_colors(images, labels) if self.hide_color is None else torch.full_like(images, self.hide_color)
        scene = Scene(images, hidden, labels, batch.targets, batch.content)
        scores = evaluate_all(classifier, scene, keep, self.score).double().cpu()
        # Picture by picture: solved together, a picture's last bits would depend on the players of the others.
        fits = [
            fit_local_model(rows[:, :count], found, self.kernel_width).coefficients
            for rows, count, found in zip(keep, counts, scores, strict=True)
        ]
        return paint(torch.nn.utils.rnn.pad_sequence(fits, batch_first=True).to(images), labels)


def check_options(who: str, samples: int, hide_color: float | None, kernel_width: float) -> None:
    """Raises BadInput for values that LIME cannot work with."""
    if samples < 2:
        raise BadInput(f"{who}: samples is {samples}; expected 2 or more, such as 1000.")
    if hide_color is not None and not 0 <= hide_color <= 1:
        raise BadInput(f"{who}: hide_color is {hide_color}; expected a gray value from 0 to 1, or None.")
    if not kernel_width > 0:
        raise BadInput(f"{who}: kernel_width is {kernel_width}; expected a positive number, such as 0.25.")


@dataclass(frozen=True)
class LocalModel:
    """score = intercept + sum of the coefficients of the players that show.

    `prediction` is its score of the picture itself, `r2` the share of the scores' weighted variance that it explains:
    1 is a perfect fit.
    """

    coefficients: Float[Tensor, players]
    intercept: Float[Tensor, ""]
    prediction: Float[Tensor, ""]
    r2: Float[Tensor, ""]


def fit_local_model(keep: Bool[Tensor, "m players"], scores: Float[Tensor, m], kernel_width: float) -> LocalModel:
    """The package's ridge regression of the scores on which players show, weighted by `proximity`, without selection.

    In double precision by the normal equations; equal scores give coefficients of 0 and an r2 of 1. Scores that are not
    finite give NaN.

    >>> keep = torch.tensor([[True, True], [True, False], [False, True]]).repeat(999, 1)
    >>> fit = fit_local_model(keep, keep.double() @ torch.tensor([2.0, 5.0]).double(), 0.25)
    >>> [round(float(value), 1) for value in (*fit.coefficients, fit.prediction, fit.r2)]
    [2.0, 5.0, 7.0, 1.0]
    """
    weights = proximity(keep, kernel_width)
    share, first = weights / weights.sum(), scores[0].double()
    y = scores.double() - first  # so that equal scores are exactly 0
    level = first + share @ y
    y = y - share @ y
    gram, right, mean = moments(keep, weights, y)
    gram.diagonal().add_(RIDGE)
    coefficients = torch.cholesky_solve(right[:, None], torch.linalg.cholesky(gram))[:, 0]
    fitted = torch.cat([rows.double() @ coefficients for rows in torch.split(keep, CHUNK)]) - mean @ coefficients
    missed, spread = share @ (y - fitted).square(), share @ y.square()
    intercept = level - mean @ coefficients
    r2 = torch.where(spread == 0, 1.0, 1 - missed / spread)
    return LocalModel(coefficients, intercept, intercept + coefficients.sum(), r2)


def moments(
    keep: Bool[Tensor, "m players"], weights: Float[Tensor, m], y: Float[Tensor, m]
) -> tuple[Float[Tensor, "players players"], Float[Tensor, players], Float[Tensor, players]]:
    """Of the weighted coalitions: the sums of squares about their mean and of products with a centered y; the mean."""
    squares = weights.new_zeros(keep.shape[1], keep.shape[1])
    products, total = torch.zeros_like(squares[0]), torch.zeros_like(squares[0])
    for part in torch.split(torch.arange(len(keep), device=keep.device), CHUNK):
        shown = keep[part].double()
        weighted = weights[part, None] * shown
        squares += weighted.T @ shown
        products += y[part] @ weighted
        total += weighted.sum(0)
    mean = total / weights.sum()
    return squares - total[:, None] * mean, products, mean


def proximity(keep: Bool[Tensor, "m players"], kernel_width: float) -> Float[Tensor, m]:
    """The weight of each coalition, in (0, 1]: an exponential kernel of its cosine distance to the picture itself.

    The distance is 1 - sqrt(share of players that show).

    >>> proximity(torch.tensor([[True, True], [False, False]]), 1.0).log().tolist()
    [0.0, -0.5]
    """
    distance = 1 - (keep.sum(1).double() / keep.shape[1]).sqrt()
    return (-0.5 * (distance / kernel_width) ** 2).exp()
