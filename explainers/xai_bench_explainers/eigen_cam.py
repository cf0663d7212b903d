"""Eigen-CAM and Eigen-Grad-CAM: the first principal component of a layer's activations, or of gradient times those."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM


@explainer("eigen_cam", cite="Muhammad & Yeasin 2020")
@dataclass(frozen=True)
class EigenCAM(CAM):
    """One layer's activations projected on their first right singular vector, positive part; the same for all classes.

    The singular vectors of (places x channels), not centered (Muhammad & Yeasin 2020); pytorch-grad-cam subtracts each
    channel's mean first. A singular vector has no sign of its own: it is the one that makes the map's mean positive,
    so activations that are never negative give a map that is never negative. On the layer's grid; needs no gradients.
    `layer` is a dotted name inside the wrapped model; by default the one that the classifier knows. Raises Unfit for a
    classifier without such a layer, BadInput for an unknown layer or one that is no grid.
    """

    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        activation = self.activation(classifier, batch)
        return first_component(activation, torch.ones_like(activation[:, 0])).relu()


@explainer("eigen_grad_cam", cite="Gildenblat 2021, pytorch-grad-cam")
@dataclass(frozen=True)
class EigenGradCAM(CAM):
    """Gradient times activation of one layer projected on its first principal component, positive part.

    As in pytorch-grad-cam, where the method comes from: centered, each channel's mean over the places subtracted. There
    the sign is whatever the decomposition returns; here it is the one that correlates with the sum over channels, the
    map of HiResCAM. On the layer's grid; `signed` leaves out the last ReLU. `layer` is a dotted name inside the wrapped
    model; by default the one that the classifier knows. Raises Unfit for a classifier without gradients or without such
    a layer, BadInput for an unknown layer or one that is no grid.
    """

    signed: bool = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        activation, gradient = self.activation_and_gradient(classifier, batch)
        product = gradient * activation
        centered = product - product.mean((2, 3), keepdim=True)
        maps = first_component(centered, centered.sum(1))
        return maps if self.signed else maps.relu()


def first_component(
    values: Float[Tensor, "b c rows cols"], towards: Float[Tensor, "b rows cols"]
) -> Float[Tensor, "b rows cols"]:
    """The projection of (places x channels) on the first right singular vector; its product with `towards` is >= 0.

    By the eigenvectors of the smaller Gram matrix, in double precision. Values that are not finite give a map of NaN.

    >>> first_component(torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]]), torch.ones(1, 1, 2)).tolist()
    [[[5.0, 0.0]]]
    """
    bad = ~values.isfinite().flatten(1).all(1)
    matrix = values.masked_fill(bad[:, None, None, None], 0).flatten(2).mT.double()
    if matrix.shape[1] > matrix.shape[2]:
        found = matrix @ torch.linalg.eigh(matrix.mT @ matrix).eigenvectors[..., -1:]
    else:
        left = torch.linalg.eigh(matrix @ matrix.mT)
        found = left.eigenvectors[..., -1:] * left.eigenvalues[:, None, -1:].clamp(min=0).sqrt()
    maps = found.view(len(values), *values.shape[2:])
    agreement = (maps * towards.nan_to_num()).sum((1, 2), keepdim=True)
    maps = torch.where(agreement < 0, -maps, maps).to(values)
    return maps.masked_fill(bad[:, None, None], torch.nan)
