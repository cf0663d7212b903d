"""XGrad-CAM and Respond-CAM: Grad-CAM whose mean gradient is weighted by the activation."""

from dataclasses import dataclass

import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM


@explainer("xgrad_cam", cite="Fu et al. 2020")
@dataclass(frozen=True)
class XGradCAM(CAM):
    """Activations of one layer, weighted by the mean gradient where they are active, positive part.

    A channel's weight is sum(g A) / sum(A) over the places (Fu et al. 2020), so its part of the map has the
    sum of gradient times activation. Meant for activations that are never negative, as after a ReLU: where a sum of
    mixed signs comes near 0, that channel takes the map. A channel whose sum is 0 has weight 0. The weights are those
    of Respond-CAM (`respond_cam`). On the layer's grid; `signed` leaves out the last ReLU. `layer` is a dotted name
    inside the wrapped model; by default the one that the classifier knows. Raises Unfit for a classifier without
    gradients or without such a layer, BadInput for an unknown layer or one that is no grid.
    """

    signed: bool = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        activation, gradient = self.activation_and_gradient(classifier, batch)
        total = activation.sum((2, 3), keepdim=True)
        weights = (gradient * activation).sum((2, 3), keepdim=True) / total
        maps = (torch.where(total == 0, 0, weights) * activation).sum(1)
        return maps if self.signed else maps.relu()


@explainer("respond_cam", cite="Zhao et al. 2018")
@dataclass(frozen=True)
class RespondCAM(XGradCAM):
    """XGrad-CAM's map with its sign: weights sum(g A) / sum(A), which Respond-CAM had first, and no last ReLU.

    With one linear layer after the map, the map's sum is the logit without its bias (Zhao et al. 2018). For the rest
    see `xgrad_cam`.
    """

    signed: bool = True
