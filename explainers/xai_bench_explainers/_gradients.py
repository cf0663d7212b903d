"""What the gradient methods share: logits whose gradient flows to the picture and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import Unfit
from xai_bench.perturbation import Scene
from xai_bench.protocols import Batch, Imputer, Saliency

Logits = Callable[[Tensor], Tensor]


@contextmanager
def explaining(method: object, classifier: Classifier) -> Iterator[Logits]:
    """Within the block the classifier as a function from pictures to logits; parameters get no gradient.

    Raises Unfit for a classifier without gradients, or one whose logits have none with respect to the picture.
    """
    who = name_of(method)
    check_differentiable(who, classifier)

    def logits(images: Tensor) -> Tensor:
        found: Tensor = classifier(images)
        if images.requires_grad and not found.requires_grad:
            raise Unfit(
                f"{who} needs gradients, and those of {classifier.architecture} do not reach the picture; use a "
                "perturbation method."
            )
        return found

    with untouched(classifier), torch.enable_grad():
        yield logits


def check_differentiable(who: str, classifier: Classifier) -> None:
    """Raises Unfit for a classifier without gradients."""
    if not classifier.differentiable:
        raise Unfit(f"{who} needs gradients, and {classifier.architecture} has none; use a perturbation method.")


def name_of(method: object) -> str:
    """What a method is called in messages."""
    return str(getattr(method, "xai_bench_name", type(method).__name__))


def leaf(images: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """A copy that gradients are taken with respect to."""
    return images.detach().clone().requires_grad_()


def picture_gradient(logits: Logits, batch: Batch) -> Float[Tensor, "b c h w"]:
    """The gradient of each target's logit with respect to its picture, in logits per unit of intensity."""
    from captum.attr import Saliency

    found: Tensor = Saliency(logits).attribute(leaf(batch.images), target=batch.targets, abs=False)
    return found.detach()


def to_map(values: Float[Tensor, "b k h w"], images: Float[Tensor, "b c h w"]) -> Saliency:
    """The sum over channels; NaN for a picture that holds NaN or infinite values, whose gradient may be 0."""
    broken = ~images.isfinite().flatten(1).all(1)
    return values.detach().sum(1).masked_fill(broken[:, None, None], torch.nan)


def baseline(batch: Batch, imputer: Imputer) -> Float[Tensor, "b c h w"]:
    """The pictures with all of their content hidden by the imputer; padding stays, so that it gets no attribution."""
    scene = Scene.of(batch, (~batch.content).long(), imputer)
    everyone = torch.arange(len(batch), device=batch.images.device)
    return scene.compose(everyone, torch.tensor([[False, True]], device=everyone.device).expand(len(batch), 2))
