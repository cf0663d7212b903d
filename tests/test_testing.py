"""The contract suites say, in one sentence, what is wrong with each deliberately broken plugin."""

import dataclasses
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Reason, Result, ScoreInfo
from xai_bench.saliency import constant, invalid
from xai_bench.samples import Fixed, Head, Region, RegionKey, Sample
from xai_bench.seeding import generator
from xai_bench.testing import (
    check_classifier,
    check_dataset,
    check_explainer,
    check_metric,
    tiny_batch,
    tiny_classifier,
    tiny_regions,
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


@dataclass(frozen=True)
class Inside:
    """Mean of the map inside the region minus outside, of scaled maps; the broken metrics differ in one thing."""

    needs_region: ClassVar[bool] = True
    scores: ClassVar[Mapping[str, ScoreInfo]] = {"inside": ScoreInfo("higher", -2, 2)}

    def __call__(self, case):
        if case.region is None:
            raise BadInput("this metric needs a region; pass one.")
        region, content = self.region(case), case.batch.content
        bad = invalid(case.saliency)
        maps = self.scaled(case).masked_fill(~content | bad[:, None, None], 0)
        value = self.mean(maps, region) - self.mean(maps, content & ~region)
        missing = torch.tensor([state != "drawn" for state in case.region_state]) | ~region.flatten(1).any(1)
        value = value.masked_fill(bad | missing, torch.nan)
        return self.result(value, bad, missing, constant(case.saliency, content))

    def result(self, value, bad, missing, flat):
        table = zip(bad, missing, flat, strict=True)
        return Result({"inside": value}, tuple(self.reason(*row) for row in table))

    def reason(self, bad, missing, flat):
        if bad:
            return Reason("invalid", "bad map")
        if missing:
            return Reason("excluded", "no region")
        return Reason("note", "constant map") if flat else None

    def region(self, case):
        return case.region & case.batch.content

    def scaled(self, case):
        peak = case.saliency.masked_fill(~case.batch.content, 0).abs().flatten(1).amax(1)
        return case.saliency / peak.clamp(min=1e-12)[:, None, None]

    def mean(self, maps, mask):
        return (maps * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)


@dataclass(frozen=True)
class AnotherName(Inside):
    def result(self, value, bad, missing, flat):
        found = super().result(value, bad, missing, flat)
        return dataclasses.replace(found, scores={"outside": value})


@dataclass(frozen=True)
class NoReasons(Inside):
    def reason(self, bad, missing, flat):
        return None


@dataclass(frozen=True)
class FewReasons(Inside):
    def result(self, value, bad, missing, flat):
        return dataclasses.replace(super().result(value, bad, missing, flat), reasons=(None,))


@dataclass(frozen=True)
class ScoreAndExcuse(Inside):
    def result(self, value, bad, missing, flat):
        return super().result(value, bad, missing | True, flat)


@dataclass(frozen=True)
class OneNumber(Inside):
    def result(self, value, bad, missing, flat):
        return super().result(value.mean(), bad, missing, flat)


@dataclass(frozen=True)
class OutOfRange(Inside):
    scores: ClassVar = {"inside": ScoreInfo("higher", 0.0, 0.01)}


@dataclass(frozen=True)
class NotInvalid(Inside):
    def scaled(self, case):
        return super().scaled(case).nan_to_num(0)

    def result(self, value, bad, missing, flat):
        return super().result(value.nan_to_num(0).masked_fill(missing, torch.nan), bad & False, missing, flat)


@dataclass(frozen=True)
class ConstantIsOrdinary(Inside):
    def reason(self, bad, missing, flat):
        return super().reason(bad, missing, False)


@dataclass(frozen=True)
class NotScaled(Inside):
    scores: ClassVar = {"inside": ScoreInfo("higher", -math.inf, math.inf)}

    def scaled(self, case):
        return case.saliency


@dataclass(frozen=True)
class CountsPadding(Inside):
    def scaled(self, case):
        return case.saliency / case.saliency.abs().flatten(1).amax(1).clamp(min=1e-12)[:, None, None]


@dataclass(frozen=True)
class ScalesByBatch(Inside):
    def scaled(self, case):
        return case.saliency / case.saliency.masked_fill(~case.batch.content, 0).abs().amax()


@dataclass(frozen=True)
class WrongDirection(Inside):
    scores: ClassVar = {"inside": ScoreInfo("lower", -2, 2)}


@dataclass(frozen=True)
class EmptyRegionHits(Inside):
    """As in a well-known package: an empty mask scores as a hit."""

    def result(self, value, bad, missing, flat):
        return super().result(value.masked_fill(missing, 1.0).masked_fill(bad, torch.nan), bad, missing & False, flat)


@dataclass(frozen=True)
class NoneIsNoMatter(Inside):
    def __call__(self, case):
        if case.region is None:
            case = dataclasses.replace(case, region=case.batch.content)
        return super().__call__(case)


@dataclass(frozen=True)
class NoneCrashes(Inside):
    def __call__(self, case):
        case.region.any()
        return super().__call__(case)


@dataclass(frozen=True)
class OverwritesMap(Inside):
    def scaled(self, case):
        return case.saliency.mul_(1.5) / case.saliency.abs().amax((1, 2), keepdim=True)


@dataclass(frozen=True)
class OtherEachTime(Inside):
    def mean(self, maps, mask):
        return super().mean(maps, mask) * random.random()


@dataclass(frozen=True)
class ManyDiffers(Inside):
    def many(self, cases):
        return [self(cases[0]) for _ in cases]


@dataclass(frozen=True)
class CurveWithoutX(Inside):
    def result(self, value, bad, missing, flat):
        found = super().result(value, bad, missing, flat)
        return dataclasses.replace(found, curves={"c": value[:, None].expand(-1, 3)})


@dataclass(frozen=True)
class CurveTooShort(Inside):
    def result(self, value, bad, missing, flat):
        found = super().result(value, bad, missing, flat)
        return dataclasses.replace(found, curves={"c": value[:, None].expand(-1, 3)}, x=torch.linspace(0, 1, 4))


@dataclass(frozen=True)
class CurveBackwards(Inside):
    def result(self, value, bad, missing, flat):
        found = super().result(value, bad, missing, flat)
        return dataclasses.replace(found, curves={"c": value[:, None].expand(-1, 3)}, x=torch.tensor([1.0, 0.5, 0]))


@dataclass(frozen=True)
class NoScores(Inside):
    scores: ClassVar = {}


def test_a_good_metric_passes():
    check_metric(Inside())


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (NoScores, "declares no score"),
        (AnotherName, r"returns the scores \['outside'\] and declares \['inside'\]"),
        (NoReasons, "is NaN and its reason is None"),
        (FewReasons, "returns 1 reasons for 5 pictures"),
        (ScoreAndExcuse, "a score that counts has no reason, or a note"),
        (OneNumber, r"torch.float32 of shape \(\); expected floats \(5,\)"),
        (OutOfRange, r"outside its declared range \[0.0, 0.01\]"),
        (NotInvalid, "expected NaN and the state 'invalid'"),
        (ConstantIsOrdinary, "must be noted as constant"),
        (NotScaled, "changes when maps are doubled"),
        (CountsPadding, "depends on the map in the letterbox padding"),
        (ScalesByBatch, "depends on the other maps in its batch"),
        (WrongDirection, "says lower is better"),
        (EmptyRegionHits, "where the region was not read; expected NaN and the state 'excluded'"),
        (NoneIsNoMatter, "scores a case that has none; raise BadInput"),
        (NoneCrashes, "fails with AttributeError without any region; raise BadInput"),
        (OverwritesMap, "changed the map or the region"),
        (OtherEachTime, "gives other scores for the same case"),
        (ManyDiffers, "many gives another 'inside'"),
        (CurveWithoutX, "returns curves without their x"),
        (CurveTooShort, r"curve 'c' has shape \(5, 3\); expected \(5, 4\)"),
        (CurveBackwards, "the x of its curves must rise"),
    ],
)
def test_a_broken_metric_is_told_what_is_wrong(broken, said):
    with pytest.raises(AssertionError, match=said):
        check_metric(broken())


