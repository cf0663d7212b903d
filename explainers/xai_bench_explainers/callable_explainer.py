"""A function of your own as an explainer."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._own_maps import as_maps

EXAMPLE = "for example 'my_package.my_module:my_function'"


def gradient(
    model: nn.Module, images: Float[Tensor, "b c h w"], targets: Int[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """The gradient of each target's logit with respect to its picture: what a function for `callable` looks like."""
    pictures = images.requires_grad_()
    score = model(pictures).gather(1, targets[:, None]).sum()
    return torch.autograd.grad(score, pictures)[0]


@explainer("callable")
@dataclass(frozen=True)
class CallableExplainer:
    """Maps by a plain function f(model, images, targets) -> maps, named as `module:function` or given itself.

    `model` is the classifier in eval mode, from pictures (b, c, h, w) in [0, 1] to logits; `targets` are indices of
    logits. Maps are arrays or tensors (b, h, w) or (b, c, h, w), whose channels are summed; larger means more evidence
    for the target. The source of the function's module is part of the key of its results. A lambda works in this
    process, and not in a study. By default the gradient, as an example. Raises BadInput for a function that cannot be
    found, or maps of another shape.
    """

    function: Any = "xai_bench_explainers.callable_explainer:gradient"
    family: ClassVar[str] = "other"

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", resolved(self.function))  # a frozen dataclass finds its function once

    @property
    def label(self) -> str:
        """What a study calls it: the function's name."""
        return str(getattr(self.function, "__name__", "callable"))

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        with untouched(classifier), torch.enable_grad():
            maps = self.function(classifier, batch.images.detach().clone(), batch.targets.clone())
        return as_maps(maps, batch, f"callable: {self.label}")


def resolved(function: Any) -> Callable[..., Any]:
    """The function itself, from its name or from what a study writes down of it."""
    name = function.get("name") if isinstance(function, Mapping) else function
    if callable(name):
        return cast("Callable[..., Any]", name)
    if not isinstance(name, str) or not name.partition(":")[2]:
        raise BadInput(f"callable: function is {function!r}; expected `module:function`, {EXAMPLE}.")
    module, _, path = name.partition(":")
    try:
        place: Any = importlib.import_module(module)
    except ImportError as error:
        raise BadInput(f"callable: module {module!r} of {name!r} cannot be imported ({error}).") from None
    for part in path.split("."):
        if not hasattr(place, part):
            raise BadInput(f"callable: {module!r} has no {path!r}.{did_you_mean(path, dir(place))}")
        place = getattr(place, part)
    if not callable(place):
        raise BadInput(f"callable: {name!r} is a {type(place).__name__}; name a function, {EXAMPLE}.")
    return cast("Callable[..., Any]", place)
