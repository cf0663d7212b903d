"""The contract suite says, in one sentence, what is wrong with each deliberately broken explainer."""

import dataclasses
import random
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from xai_bench.classifiers.classifier import untouched
from xai_bench.errors import Unfit
from xai_bench.seeding import generator
from xai_bench.testing import (
    check_explainer,
    tiny_classifier,
)


@dataclass(frozen=True)
class Good:
    """Gradient of the target's logit; the broken explainers below differ in one thing."""

    def __call__(self, classifier, batch):
        with untouched(classifier):
            return self.gradient(classifier, batch)

    def gradient(self, classifier, batch):
        images = batch.images.clone().requires_grad_()
        with torch.enable_grad():
            score = classifier(images).gather(1, batch.targets[:, None]).sum()
            return torch.autograd.grad(score, images)[0].sum(1)


class NotFrozen:
    def __call__(self, classifier, batch):
        return batch.images.mean(1)


@dataclass(frozen=True)
class NoMap(Good):
    def __call__(self, classifier, batch):
        return "a map"


@dataclass(frozen=True)
class WrongShape(Good):
    def __call__(self, classifier, batch):
        return super().__call__(classifier, batch)[:, None]


@dataclass(frozen=True)
class Whole(Good):
    def __call__(self, classifier, batch):
        return (super().__call__(classifier, batch) * 100).long()


@dataclass(frozen=True)
class KeepsGraph(Good):
    def __call__(self, classifier, batch):
        return super().__call__(classifier, batch).requires_grad_()


@dataclass(frozen=True)
class ZeroByZero(Good):
    """A common fault of min-max scaling."""

    def __call__(self, classifier, batch):
        found = super().__call__(classifier, batch).relu() * 0
        return found / found.amax((1, 2), keepdim=True)


@dataclass(frozen=True)
class TorchRandom(Good):
    def __call__(self, classifier, batch):
        return super().__call__(classifier, batch) + torch.rand(1) * 0


@dataclass(frozen=True)
class NumpyRandom(Good):
    def __call__(self, classifier, batch):
        return super().__call__(classifier, batch) + np.random.rand() * 0  # noqa: NPY002  # the fault


@dataclass(frozen=True)
class PythonRandom(Good):
    def __call__(self, classifier, batch):
        return super().__call__(classifier, batch) * random.random()


@dataclass(frozen=True)
class SharedState(Good):
    """Its random state goes on from call to call, as in the package `lime`."""

    state_of_package: ClassVar[Any] = np.random.default_rng(0)

    def __call__(self, classifier, batch):
        return super().__call__(classifier, batch) * float(self.state_of_package.random())


@dataclass(frozen=True)
class LooksAtCompanions(Good):
    def __call__(self, classifier, batch):
        found = super().__call__(classifier, batch)
        return found / found.abs().max()


@dataclass(frozen=True)
class SeedsByPosition(Good):
    seed: int = 0

    def __call__(self, classifier, batch):
        noise = [torch.rand(batch.content.shape[1:], generator=generator(self.seed, str(i))) for i in range(len(batch))]
        return super().__call__(classifier, batch) + torch.stack(noise)


@dataclass(frozen=True)
class DependsOnIds(Good):
    def __call__(self, classifier, batch):
        return super().__call__(classifier, batch) * torch.tensor([float(len(i)) for i in batch.ids])[:, None, None]


@dataclass(frozen=True)
class LeavesEval(Good):
    def __call__(self, classifier, batch):
        classifier.eval()
        return self.gradient(classifier, batch)


@dataclass(frozen=True)
class TrainsAlong(Good):
    """Explains in whatever mode the model is, and batch norm learns from the pictures."""

    def __call__(self, classifier, batch):
        return self.gradient(classifier, batch)


@dataclass(frozen=True)
class LeavesHook(Good):
    def __call__(self, classifier, batch):
        classifier.register_forward_hook(lambda *_: None)
        return super().__call__(classifier, batch)