def test_a_metric_may_declare_that_scale_matters():
    @dataclass(frozen=True)
    class Declared(NotScaled):
        scale_invariant = False

    check_metric(Declared())


def sample(number, **changes):
    """A film with a finding on every second one, and its region."""
    pixels = np.random.default_rng(number).random((20, 30))
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:12] = True
    finding = number % 2 == 1
    regions = {RegionKey("box", "derived"): Region("drawn", mask)} if finding else {}
    fields = {
        "id": f"film {number}",
        "patient": f"patient {number}",
        "labels": {"finding": "ill" if finding else "well"},
        "read_image": lambda: pixels,
        "digest": f"digest {number}",
        "read_regions": lambda: regions,
    }
    return Sample(**{**fields, **changes})


def films(changed=None, **dataset):
    """A good dataset, with film 1 (in train, with a finding) changed."""
    made = {n: sample(n, **((changed or {}) if n == 1 else {})) for n in range(12)}
    splits = {"train": range(4), "validation": range(4, 8), "test": range(8, 12)}
    fields = {"heads": (Head("finding", ("well", "ill")),), "findings": {"finding": ("ill",)}, "regions": ("box",)}
    return Fixed({name: tuple(made[n] for n in part) for name, part in splits.items()}, **{**fields, **dataset})


