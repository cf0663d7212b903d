"""What every metric must do: METRICS' contract, on hand-made maps and regions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xai_bench.anatomy import needs_players
from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import XaiBenchError
from xai_bench.pictures import select
from xai_bench.protocols import Batch, Case, Metric, Result, Saliency
from xai_bench.samples import RegionState
from xai_bench.seeding import generator
from xai_bench.spec import spec_of
from xai_bench.testing.explainers import fitted
from xai_bench.testing.fixtures import tiny_batch, tiny_classifier, tiny_regions, with_tiny_players
from xai_bench.testing.watch import check_spec, expect, left_alone, name_of, own_randomness

TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Slope:
    """The gradient of the target's logit: the explainer of the hand-made cases, for metrics that explain again."""

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        images = batch.images.clone().requires_grad_()
        with untouched(classifier), torch.enable_grad():
            score = classifier(images).gather(1, batch.targets[:, None]).sum()
            return torch.autograd.grad(score, images)[0].sum(1)


def check_metric(metric: Metric, classifier: Classifier | None = None) -> None:
    """The contract of a metric, on a tiny CNN unless another classifier is given; it is fitted and tuned first.

    Raises AssertionError with one sentence for the first thing that is wrong.
    """
    classifier = classifier or tiny_classifier()
    check_spec(metric)
    metric = fitted(metric, classifier)
    case = _case(metric, classifier)
    metric = _tuned(metric, case)
    _check_scores(metric)
    with left_alone(name_of(metric), classifier, case.batch):
        first = _score(metric, case)
    _check_same(metric, case, first)
    _check_maps(metric, case, first)
    _check_constant(metric, case)
    _check_many(metric, case)
    if metric.needs_region:
        _check_regions(metric, case, first)
        _check_direction(metric, case)


def _case(metric: Metric, classifier: Classifier) -> Case:
    batch = tiny_batch(classifier, count=5)
    batch = with_tiny_players(batch) if needs_players(metric) else batch
    maps = torch.stack([torch.randn(batch.content.shape[1:], generator=generator(0, i)) for i in batch.ids])
    state: RegionState = "drawn" if metric.needs_region else "not_read"
    shown = tiny_regions(batch) if metric.needs_region else None
    return Case(classifier, batch, Slope(), maps.to(batch.images.device), shown, (state,) * len(batch))


def _tuned(metric: Metric, case: Case) -> Metric:
    """The metric, tuned on the case where it has `tune`; untuned it must refuse to score."""
    tune: Any = getattr(metric, "tune", None)
    if tune is None:
        return metric
    who, before = name_of(metric), spec_of(metric)
    try:
        metric(case)
    except XaiBenchError:
        pass
    else:
        raise AssertionError(f"{who} scores before it was tuned; raise Unfit.")
    found: Metric = tune([case])
    expect(
        type(found) is type(metric) and spec_of(metric) == before == spec_of(found),
        f"{who}.tune must return a tuned copy (dataclasses.replace) with what was learned in a field `state`.",
    )
    return found


def _check_scores(metric: Metric) -> None:
    who = name_of(metric)
    expect(bool(metric.scores), f"{who} declares no score; name each in `scores`.")
    for name, info in metric.scores.items():
        expect(
            info.better in ("higher", "lower", None),
            f"{who}: better of {name!r} is {info.better!r}; expected 'higher', 'lower' or None.",
        )
        expect(info.low < info.high, f"{who}: the range of {name!r} is [{info.low}, {info.high}]; expected low < high.")
    polarity = getattr(metric, "polarity", "positive")
    expect(
        polarity in ("positive", "absolute", "signed"),
        f"{who}: polarity is {polarity!r}; expected positive, absolute or signed.",
    )


def _score(metric: Metric, case: Case) -> Result:
    """The metric's result, checked: names, shapes, range, and a reason for each missing score."""
    given = [t for t in (case.saliency, case.region) if t is not None]
    before = [t.clone() for t in given]
    result = metric(case)
    who, count = name_of(metric), len(case.batch)
    kept = all(torch.equal(old.nan_to_num(), new.nan_to_num()) for old, new in zip(before, given, strict=True))
    expect(kept, f"{who} changed the map or the region it was given; work on a clone.")
    names, declared = sorted(result.scores), sorted(metric.scores)
    expect(names == declared, f"{who} returns the scores {names} and declares {declared}; they must be the same.")
    expect(
        len(result.reasons) == count,
        f"{who} returns {len(result.reasons)} reasons for {count} pictures; one, or None, for each.",
    )
    for name, values in result.scores.items():
        _check_values(metric, result, name, values, count)
    _check_curves(who, result, count)
    return result


