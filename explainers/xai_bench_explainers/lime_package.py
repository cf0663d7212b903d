"""LIME by the package `lime` itself, for comparison; `lime` gives the same maps in large batches."""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import BadInput
from xai_bench.perturbation import Score
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench.seeding import derive
from xai_bench_explainers._padding import each_picture
from xai_bench_explainers.lime import check_options


@explainer("lime_package", cite="Ribeiro et al. 2016")
@dataclass(frozen=True)
class LimePackage:
    """`LimeImageExplainer.explain_instance`, its coefficients painted on its superpixels; in units of the score.

    The package composes the pictures one by one and asks the model for `batch_size` of them at a time. Its random state
    is made anew for each picture, else a map would depend on the pictures before it. `hide_color` is a gray value in
    [0, 1]; None = the superpixel's mean color. A picture whose scores are not finite gets a map of NaN.
    """

    samples: int = 1000
    seed: int = 0
    hide_color: float | None = None
    kernel_width: float = 0.25
    batch_size: int = 10
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        check_options("lime_package", self.samples, self.hide_color, self.kernel_width)
        if self.batch_size < 1:
            raise BadInput(f"lime_package: batch_size is {self.batch_size}; expected 1 or more, such as 10.")

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture, for estimates; the last batch is padded."""
        return -(-self.samples // self.batch_size) * self.batch_size

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        with untouched(classifier):
            return each_picture(batch, lambda i: self._explain(classifier, batch, i))

    def _explain(self, classifier: Classifier, batch: Batch, i: int) -> Float[Tensor, "h w"]:
        image, target = batch.images[i], int(batch.targets[i])
        ask = Ask(classifier, target, self.score, self.batch_size)
        found = silent_explainer(
            kernel_width=self.kernel_width, random_state=np.random.RandomState(derive(self.seed, batch.ids[i]) % 2**32)
        ).explain_instance(
            image.expand(3, -1, -1).permute(1, 2, 0).double().cpu().numpy(),
            ask,
            labels=(target,),
            hide_color=self.hide_color,
            top_labels=None,
            num_samples=self.samples,
            batch_size=self.batch_size,
            random_seed=0,  # of the segmentation; without it the package takes one from the coalitions' random state
        )
        weights = np.full(int(found.segments.max()) + 1, 0.0 if ask.finite else np.nan)
        for superpixel, weight in found.local_exp[target] if ask.finite else ():
            weights[superpixel] = weight
        return torch.from_numpy(weights[found.segments]).to(image)


@dataclass
class Ask:
    """The package's `classifier_fn`: pictures (n, h, w, 3) to scores, in batches of one shape; the last is padded.

    The package's regression fails on scores that are not finite: they become 0, and `finite` False.
    """

    classifier: Classifier
    target: int
    score: Score
    batch_size: int
    finite: bool = True

    def __call__(self, pictures: Float[NDArray[np.float64], "n h w 3"]) -> Float[NDArray[np.float64], "n classes"]:
        images = torch.from_numpy(pictures).float().permute(0, 3, 1, 2).to(self.classifier.device)
        rows = torch.arange(self.batch_size, device=images.device).clamp(max=len(images) - 1)
        with torch.inference_mode():
            logits = self.classifier(images[rows])[: len(images)]
            scores = self.classifier.probabilities(logits) if self.score == "probability" else logits
        found: NDArray[np.float64] = scores.double().cpu().numpy()
        self.finite &= bool(np.isfinite(found[:, self.target]).all())
        return np.nan_to_num(found, posinf=0, neginf=0)


def silent_explainer(**options: Any) -> Any:
    """The package's explainer; its progress bar, which cannot be switched off, is missing."""
    from lime import lime_image

    whole = lime_image.LimeImageExplainer
    plain = whole.data_labels
    # The same code, but `tqdm` means `iter`: nobody else's use of the package changes.
    silent = FunctionType(plain.__code__, {**vars(lime_image), "tqdm": iter}, argdefs=plain.__defaults__)
    return type("SilentExplainer", (whole,), {"data_labels": silent})(**options)
