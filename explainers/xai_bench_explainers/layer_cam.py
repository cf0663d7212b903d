"""LayerCAM: activation times positive gradient, place by place; for any layer."""

from dataclasses import dataclass
from typing import ClassVar

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM


@explainer("layer_cam", cite="Jiang et al. 2021")
@dataclass(frozen=True)
class LayerCAM(CAM):
    """Activations of one layer times the positive part of the gradient at the same place, positive part.

    Summed over channels, on the layer's grid (Jiang et al. 2021). `layer` is a dotted name inside
    the wrapped model: early layers, finer and less tied to the class, are what the method is for; by default the one
    that the classifier knows. Raises Unfit for a classifier without gradients or without such a layer, BadInput for an
    unknown layer or one that is no grid.
    """

    signed: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        activation, gradient = self.activation_and_gradient(classifier, batch)
        return (gradient.relu() * activation).sum(1).relu()
