"""Input times gradient: the share of the logit that each pixel has in a first-order view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._gradients import explaining, leaf, to_map


@explainer("input_x_gradient", cite="Shrikumar et al. 2016")
@dataclass(frozen=True)
class InputXGradient:
    """The picture times the gradient of the target's logit, summed over channels; signed, in logits.

    By captum's InputXGradient (Shrikumar et al. 2016). Intensities are those of the film, in [0, 1], before the
    classifier's normalization: black pixels get nothing, whatever they mean. Exact where the logit is linear in the
    picture. Raises Unfit for a classifier without gradients.
    """

    family: ClassVar[str] = "gradient"
    needs_gradients: ClassVar[bool] = True

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        from captum.attr import InputXGradient as Captum

        with explaining(self, classifier) as logits:
            found: Tensor = Captum(logits).attribute(leaf(batch.images), target=batch.targets)
        return to_map(found, batch.images)
