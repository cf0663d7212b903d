"""What the CAM methods share: one layer's output as a grid over the picture, and the gradient of the head after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.classifiers.layers import channel_axis
from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Batch
from xai_bench_explainers._gradients import check_differentiable, name_of


@dataclass(frozen=True)
class CAM:
    """A method that looks at one layer: a dotted name inside the wrapped model, or the one that the classifier knows.

    Maps are on the layer's grid, not scaled. Raises Unfit for a classifier without such a layer, or without gradients
    where the method needs them; BadInput for an unknown layer or one that is no grid.
    """

    layer: str | None = None
    family: ClassVar[str] = "cam"
    needs_gradients: ClassVar[bool] = True
    works_with: ClassVar[str] = "CNNs, and transformers with a grid of patches"

    def target_layer(self, classifier: Classifier) -> nn.Module:
        """The module that is looked at."""
        if self.layer is None and classifier.cam_layer is None:
            raise Unfit(f"{name_of(self)} knows no layer of {classifier.architecture}; name one in its field `layer`.")
        return classifier.layer(self.layer)

    def activation(self, classifier: Classifier, batch: Batch) -> Float[Tensor, "b c rows cols"]:
        """The layer's output, without any gradient."""
        return to_grid(layer_output(classifier, self.target_layer(classifier), batch), picture_size(batch))

    def activation_and_gradient(
        self, classifier: Classifier, batch: Batch
    ) -> tuple[Float[Tensor, "b c rows cols"], Float[Tensor, "b c rows cols"]]:
        """The layer's output and the gradient of the targets' logits with respect to it."""
        check_differentiable(name_of(self), classifier)
        activation, gradient = layer_gradient(classifier, self.target_layer(classifier), batch)
        size = picture_size(batch)
        return to_grid(activation, size), to_grid(gradient, size)


def picture_size(batch: Batch) -> tuple[int, int]:
    """Height and width."""
    return batch.images.shape[2], batch.images.shape[3]


def layer_output(classifier: Classifier, layer: nn.Module, batch: Batch) -> Tensor:
    """What a layer returns for these pictures; at its last call, where it is called several times."""
    seen: list[Tensor] = []

    def keep(output: Tensor) -> None:
        seen.append(output.clone())  # a copy, as the next layer may work in place

    with untouched(classifier), torch.no_grad():
        run_watched(classifier, layer, batch, keep)
    return seen[-1]


def layer_gradient(classifier: Classifier, layer: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """A layer's output and the gradient of the targets' logits with respect to it, nothing else.

    The output is cut out of the graph and put back as a leaf: neither layers below nor parameters get a gradient.
    """
    seen: list[Tensor] = []

    def cut(output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # a copy, as the next layer may work in place

    with untouched(classifier), torch.enable_grad():
        logits = run_watched(classifier, layer, batch, cut)
        score = logits.gather(1, batch.targets[:, None]).sum()
        gradient = torch.autograd.grad(score, seen[-1], allow_unused=True)[0] if score.requires_grad else None
    if gradient is None:
        raise BadInput(f"the logits do not depend on the CAM layer ({type(layer).__name__}); name another layer.")
    return seen[-1].detach(), gradient


def run_watched(
    classifier: Classifier, layer: nn.Module, batch: Batch, watch: Callable[[Tensor], Tensor | None]
) -> Float[Tensor, "b logits"]:
    """The logits; `watch` sees what the layer returns, and what it returns itself, if anything, goes on instead."""
    ran: list[bool] = []

    def see(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            raise BadInput(
                f"the CAM layer returns a {type(output).__name__}, not a tensor; name a layer inside or after it."
            )
        ran.append(True)
        return watch(output)

    handle = layer.register_forward_hook(see)
    try:
        logits: Tensor = classifier(batch.images.detach())
    finally:
        handle.remove()
    if not ran:
        raise BadInput(f"the CAM layer ({type(layer).__name__}) does not run in the forward pass; name another layer.")
    return logits


def channels_at(values: Tensor, size: tuple[int, int]) -> int:
    """The axis of the channels in a layer's values, maps or tokens, over a picture of (height, width) `size`."""
    return (channel_axis(values.shape, size) or 1) if values.ndim == 4 else 2


def to_grid(values: Tensor, size: tuple[int, int]) -> Float[Tensor, "b c rows cols"]:
    """A layer's values with the channels first: maps (b, c, h, w) or (b, h, w, c), or tokens (b, prefix + h * w, c).

    A grid of tokens has the picture's shape.

    >>> to_grid(torch.zeros(1, 1 + 3 * 2, 8), (24, 16)).shape
    torch.Size([1, 8, 3, 2])
    """
    if values.ndim == 4:
        return values.movedim(channels_at(values, size), 1)
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
