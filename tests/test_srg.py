from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from removal_cases import SIZE, contributions, linear, make_case, noise, score_of
from torch import Tensor
from xai_bench_metrics._contract import BAD_MAP, BAD_MODEL, CONSTANT
from xai_bench_metrics.removal import Deletion, Insertion
from xai_bench_metrics.srg import SymmetricRelevanceGain

from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.zero import Zero
from xai_bench.protocols import Case
from xai_bench.score_cache import ScoreCache
from xai_bench.seeding import generator

SRG = SymmetricRelevanceGain


def slow_areas(metric: SRG, case: Case, n: int) -> tuple[float, float]:
    """Word for word: one order of the pixels; flip them from its front, then from its back, and take both areas."""
    image, other = case.batch.images[n], metric.imputer(case.batch)[n]
    content, values = case.batch.content[n].flatten(), case.saliency[n].flatten()
    tie = torch.randperm(len(values), generator=generator(metric.seed, case.batch.ids[n])).tolist()
    order = sorted((p for p in tie if content[p]), key=lambda p: -values[p].item())
    counts = [(k * len(order) + metric.steps // 2) // metric.steps for k in range(metric.steps + 1)]
    areas = []
    for pixels, removed in (
        (order, counts),
        (order[::-1], [len(order) - count for count in counts[::-1]]),
    ):
        x, y = [], []
        for count in removed:
            now = image.clone()
            for p in pixels[:count]:
                now[:, p // SIZE, p % SIZE] = other[:, p // SIZE, p % SIZE]
            x.append(count / len(order))
            y.append(score_of(case, n, now, metric.score))
        areas.append(float(np.trapezoid(y, x)))
    return areas[0], areas[1]


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from(["probability", "logit"]), st.integers(2, 90))
def test_equals_the_definition(seed: int, score: str, steps: int) -> None:
    random = torch.Generator().manual_seed(seed)
    content = torch.rand(2, SIZE, SIZE, generator=random) < 0.8
    case = make_case(torch.randint(-2, 3, (2, SIZE, SIZE), generator=random).float(), content=content, channels=3)
    metric = SRG(imputer=Blur(40.0), steps=steps, score=score, seed=seed)
    result = metric(case)
    for n in range(2):
        morf, lerf = slow_areas(metric, case, n)
        found = [result.scores[name][n].item() for name in ("srg_morf", "srg_lerf", "srg")]
        assert found == pytest.approx([morf, lerf, lerf - morf], abs=1e-5)


def test_a_linear_model_gains_what_its_sorted_contributions_say() -> None:
    case = make_case(torch.zeros(1, SIZE, SIZE))
    told = contributions(case)
    metric = SRG(imputer=Zero(), steps=SIZE * SIZE, score="logit")
    result = metric(replace(case, saliency=told))
    best = told.flatten().double().sort().values / 2
    total = best.sum()
    morf = torch.cat([torch.zeros(1), best.flip(0).cumsum(0)])
    lerf = torch.cat([torch.zeros(1), best.cumsum(0)])
    assert result.curves["srg_morf"][0].tolist() == pytest.approx((total - morf).tolist(), abs=1e-5)
    assert result.curves["srg_lerf"][0].tolist() == pytest.approx((total - lerf).tolist(), abs=1e-5)
    gain = torch.trapezoid(morf - lerf) / SIZE**2
    assert result.scores["srg"].item() == pytest.approx(gain.item(), abs=1e-5)


def test_the_true_contributions_beat_random_maps_and_a_reversed_map_turns_the_sign() -> None:
    case = make_case(torch.zeros(6, SIZE, SIZE))
    oracle, metric = contributions(case), SRG(imputer=Zero(), score="logit")
    controls = (-oracle, noise(6, 4), torch.zeros(6, SIZE, SIZE), oracle.roll(1, 0))
    best, reverse, *others = (
        r.scores["srg"] for r in metric.many([replace(case, saliency=m) for m in (oracle, *controls)])
    )
    assert metric.scores["srg"].better == "higher"
    assert all((best > other).all() for other in others)
    assert torch.allclose(reverse, -best, atol=1e-6)


def test_it_is_insertion_minus_deletion_and_costs_nothing_after_them() -> None:
    classifier = linear()
    classifier.engine.cache = ScoreCache()
    content = torch.ones(3, SIZE, SIZE, dtype=torch.bool)
    content[2, :, :3] = False
    case = make_case(noise(3, 2).round(), classifier, content)
    down, up = Deletion()(case), Insertion()(case)
    assert classifier.engine.answered == 3 * (31 + 31 + 2)
    gain = SRG()(case)
    assert classifier.engine.answered == 3 * SRG().evaluations == 3 * (31 + 31 + 2)
    assert torch.equal(gain.curves["srg_morf"], down.curves["deletion"])
    assert torch.equal(gain.curves["srg_lerf"], up.curves["insertion"].flip(1))
    assert torch.equal(gain.scores["srg"], up.scores["insertion"] - down.scores["deletion"])


def test_both_passes_share_one_order_also_among_ties() -> None:
    """In a constant map all is ties: the pixels kept by one pass are those that the other removes."""
    case = make_case(torch.zeros(1, SIZE, SIZE))
    result = SRG(imputer=Zero(), steps=SIZE * SIZE, score="logit")(case)
    morf, lerf = result.curves["srg_morf"][0], result.curves["srg_lerf"][0]
    assert (morf + lerf.flip(0)).tolist() == pytest.approx([morf[0].item()] * len(morf), abs=1e-5)
    assert result.reasons == (CONSTANT,)


def test_many_maps_share_end_points_and_give_the_same_bits() -> None:
    classifier = linear(batch_size=11)
    case = make_case(noise(4, 0), classifier)
    cases = [case, *(replace(case, saliency=noise(4, seed)) for seed in (1, 2))]
    metric = SRG(steps=8)
    single = [metric(c) for c in cases]
    classifier.engine.answered = 0
    shared = metric.many(cases)
    assert classifier.engine.answered == 4 * (2 + 3 * 14)
    for one, result in zip(single, shared, strict=True):
        assert all(torch.equal(one.scores[name], result.scores[name]) for name in metric.scores)


def test_unusable_maps_and_models_are_invalid() -> None:
    maps = noise(2, 3)
    maps[1, 0, 0] = float("nan")
    case = make_case(maps)
    assert SRG()(case).reasons == (None, BAD_MAP)
    with torch.no_grad():
        case.classifier.model.weights[0, 0] = float("nan")
    broken = SRG()(replace(case, saliency=noise(2, 3)))
    assert broken.reasons == (BAD_MODEL,) * 2
    parts: list[Tensor] = [*broken.scores.values(), *broken.curves.values()]
    assert all(values.isnan().all() for values in parts)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(BadInput, match="srg: steps is 0; expected 2 or more"):
        SRG(steps=0)