def _check_values(metric: Metric, result: Result, name: str, values: Tensor, count: int) -> None:
    who, info = name_of(metric), metric.scores[name]
    shape = tuple(values.shape)
    expect(
        shape == (count,) and values.is_floating_point(),
        f"{who}: {name!r} is {values.dtype} of shape {shape}; expected floats ({count},).",
    )
    for i, value in enumerate(values.tolist()):
        reason = result.reason(name, i)
        if math.isnan(value):
            told = reason is not None and reason.state in ("excluded", "invalid")
            expect(
                told, f"{who}: {name!r} is NaN and its reason is {reason}; say why with state 'excluded' or 'invalid'."
            )
            continue
        slack = TOLERANCE * max(1.0, abs(value))
        inside = info.low - slack <= value <= info.high + slack and math.isfinite(value)
        expect(inside, f"{who}: {name!r} is {value}, outside its declared range [{info.low}, {info.high}].")
        marked = reason is None or reason.state == "note"
        expect(
            marked,
            f"{who}: {name!r} is {value} and its reason is {reason}; a score that counts has no reason, or a note.",
        )


def _check_curves(who: str, result: Result, count: int) -> None:
    if not result.curves:
        return
    if result.x is None:
        raise AssertionError(f"{who} returns curves without their x.")
    expect(bool((result.x.diff() > 0).all()), f"{who}: the x of its curves must rise.")
    for name, y in result.curves.items():
        wanted = (count, len(result.x))
        expect(
            tuple(y.shape) == wanted,
            f"{who}: curve {name!r} has shape {tuple(y.shape)}; expected {wanted}, one value for each x.",
        )


def _check_same(metric: Metric, case: Case, first: Result) -> None:
    """Repeated, reordered, and with another map beside it, a picture keeps its score."""
    who = name_of(metric)
    with own_randomness(who):
        again = _score(metric, case)
    expect(_differs(first, again) is None, f"{who} gives other scores for the same case; seed by (seed, picture id).")
    order = torch.arange(len(case.batch) - 1, -1, -1)
    turned = _unequal(first, _score(metric, reordered(case, order)), order.tolist())
    expect(turned is None, f"{who}: reordering the pictures does not just reorder the score {turned!r}.")
    others = 3 * case.saliency.flip(2)
    others[0] = case.saliency[0]
    beside = _unequal(first, _score(metric, dataclasses.replace(case, saliency=others)), [0])
    expect(beside is None, f"{who}: {beside!r} of a picture depends on the other maps in its batch.")


def _check_maps(metric: Metric, case: Case, first: Result) -> None:
    """Scale, padding and unusable values."""
    who, everyone = name_of(metric), list(range(len(case.batch)))
    if getattr(metric, "scale_invariant", True):
        doubled = _unequal(first, _score(metric, dataclasses.replace(case, saliency=case.saliency * 2)), everyone)
        expect(
            doubled is None,
            f"{who}: {doubled!r} changes when maps are doubled; normalize, or declare scale_invariant = False.",
        )
    padded = torch.where(case.batch.content, case.saliency, case.saliency.abs() * 100 + 100)
    outside = _unequal(first, _score(metric, dataclasses.replace(case, saliency=padded)), everyone)
    expect(
        outside is None,
        f"{who}: {outside!r} depends on the map in the letterbox padding; look inside batch.content only.",
    )
    for bad in (math.nan, math.inf):
        broken = case.saliency.clone()
        broken[1, 3, 20] = bad
        result = _score(metric, dataclasses.replace(case, saliency=broken))
        for name in metric.scores:
            reason = result.reason(name, 1)
            right, value = reason is not None and reason.state == "invalid", float(result.scores[name][1])
            expect(
                right, f"{who}: {name!r} of a map with a pixel {bad} is {value}; expected NaN and the state 'invalid'."
            )
        spread = _unequal(first, result, [i for i in everyone if i != 1])
        expect(spread is None, f"{who}: a pixel {bad} in one map changes {spread!r} of another picture.")


