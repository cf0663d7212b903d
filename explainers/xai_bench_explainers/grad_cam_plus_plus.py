"""Grad-CAM++: Grad-CAM whose weights count positive gradients only, each place by a weight of its own."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM


@explainer("grad_cam_plus_plus", cite="Chattopadhay et al. 2018")
@dataclass(frozen=True)
class GradCAMPlusPlus(CAM):
    """Activations of one layer, weighted by sums of its positive gradients over the places, positive part.

    Each place counts by alpha = g^2 / (2 g^2 + g^3 sum(A)) (Chattopadhay et al. 2018, equation 19), which is
    1 / (2 + g sum(A)). Their score is exp(logit), whose gradient is g times one number a picture, left out here. Meant
    for activations that are never negative, as after a ReLU; where the denominator is 0, alpha is 0. pytorch-grad-cam
    adds 1e-6 to g^2: there, channels with gradients well below 1e-3 all but vanish. On the layer's grid. `layer` is a
    dotted name inside the wrapped model; by default the one that the classifier knows. Raises Unfit for a classifier
    without gradients or without such a layer, BadInput for an unknown layer or one that is no grid.
    """

    signed: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        activation, gradient = self.activation_and_gradient(classifier, batch)
        below = 2 + gradient * activation.sum((2, 3), keepdim=True)
        alpha = torch.where(below == 0, 0, 1 / below)
        weights = (alpha * gradient.relu()).sum((2, 3), keepdim=True)
        return (weights * activation).sum(1).relu()
