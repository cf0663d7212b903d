"""Grad-CAM: where the activations that raise the target's logit are."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("grad_cam", cite="Selvaraju et al. 2017")
@dataclass(frozen=True)
class GradCAM:
    """Activations of one layer, weighted by the mean gradient of the target's logit, positive part.

    On the layer's grid, not scaled (Selvaraju et al. 2017, equations 1 and 2). `layer` is a dotted name inside the
    wrapped model; by default the one that the classifier knows. Raises Unfit for a classifier without gradients or
    without such a layer, BadInput for an unknown layer or one that is no grid.
    """

    layer: str | None = None
    family: ClassVar[str] = "cam"
    signed: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        if not classifier.differentiable:
            raise Unfit(f"grad_cam needs gradients, and {classifier.architecture} has none; use a perturbation method.")
        if self.layer is None and classifier.cam_layer is None:
            raise Unfit(f"grad_cam knows no layer of {classifier.architecture}; name one in its field `layer`.")
        activation, gradient = layer_gradient(classifier, classifier.layer(self.layer), batch)
        size = (batch.images.shape[2], batch.images.shape[3])
        activation, gradient = to_grid(activation, size), to_grid(gradient, size)
        weights = gradient.mean((2, 3), keepdim=True)
        return (weights * activation).sum(1).relu()


def layer_gradient(classifier: Classifier, layer: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """A layer's output and the gradient of the targets' logits with respect to it, nothing else.

    The output is cut out of the graph and put back as a leaf: neither layers below nor parameters get a gradient.
    """
    seen: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise BadInput(
                f"the CAM layer returns a {type(output).__name__}, not a tensor; name a layer inside or after it."
            )
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # a copy, as the next layer may work in place

    with untouched(classifier), torch.enable_grad():
        handle = layer.register_forward_hook(cut)
        try:
            logits = classifier(batch.images.detach())
        finally:
            handle.remove()
        if not seen:
            raise BadInput(
                f"the CAM layer ({type(layer).__name__}) does not run in the forward pass; name another layer."
            )
        score = logits.gather(1, batch.targets[:, None]).sum()
        gradient = torch.autograd.grad(score, seen[-1], allow_unused=True)[0] if score.requires_grad else None
    if gradient is None:
        raise BadInput(f"the logits do not depend on the CAM layer ({type(layer).__name__}); name another layer.")
    return seen[-1].detach(), gradient


def to_grid(values: Tensor, size: tuple[int, int]) -> Float[Tensor, "b c rows cols"]:
    """Tokens (b, prefix + rows * cols, c) of a transformer as a grid with the picture's shape; grids stay as they are.

    >>> to_grid(torch.zeros(1, 1 + 3 * 2, 8), (24, 16)).shape
    torch.Size([1, 8, 3, 2])
    """
    if values.ndim == 4:
        return values
    if values.ndim == 3:
        tokens = values.shape[1]
        for prefix in range(min(tokens, 9)):  # class, distillation and register tokens
            rows = round(((tokens - prefix) * size[0] / size[1]) ** 0.5)
            cols = round(((tokens - prefix) * size[1] / size[0]) ** 0.5)
            if rows * cols == tokens - prefix and rows * size[1] == cols * size[0]:
                return values[:, prefix:].transpose(1, 2).reshape(len(values), -1, rows, cols)
    raise BadInput(
        f"the CAM layer's output {tuple(values.shape)} is no grid over a picture of {size}; name another layer."
    )
