"""SHAP's Partition explainer by the package `shap` itself, one picture after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

BATCH = 16  # pictures a model call, every call of this one shape


@explainer("shap_package", cite="Lundberg & Lee 2017")
@dataclass(frozen=True)
class ShapPackage:
    """Owen values of a tree that halves the picture, summed over channels; signed, in units of the score.

    Their sum is f(x) - f(masked picture). `masker` is what hidden pixels show: `blur(columns,rows)` (a box filter, in
    pixels), `inpaint_telea` or `inpaint_ns`, as in the package. `seed` decides between equally important nodes.
    The package gets pictures of 0..255, as its inpainting cuts to whole numbers. A picture whose scores are not finite
    gets a map of NaN. `shap_partition` is the same method on our engine.
    """

    evaluations: int = 500
    masker: str = "blur(16,16)"
    seed: int = 0
    score: Score = "probability"
    family: ClassVar[str] = "perturbation"
    upsampling: ClassVar[Literal["nearest"]] = "nearest"

    def __post_init__(self) -> None:
        if self.evaluations < 4:
            raise BadInput(f"shap_package: evaluations is {self.evaluations}; expected 4 or more, such as 500.")
        if not re.fullmatch(r"blur\([1-9]\d*,[1-9]\d*\)|inpaint_telea|inpaint_ns", self.masker):
            raise BadInput(
                f"shap_package: masker {self.masker!r} is not known; expected 'blur(16,16)' with sizes in pixels, "
                "'inpaint_telea' or 'inpaint_ns'."
            )

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        from shap.maskers import Image

        _, c, h, w = batch.images.shape
        masker = Image(self.masker, (h, w, c))
        with untouched(classifier):
            return each_picture(batch, lambda i: self._explain(classifier, batch, i, masker))

    def _explain(self, classifier: Classifier, batch: Batch, i: int, masker: Any) -> Float[Tensor, "h w"]:
        from shap import PartitionExplainer

        picture = batch.images[i].permute(1, 2, 0).double().cpu().numpy() * 255
        if self.masker.startswith("inpaint"):
            picture = picture.round()  # the package cuts, which would make every picture half a level darker
        masker.last_xid = None  # it knows a picture by its address, which the next picture may get again
        model = target_scores(classifier, batch.images[i], int(batch.targets[i]), self.score)
        with numpy_seeded(derive(self.seed, batch.ids[i]) % 2**32):
            found = PartitionExplainer(model, masker)(
                picture[None], max_evals=self.evaluations, batch_size=BATCH, outputs=[0], silent=True
            )
        values = found.values[0, ..., 0].sum(-1)
        return torch.from_numpy(values if np.isfinite(values).all() else np.full_like(values, np.nan)).to(batch.images)


def target_scores(
    classifier: Classifier, like: Tensor, target: int, score: Score
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The target's score of pictures (n, h, w, c) of 0..255, as one column, by model calls of one fixed shape."""

    @torch.inference_mode()
    def scores(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
        found = []
        for start in range(0, len(pictures), BATCH):
            part = torch.from_numpy(pictures[start : start + BATCH] / 255).to(like).permute(0, 3, 1, 2)
            full = part[torch.arange(BATCH).clamp(max=len(part) - 1)]
            # in the engine's memory layout: gray pictures in another come out of convolutions a rounding apart
            logits = classifier(full.clone(memory_format=torch.contiguous_format))
            values = classifier.probabilities(logits) if score == "probability" else logits
            found.append(values[: len(part), target])
        return torch.cat(found).double().cpu().numpy()[:, None]

    return scores


@contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """The package draws from numpy's global state; seed it for one picture and put it back."""
    before = np.random.get_state()  # noqa: NPY002  # global state is what the package uses
    np.random.seed(seed)  # noqa: NPY002  # the same
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002  # the same
