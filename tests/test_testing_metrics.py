"""The contract suite says, in one sentence, what is wrong with each deliberately broken metric."""

import dataclasses
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from xai_bench.errors import BadInput
from xai_bench.protocols import Reason, Result, ScoreInfo
from xai_bench.saliency import constant, invalid
from xai_bench.testing import (
    check_metric,
)


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
