"""VarGrad: the variance of an explainer's maps under noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._noise import Noise


@explainer("var_grad", cite="Adebayo et al. 2018")
@dataclass(frozen=True)
class VarGrad(Noise):
    """The variance of another explainer's maps over `samples` noisy copies of the picture; by default of `saliency`.

    0 or more, in squared units of the wrapped map; divided by `samples`, as in captum (Adebayo et al. 2018). `sigma` is
    the noise's standard deviation in shares of the picture's intensity range, the same in all channels and inside
    content only. 0 where the model is linear: it shows where the slope changes, not evidence for or against. Raises
    what the wrapped explainer raises.
    """

    signed: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        return self.mean_and_variance(classifier, batch)[1]
