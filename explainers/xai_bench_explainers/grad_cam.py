"""Grad-CAM: where the activations that raise the target's logit are."""

from dataclasses import dataclass

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM


@explainer("grad_cam", cite="Selvaraju et al. 2017")
@dataclass(frozen=True)
class GradCAM(CAM):
    """Activations of one layer, weighted by the mean gradient of the target's logit, positive part.

    On the layer's grid, not scaled (Selvaraju et al. 2017, equations 1 and 2); `signed` leaves out the last ReLU.
    `layer` is a dotted name inside the wrapped model; by default the one that the classifier knows. Gradients of
    opposite sign at different places cancel in the mean: see `hires_cam`. Raises Unfit for a classifier without
    gradients or without such a layer, BadInput for an unknown layer or one that is no grid.
    """

    signed: bool = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        activation, gradient = self.activation_and_gradient(classifier, batch)
        maps = (gradient.mean((2, 3), keepdim=True) * activation).sum(1)
        return maps if self.signed else maps.relu()
