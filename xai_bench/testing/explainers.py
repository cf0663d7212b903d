"""What every explainer must do."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.pictures import select
from xai_bench.protocols import Batch, Explainer, Traits
from xai_bench.spec import spec_of
from xai_bench.study import seeded
from xai_bench.testing.fixtures import tiny_batch, tiny_classifier, tiny_training
from xai_bench.testing.watch import check_spec, expect, left_alone, name_of, own_randomness


def check_explainer(explainer: Explainer, classifier: Classifier | None = None, batch: Batch | None = None) -> None:
    """The contract of an explainer, on a tiny CNN unless another classifier is given; fits it first where it has `fit`.

    Raises AssertionError with one sentence for the first thing that is wrong, and Unfit where the explainer cannot
    explain this classifier: pass one that it can.
    """
    classifier = classifier or tiny_classifier()
    batch = batch or tiny_batch(classifier)
    check_spec(explainer)
    explainer = fitted(explainer, classifier)
    with left_alone(name_of(explainer), classifier, batch):
        maps = explainer(classifier, batch)
    _check_shape(explainer, batch, maps)
    _check_same_again(explainer, classifier, batch, maps)
    _check_companions(explainer, classifier, batch, maps)
    _check_traits(explainer, classifier, batch, maps)


def fitted(plugin: Any, classifier: Classifier) -> Any:
    """The plugin, fitted on a few films where it has `fit`."""
    if not hasattr(plugin, "fit"):
        return plugin
    before, who = spec_of(plugin), name_of(plugin)
    batch = tiny_batch(classifier)
    with left_alone(f"{who}.fit", classifier, batch):
        found = plugin.fit(classifier, tiny_training(classifier))
    expect(
        type(found) is type(plugin),
        f"{who}.fit returned a {type(found).__name__}; return a fitted copy (dataclasses.replace).",
    )
    expect(
        spec_of(plugin) == before == spec_of(found),
        f"{who}.fit changed fields; keep what was learned in a field `state`.",
    )
    return found


def _check_shape(explainer: Explainer, batch: Batch, maps: Tensor) -> None:
    who, shape = name_of(explainer), tuple(getattr(maps, "shape", ()))
    expect(isinstance(maps, Tensor), f"{who} returned a {type(maps).__name__}; expected a tensor of shape (b, h, w).")
    expect(
        len(shape) == 3 and shape[0] == len(batch),
        f"{who} returned shape {shape}; expected ({len(batch)}, h, w), one map a picture.",
    )
    expect(maps.is_floating_point(), f"{who} returned {maps.dtype}; expected floats.")
    expect(
        maps.device == batch.images.device,
        f"{who} returned a map on {maps.device}; expected the batch's {batch.images.device}.",
    )
    expect(not maps.requires_grad, f"{who} returned a map that still carries its graph; return maps.detach().")
    expect(bool(maps.isfinite().all()), f"{who} returned NaN or infinite values for ordinary pictures.")


def _check_same_again(explainer: Explainer, classifier: Classifier, batch: Batch, maps: Tensor) -> None:
    who = name_of(explainer)
    with own_randomness(who):
        again = explainer(classifier, batch)
    expect(
        torch.equal(again, maps),
        f"{who} gives another map for the same input; make a generator from (seed, picture id).",
    )
    wants = {p: p.requires_grad for p in classifier.parameters()}
    modes = {m: m.training for m in classifier.modules()}
    try:
        classifier.requires_grad_(False)
        with torch.no_grad(), left_alone(who, classifier, batch):
            frozen = explainer(classifier, batch)
        expect(torch.equal(frozen, maps), f"{who} gives another map inside torch.no_grad() with frozen parameters.")
        classifier.train()
        with left_alone(who, classifier, batch):
            trained = explainer(classifier, batch)
        expect(
            torch.equal(trained, maps),
            f"{who} explains a model in training mode; explain inside `with untouched(classifier):`.",
        )
    finally:
        for parameter, want in wants.items():
            parameter.requires_grad_(want)
        for module, mode in modes.items():
            module.training = mode


def _check_companions(explainer: Explainer, classifier: Classifier, batch: Batch, maps: Tensor) -> None:
    who, family = name_of(explainer), Traits.of(explainer).family
    tolerance = 0.0 if family in ("control", "perturbation") else 1e-5
    order = torch.arange(len(batch) - 1, -1, -1)
    turned = explainer(classifier, select(batch, order))
    expect(
        close(turned, maps[order], tolerance),
        f"{who}: reordering the pictures of a batch does not just reorder the maps.",
    )
    others = dataclasses.replace(batch, images=torch.cat([batch.images[:1], 1 - batch.images[1:]]))
    alone = explainer(classifier, others)
    expect(close(alone[:1], maps[:1], tolerance), f"{who}: a picture's map depends on the other pictures in its batch.")


def _check_traits(explainer: Explainer, classifier: Classifier, batch: Batch, maps: Tensor) -> None:
    who, traits = name_of(explainer), Traits.of(explainer)
    known = ("bilinear", "nearest")
    expect(
        traits.upsampling in known, f"{who}: upsampling is {traits.upsampling!r}; expected one of {', '.join(known)}."
    )
    expect(traits.signed or bool((maps >= 0).all()), f"{who} says signed = False and returns negative values.")
    if not seeded(explainer):
        renamed = explainer(classifier, dataclasses.replace(batch, ids=tuple(f"other {i}" for i in batch.ids)))
        expect(torch.equal(renamed, maps), f"{who} depends on the pictures' ids and has no field `seed`.")
    other = explainer(classifier, dataclasses.replace(batch, targets=(batch.targets + 1) % classifier.n_logits))
    if traits.class_specific:
        expect(
            not torch.equal(other, maps),
            f"{who} gives every class the same map; declare class_specific = False if that is meant.",
        )
    else:
        expect(torch.equal(other, maps), f"{who} says class_specific = False and its map depends on the target.")


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Equal up to a share of the largest value; NaN equals NaN."""
    scale = float(b.abs().nan_to_num(0).max()) if b.numel() else 0.0
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=tolerance * scale, equal_nan=True)
