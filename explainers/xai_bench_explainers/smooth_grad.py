"""SmoothGrad: the mean of an explainer's maps under noise."""

from __future__ import annotations

from dataclasses import dataclass

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._noise import Noise


@explainer("smooth_grad", cite="Smilkov et al. 2017")
@dataclass(frozen=True)
class SmoothGrad(Noise):
    """The mean of another explainer's maps of `samples` noisy copies of the picture; by default of `saliency`.

    `sigma` is the noise's standard deviation in shares of the picture's intensity range (Smilkov et al. 2017: 0.1 to
    0.2), the same in all channels and inside content only. Signed as the wrapped explainer is: the paper's absolute map
    is SmoothGrad of `saliency_absolute`. The map is that of a model blurred in the space of pictures, and can be smooth
    where the model is not. Raises what the wrapped explainer raises.
    """

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        return self.mean_and_variance(classifier, batch)[0]