@dataclass(frozen=True)
class LeavesGradients(Good):
    def __call__(self, classifier, batch):
        with torch.enable_grad():
            classifier(batch.images).gather(1, batch.targets[:, None]).sum().backward()
        return super().__call__(classifier, batch)


@dataclass(frozen=True)
class Freezes(Good):
    def __call__(self, classifier, batch):
        classifier.requires_grad_(False)
        return super().__call__(classifier, batch)


@dataclass(frozen=True)
class ChangesWeights(Good):
    def __call__(self, classifier, batch):
        with torch.no_grad():
            next(classifier.parameters()).mul_(1.01)
        return super().__call__(classifier, batch)


@dataclass(frozen=True)
class ChangesPictures(Good):
    def __call__(self, classifier, batch):
        batch.images.mul_(0.99)
        return super().__call__(classifier, batch)


@dataclass(frozen=True)
class SaysUnsigned(Good):
    signed = False


@dataclass(frozen=True)
class SaysOneMapForAll(Good):
    class_specific = False


@dataclass(frozen=True)
class OneMapForAll(Good):
    def __call__(self, classifier, batch):
        return batch.images.mean(1)


@dataclass(frozen=True)
class StrangeUpsampling(Good):
    upsampling = "bicubic"


@dataclass(frozen=True)
class FitsInPlace(Good):
    learned: float = 0.0

    def fit(self, classifier, training):
        return dataclasses.replace(self, learned=1.0)


@dataclass(frozen=True)
class FitReturnsNothing(Good):
    def fit(self, classifier, training):
        pass


def test_a_good_explainer_passes_and_leaves_everything_as_it_was():
    classifier = tiny_classifier()
    before = classifier.weights_hash(), torch.get_rng_state()
    check_explainer(Good(), classifier)
    assert classifier.weights_hash() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert all(p.requires_grad for p in classifier.parameters())
    assert not classifier.training


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (NotFrozen, "NotFrozen must be a frozen dataclass"),
        (NoMap, "returned a str; expected a tensor"),
        (WrongShape, r"returned shape \(4, 1, 32, 48\); expected \(4, h, w\)"),
        (Whole, "returned torch.int64; expected floats"),
        (KeepsGraph, r"return maps\.detach\(\)"),
        (ZeroByZero, "NaN or infinite values"),
        (TorchRandom, "drew from torch's global random state"),
        (NumpyRandom, "drew from numpy's global random state"),
        (PythonRandom, "another map for the same input"),
        (SharedState, "another map for the same input"),
        (LooksAtCompanions, "depends on the other pictures"),
        (SeedsByPosition, "does not just reorder the maps"),
        (DependsOnIds, "has no field `seed`"),
        (LeavesEval, r"changed the classifier's mode \(training or eval\)"),
        (TrainsAlong, "changed the classifier's weights or buffers"),
        (LeavesHook, "changed the classifier's hooks"),
        (LeavesGradients, r"changed the classifier's gradients \(\.grad\)"),
        (Freezes, "changed the classifier's requires_grad"),
        (ChangesWeights, "changed the classifier's weights or buffers"),
        (ChangesPictures, "changed the batch it was given"),
        (SaysUnsigned, "says signed = False and returns negative values"),
        (SaysOneMapForAll, "its map depends on the target"),
        (OneMapForAll, "gives every class the same map"),
        (StrangeUpsampling, "upsampling is 'bicubic'"),
        (FitsInPlace, "fit changed fields"),
        (FitReturnsNothing, "fit returned a NoneType"),
    ],
)
def test_a_broken_explainer_is_told_what_is_wrong(broken, said):
    with pytest.raises(AssertionError, match=said):
        check_explainer(broken())


def test_unfit_goes_through_to_the_caller():
    @dataclass(frozen=True)
    class NeedsAttention(Good):
        def __call__(self, classifier, batch):
            raise Unfit("it needs attention; use a transformer.")

    with pytest.raises(Unfit):
        check_explainer(NeedsAttention())