def drawn(mask):
    return {"read_regions": lambda: {RegionKey("box", "derived"): Region("drawn", mask)}}


def changing(values):
    """Reads another value each time."""
    found = iter(values)
    return lambda: next(found)


def test_a_good_dataset_passes():
    check_dataset(films())
    check_dataset(films({"labels": {"finding": None}, "read_regions": dict}))


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (films({"patient": "patient 9"}), "is in 'train' and in 'test'; split by patient"),
        (films({"id": "film 9"}), "the id 'film 9' is used twice"),
        (films({"labels": {"finding": "sick"}}), r"'film 1' is labeled 'sick'"),
        (films({"digest": ""}), "has no digest"),
        (films({"read_image": lambda: np.zeros((0, 4))}), r"'film 1' has shape \(0, 4\)"),
        (films({"read_image": lambda: np.zeros((4, 4, 4))}), r"has shape \(4, 4, 4\)"),
        (films({"read_image": lambda: np.zeros((20, 30), np.int32)}), "has int32 pixels"),
        (films({"read_image": lambda: np.full((20, 30), 200.0)}), r"has floats outside \[0, 1\]"),
        (films({"read_image": changing(np.full((20, 30), n / 99) for n in range(99))}), "has other pixels"),
        (films({"spacing_mm": (0.0, 1.0)}), r"has spacing \(0.0, 1.0\)"),
        (films({"read_corners": lambda: np.zeros((3, 4))}), r"of shape \(vertebrae, 4, 2\)"),
        (films(drawn(np.ones((10, 15), bool))), r"is \(10, 15\), the picture \(20, 30\)"),
        (films(drawn(np.ones((20, 30), np.uint8))), "has uint8 values; expected bool"),
        (films(drawn(np.zeros((20, 30), bool))), "its state should be 'marked_nothing'"),
        (films({"read_regions": lambda: {("box", "me", 1): None}}), r"must map RegionKey\(name, reference\) to Region"),
        (films(regions=("box", "column")), "declares region column"),
        (films(findings={"finding": ("worse",)}), "the classes are"),
        (films(findings={"severity": ("ill",)}), "findings names head 'severity'"),
        (films(heads=(Head("finding", ("well", "ill", "dead")),)), "no training film is labeled dead"),
    ],
)
def test_a_broken_dataset_is_told_what_is_wrong(dataset, said):
    with pytest.raises(AssertionError, match=said):
        check_dataset(dataset)


