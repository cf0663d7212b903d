"""HiResCAM: gradient times activation, place by place."""

from dataclasses import dataclass

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM


@explainer("hires_cam", cite="Draelos & Carin 2020")
@dataclass(frozen=True)
class HiResCAM(CAM):
    """Activations of one layer times the gradient of the target's logit at the same place, positive part.

    Summed over channels, on the layer's grid. The gradient is not averaged over places, so nothing that the logit does
    not use is shown; with `signed` (no last ReLU) and one linear layer after the map, the map's sum is the logit
    without its bias (Draelos & Carin 2020). `layer` is a dotted name inside the wrapped model; by default the one that
    the classifier knows. Raises Unfit for a classifier without gradients or without such a layer, BadInput for an
    unknown layer or one that is no grid.
    """

    signed: bool = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        activation, gradient = self.activation_and_gradient(classifier, batch)
        maps = (gradient * activation).sum(1)
        return maps if self.signed else maps.relu()
