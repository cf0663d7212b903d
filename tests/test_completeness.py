"""The completeness gap: maps with a known gap, who promises it, and METRICS' contract with such an explainer."""

from dataclasses import dataclass, replace

import pytest
import torch
from gradient_cases import linear
from hidden_cells_cases import box_case, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from xai_bench_explainers.deep_lift import DeepLift
from xai_bench_explainers.expected_gradients import ExpectedGradients
from xai_bench_explainers.integrated_gradients import IntegratedGradients
from xai_bench_metrics._contract import BAD_MAP, BAD_MODEL, CONSTANT
from xai_bench_metrics.completeness import NO_PROMISE, NO_RISE, Completeness

from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Case
from xai_bench.registry import EXPLAINERS
from xai_bench.testing import tiny_batch, tiny_classifier, tiny_training
from xai_bench.testing.metrics import reordered

RELATIVE, GAP = "completeness_gap_relative", "completeness_gap"


@dataclass(frozen=True)
class Promise:
    """Promises to start from pictures of these gray values."""

    values: tuple
    score: str = "logit"

    def __call__(self, classifier, batch):
        return torch.zeros(batch.content.shape)

    def baselines(self, batch):
        for value in self.values:
            yield torch.where(batch.content[:, None], value, batch.images)


def promised(case, *values, **fields):
    return replace(case, explainer=Promise(values, **fields))


@settings(max_examples=15)
@given(st.floats(-3, 3), st.floats(0, 1))
def test_the_gap_is_what_was_added_to_an_exact_map(extra, start):
    """The box's logit of `bright` is 4 (mean - 0.5) over its 16 x 24 pixels."""
    case = promised(box_case(2), start)
    exact = case.saliency - torch.where(case.saliency != 0, 4 * start / (16 * 24), 0)
    wrong = exact.clone()
    wrong[:, 5, 10] += extra
    result = Completeness()(replace(case, saliency=wrong))
    rise = exact.double().sum((1, 2))
    assert result.scores[GAP].tolist() == pytest.approx([abs(extra)] * 2, abs=1e-4)
    for n in range(2):
        if abs(rise[n]) > 0.06:
            assert result.scores[RELATIVE][n].item() == pytest.approx(abs(extra) / abs(rise[n].item()), abs=2e-2)


def test_the_baseline_s_score_is_the_mean_over_all_baselines():
    case = box_case(2)
    two, one = (Completeness()(promised(case, *values)).scores[GAP] for values in ((0.2, 0.6), (0.4,)))
    assert torch.allclose(two, one, atol=1e-5)


def test_an_explainer_s_own_score_is_asked():
    case = box_case(2)
    with torch.no_grad():
        start = torch.zeros_like(case.batch.images)
        rise = [torch.softmax(case.classifier(x), 1)[:, 1].double() for x in (case.batch.images, start)]
    found = Completeness()(promised(case, 0.0, score="probability")).scores[GAP]
    assert torch.allclose(found, (case.saliency.double().sum((1, 2)) - (rise[0] - rise[1])).abs(), atol=1e-5)


def explained(explainer, classifier, count=4):
    batch = tiny_batch(classifier, count)
    return Case(classifier, batch, explainer, explainer(classifier, batch), None, ("not_read",) * count)


def test_the_methods_that_promise_it_keep_it_better_with_more_steps():
    classifier = tiny_classifier()
    gaps = [Completeness()(explained(IntegratedGradients(n), classifier)).scores[GAP].mean() for n in (3, 300)]
    assert gaps[1] < gaps[0] / 3
    assert Completeness()(explained(DeepLift(), classifier)).scores[RELATIVE].nan_to_num(0).max() < 1e-4
    fitted = ExpectedGradients(20).fit(classifier, tiny_training(classifier))
    assert Completeness()(explained(fitted, linear())).scores[GAP].max() < 1e-3
    who = {name for name in EXPLAINERS if hasattr(EXPLAINERS[name].factory, "baselines")}
    assert who >= {"integrated_gradients", "expected_gradients", "deep_lift"}
    assert not who & {"saliency", "input_x_gradient", "lrp", "smooth_grad", "guided_backprop"}


def test_who_promises_nothing_is_excluded_and_unusable_maps_are_still_invalid():
    case = box_case()
    maps = case.saliency.clone()
    maps[1, 3, 3] = torch.nan
    result = Completeness()(replace(case, saliency=maps))
    assert result.reasons == (NO_PROMISE, BAD_MAP, NO_PROMISE)
    assert all(values.isnan().all() for values in result.scores.values())


def test_a_score_that_does_not_rise_has_a_gap_but_no_share():
    case = box_case(2)
    flat = replace(case, batch=replace(case.batch, images=torch.full_like(case.batch.images, 0.3)))
    result = Completeness()(promised(flat, 0.3))
    assert [result.reason(RELATIVE, n) for n in range(2)] == [NO_RISE] * 2
    assert result.scores[GAP].tolist() == pytest.approx(case.saliency.sum((1, 2)).abs().tolist(), rel=1e-4)
    assert all(result.reason(GAP, n) is None or result.reason(GAP, n).state == "note" for n in range(2))


class Broken(torch.nn.Module):
    def forward(self, x):
        return torch.full((len(x), 3), torch.nan)


def test_a_model_that_returns_nan_is_invalid_and_a_constant_map_noted():
    classifier = Classifier(Broken(), tiny_classifier().heads, reader=Input(Resize(32, 48))).eval()
    batch = tiny_batch(classifier)
    case = Case(classifier, batch, Promise((0.0,)), noise(batch), None, ("not_read",) * 4)
    assert Completeness()(case).reasons == (BAD_MODEL,) * 4
    good = promised(replace(case, classifier=tiny_classifier(), saliency=torch.zeros(batch.content.shape)), 0.0)
    reasons = Completeness()(good).reasons
    assert all(r is not None and CONSTANT.text in r.text for r in reasons)


def test_order_companions_and_padding_change_no_score():
    case = explained(IntegratedGradients(5), tiny_classifier())
    first, order = Completeness()(case), torch.tensor([3, 1, 0, 2])
    turned = Completeness()(reordered(case, order))
    outside = Completeness()(replace(case, saliency=torch.where(case.batch.content, case.saliency, 9.0)))
    for name, values in first.scores.items():
        assert torch.allclose(turned.scores[name], values[order], rtol=1e-4, atol=1e-5, equal_nan=True)
        assert torch.equal(outside.scores[name].nan_to_num(-1), values.nan_to_num(-1))
