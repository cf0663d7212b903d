"""What every classifier must do."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.testing.fixtures import tiny_batch
from xai_bench.testing.watch import expect, left_alone


def check_classifier(classifier: Classifier, images: Float[Tensor, "b c h w"] | None = None) -> None:
    """The contract of a classifier, on smooth gray pictures of its own size unless others are given.

    Raises AssertionError with one sentence for the first thing that is wrong.
    """
    batch = tiny_batch(classifier)
    images = batch.images.to(classifier.device) if images is None else images
    with left_alone(classifier.architecture, classifier, batch), untouched(classifier):
        _check_logits(classifier, images)
        _check_companions(classifier, images)
        if classifier.differentiable:
            _check_gradient(classifier, images)
    _check_hash(classifier)
    _check_layer(classifier, images)


def _check_logits(classifier: Classifier, images: Tensor) -> None:
    who, wanted = classifier.architecture, (len(images), classifier.n_logits)
    with torch.no_grad():
        logits, again, color = (
            classifier(images),
            classifier(images),
            classifier(images.mean(1, keepdim=True).expand(-1, 3, -1, -1)),
        )
    expect(
        tuple(logits.shape) == wanted,
        f"{who} returns logits of shape {tuple(logits.shape)}; expected {wanted}, one for each class.",
    )
    expect(logits.dtype == torch.float32, f"{who} returns {logits.dtype}; expected float32 logits.")
    expect(bool(logits.isfinite().all()), f"{who} returns NaN or infinite logits for ordinary pictures.")
    expect(torch.equal(logits, again), f"{who} returns other logits for the same pictures in eval mode; is dropout on?")
    expect(tuple(color.shape) == wanted, f"{who} does not take pictures of three channels.")
    chances = classifier.probabilities(logits)
    for head in classifier.heads:
        start = classifier.offset(head.name)
        total = chances[:, start : start + len(head.classes)].sum(1)
        right = head.link != "softmax" or torch.allclose(total, torch.ones_like(total), atol=1e-5)
        expect(right, f"{who}: the probabilities of softmax head {head.name!r} do not sum to 1.")


def _check_companions(classifier: Classifier, images: Tensor) -> None:
    with torch.no_grad():
        logits = classifier(images)
        turned = classifier(images.flip(0)).flip(0)
        others = classifier(torch.cat([images[:1], 1 - images[1:]]))
    who = classifier.architecture
    same = torch.equal(turned, logits) and torch.equal(others[:1], logits[:1])
    expect(same, f"{who}: a picture's logits depend on the other pictures in a batch of the same size.")


def _check_gradient(classifier: Classifier, images: Tensor) -> None:
    who, leaf = classifier.architecture, images.clone().requires_grad_()
    with torch.enable_grad():
        total = classifier(leaf).square().sum()
        found = torch.autograd.grad(total, leaf, allow_unused=True)[0] if total.requires_grad else None
    if found is None:
        raise AssertionError(f"{who} has no gradient with respect to the pictures; set differentiable = False.")
    expect(bool(found.isfinite().all()), f"{who}: the gradient with respect to the pictures is NaN or infinite.")
    expect(
        bool(found.any()),
        f"{who}: the gradient with respect to the pictures is 0 everywhere; set differentiable = False.",
    )


def _check_hash(classifier: Classifier) -> None:
    who, before = classifier.architecture, classifier.weights_hash()
    expect(classifier.weights_hash() == before, f"{who}: weights_hash changes from call to call.")
    for name, weight in classifier.named_parameters():
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.flatten()[0] += 1
            after = classifier.weights_hash()
            weight.copy_(kept)
        expect(
            after != before, f"{who}: weights_hash does not notice a change of {name}; it must cover every parameter."
        )
    expect(classifier.weights_hash() == before, f"{who}: weights_hash does not come back with the weights.")


def _check_layer(classifier: Classifier, images: Tensor) -> None:
    who = classifier.architecture
    if classifier.cam_layer is None:
        convolutions = sum(isinstance(m, nn.Conv2d) for m in classifier.modules())
        expect(
            convolutions < 2,
            f"{who} has {convolutions} convolutions and no cam_layer; name the layer that CAM methods look at.",
        )
        return
    ran: list[int] = []
    handle = classifier.layer().register_forward_hook(lambda *_: ran.append(1))
    try:
        with torch.no_grad(), untouched(classifier):
            classifier(images)
    finally:
        handle.remove()
    expect(
        bool(ran),
        f"{who}: its cam_layer {classifier.cam_layer!r} does not run in the forward pass; name another layer.",
    )