def test_a_dataset_with_an_empty_split_or_a_silent_one():
    empty = films()
    with pytest.raises(AssertionError, match="split 'test' is empty"):
        check_dataset(dataclasses.replace(empty, splits={**empty.splits, "test": ()}))

    class Silent(Fixed):
        def samples(self, split):
            return self.splits.get(split, ())

    with pytest.raises(AssertionError, match="must raise BadInput"):
        check_dataset(Silent(**{f.name: getattr(empty, f.name) for f in dataclasses.fields(empty)}))


def test_a_dataset_that_changes_between_calls():
    class Drifting(Fixed):
        def samples(self, split):
            count.append(1)
            return tuple(dataclasses.replace(s, digest=f"{s.digest} {len(count)}") for s in super().samples(split))

    count, good = [], films()
    with pytest.raises(AssertionError, match="the second time"):
        check_dataset(Drifting(**{f.name: getattr(good, f.name) for f in dataclasses.fields(good)}))


def broken_classifier(change):
    """The tiny classifier with one thing changed."""
    classifier = tiny_classifier()
    inner = classifier.model.forward
    classifier.model.forward = lambda x: change(inner(x), x)
    return classifier


def test_a_good_classifier_passes_and_is_left_as_it_was():
    classifier = tiny_classifier().train()
    before = classifier.weights_hash()
    check_classifier(classifier)
    assert classifier.weights_hash() == before
    assert classifier.training


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z, x: z * torch.nan, "NaN or infinite logits"),
        (lambda z, x: z + torch.rand(1), "drew from torch's global|other logits for the same pictures"),
        (lambda z, x: z - z.mean(0), "depend on the other pictures"),
        (lambda z, x: z.detach(), "no gradient with respect to the pictures"),
        (lambda z, x: z.detach() + 0 * x.mean(), "is 0 everywhere"),
        (lambda z, x: z.double(), "returns torch.float64"),
    ],
)
def test_a_broken_classifier_is_told_what_is_wrong(change, said):
    with pytest.raises(AssertionError, match=said):
        check_classifier(broken_classifier(change))


def test_a_classifier_whose_hash_or_layer_is_wrong():
    class NoLayer(Classifier):
        cam_layer = None

    class ForgetsHead(Classifier):
        def weights_hash(self):
            return str(next(self.parameters()).sum().item())

    good = tiny_classifier()
    head = (Head("finding", ("a", "b", "c")),)
    with pytest.raises(AssertionError, match=r"does not notice a change of model\.0\.bias"):
        check_classifier(ForgetsHead(good.model, head, reader=good.reader, cam_layer="4"))
    with pytest.raises(AssertionError, match="2 convolutions and no cam_layer"):
        check_classifier(NoLayer(good.model, head, reader=good.reader))
    idle = tiny_classifier()
    idle.model.idle = nn.Identity()
    idle.model.forward = lambda x: nn.Sequential.forward(idle.model[:8], x)
    idle.cam_layer = "idle"
    with pytest.raises(AssertionError, match="does not run in the forward pass"):
        check_classifier(idle)


def test_the_hand_made_pictures_exercise_the_contract():
    """Not square, a letterboxed film, a film without spacing, a region on each film and inside its content."""
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    assert batch.images.shape == (4, 1, 32, 48)
    assert batch.content.flatten(1).all(1).tolist() == [True, True, True, False]
    assert batch.spacing_mm.isnan().any(1).tolist() == [True, False, False, False]
    regions = tiny_regions(batch)
    assert regions.flatten(1).any(1).all()
    assert not (regions & ~batch.content).any()
    assert len({tuple(r.flatten().tolist()) for r in regions}) == 4
    with torch.no_grad():
        assert len(classifier(batch.images).argmax(1).unique()) > 1