def _check_constant(metric: Metric, case: Case) -> None:
    who = name_of(metric)
    for level in (1.0, 0.0, -1.0):
        result = _score(metric, dataclasses.replace(case, saliency=torch.full_like(case.saliency, level)))
        told = all(r is not None and r.state != "invalid" for r in result.reasons)
        expect(
            told,
            f"{who}: a map that is {level} everywhere must be noted as constant; its reasons are {result.reasons}.",
        )


def _check_many(metric: Metric, case: Case) -> None:
    many: Any = getattr(metric, "many", None)
    if many is None:
        return
    who = name_of(metric)
    cases = [case, dataclasses.replace(case, saliency=case.saliency.flip(1))]
    together = many(cases)
    expect(len(together) == len(cases), f"{who}.many returned {len(together)} results for {len(cases)} cases.")
    for one, result in zip(cases, together, strict=True):
        wrong = _differs(_score(metric, one), result)
        expect(wrong is None, f"{who}.many gives another {wrong!r} than the metric itself.")


def _check_regions(metric: Metric, case: Case, first: Result) -> None:
    """Pictures without a region are excluded, and never a hit."""
    who, states = name_of(metric), list(case.region_state)
    assert case.region is not None
    for state, what in (
        ("not_read", "was not read"),
        ("marked_nothing", "is marked nothing"),
        ("drawn", "has no pixel"),
    ):
        region, changed = case.region.clone(), [*states]
        region[2], changed[2] = False, state  # type: ignore[call-overload]  # a RegionState each
        result = _score(metric, dataclasses.replace(case, region=region, region_state=tuple(changed)))
        for name in metric.scores:
            reason, value = result.reason(name, 2), float(result.scores[name][2])
            right = reason is not None and reason.state == "excluded" and math.isnan(value)
            expect(right, f"{who}: {name!r} is {value} where the region {what}; expected NaN and the state 'excluded'.")
        wrong = _unequal(first, result, [0, 1, 3, 4])
        expect(wrong is None, f"{who}: a picture whose region {what} changes {wrong!r} of another.")
    try:
        metric(dataclasses.replace(case, region=None))
    except XaiBenchError:
        return
    except Exception as error:
        raise AssertionError(f"{who} fails with {type(error).__name__} without any region; raise BadInput.") from error
    raise AssertionError(f"{who} needs regions and scores a case that has none; raise BadInput.")


def _check_direction(metric: Metric, case: Case) -> None:
    """The region itself as the map must beat noise, in the direction that each score declares."""
    oracle = _score(metric, dataclasses.replace(case, saliency=tiny_regions(case.batch).float()))
    noise = torch.stack([torch.rand(case.saliency.shape[1:], generator=generator(1, i)) for i in case.batch.ids]).to(
        case.saliency.device
    )
    chance = _score(metric, dataclasses.replace(case, saliency=noise))
    for name, info in metric.scores.items():
        best, usual = (float(result.scores[name].nanmean()) for result in (oracle, chance))
        gain = {"higher": best - usual, "lower": usual - best, None: 1.0}[info.better]
        told = f"{info.better} is better, and the region itself scores {best:.4g}, noise {usual:.4g}"
        expect(gain > 0, f"{name_of(metric)}: {name!r} says {told}.")


def reordered(case: Case, order: Tensor) -> Case:
    """The case with its pictures in another order."""
    states: tuple[RegionState, ...] = tuple(case.region_state[i] for i in order.tolist())
    region = None if case.region is None else case.region[order]
    return Case(case.classifier, select(case.batch, order), case.explainer, case.saliency[order], region, states)


def _differs(a: Result, b: Result) -> str | None:
    return _unequal(a, b, list(range(len(a.reasons))))


def _unequal(a: Result, b: Result, of: Sequence[int]) -> str | None:
    """The first score that differs: row i of b is picture of[i] of a, or, for a subset, the same row of both."""
    whole = len(of) == len(a.reasons)
    mine, theirs = list(of), list(range(len(of))) if whole else list(of)
    for name, values in a.scores.items():
        if not torch.allclose(
            values[mine].double(), b.scores[name][theirs].double(), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
        ):
            return name
    return None
