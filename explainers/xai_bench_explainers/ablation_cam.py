"""Ablation-CAM: activations weighted by how far the logit falls without them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM, channels_at, picture_size, to_grid
from xai_bench_explainers._head import head_after


@explainer("ablation_cam", cite="Desai & Ramaswamy 2020")
@dataclass(frozen=True)
class AblationCAM(CAM):
    """Activations of one layer, weighted by the fall of the target's logit when a channel is set to 0, positive part.

    Desai & Ramaswamy 2020 divide the weights by the logit y: one factor for the whole map, left out here because it is
    0/0 where y is 0 and turns the map around where y is negative. Only what follows the layer runs once for each
    channel, on the whole batch; the layers before it run once. A channel of tokens is set to 0 in all of them. On the
    layer's grid, needs no gradients; `signed` leaves out the last ReLU. `layer` is a dotted name inside the wrapped
    model; by default the one that the classifier knows. Raises Unfit for a classifier without such a layer, BadInput
    for an unknown layer or one that is no grid.
    """

    signed: bool = False
    needs_gradients: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        with head_after(classifier, self.target_layer(classifier), batch) as (output, head):
            grid = to_grid(output, picture_size(batch))
            axis = channels_at(output, picture_size(batch))

            def logit(changed: Tensor) -> Tensor:
                return head(changed).gather(1, batch.targets[:, None])[:, 0]

            whole = logit(output.clone())
            falls = [whole - logit(without(output, axis, channel)) for channel in range(output.shape[axis])]
        maps = (torch.stack(falls, 1)[:, :, None, None] * grid).sum(1)
        return maps if self.signed else maps.relu()


def without(output: Tensor, axis: int, channel: int) -> Tensor:
    """A copy with one channel set to 0.

    >>> without(torch.ones(1, 2, 1, 1), 1, 0).flatten().tolist()
    [0.0, 1.0]
    """
    ablated = output.clone()
    ablated.select(axis, channel).zero_()
    return ablated
