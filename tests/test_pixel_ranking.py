from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from quantus_peer import quantus_scores
from sklearn.metrics import average_precision_score, roc_auc_score
from xai_bench_metrics._contract import BAD_MAP, CONSTANT
from xai_bench_metrics.pixel_ranking import WHOLE, PixelRanking

from xai_bench.protocols import Result


def score(saliency: np.ndarray, region: np.ndarray, content: np.ndarray | None = None) -> Result:
    shown = None if content is None else torch.from_numpy(content)
    return PixelRanking()(make_case(torch.from_numpy(saliency), torch.from_numpy(region), shown))


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 100]))
def test_areas_are_those_of_scikit_learn_on_the_positive_part_inside_content(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    maps, content = np.round(levels * rng.normal(0.3, 1, (4, 7, 9))).astype(np.float32), rng.random((4, 7, 9)) < 0.8
    region = rng.random((4, 7, 9)) < rng.random((4, 1, 1))
    region[:, 0, 0], region[:, 0, 1], content[:, 0, :2] = True, False, True
    found = score(maps, region, content).scores
    for n in range(4):
        truth, values = region[n][content[n]], np.maximum(maps[n], 0)[content[n]]
        precision = average_precision_score(truth, values)
        assert found["auprc"][n].item() == pytest.approx(precision, rel=1e-12)
        assert found["auprc_above_chance"][n].item() == pytest.approx(precision - truth.mean(), abs=1e-12)
        assert found["auroc"][n].item() == pytest.approx(roc_auc_score(truth, values), rel=1e-12)


def test_a_film_of_usual_size_loses_no_digit() -> None:
    rng = np.random.default_rng(0)
    maps, region = rng.random((2, 224, 224)).astype(np.float32), np.zeros((2, 224, 224), bool)
    region[:, 50:170, 90:140] = True
    maps += 0.3 * region
    maps[1] = np.round(20 * maps[1])
    found = score(maps, region).scores
    for n in range(2):
        truth, values = region[n].ravel(), maps[n].ravel()
        assert found["auprc"][n].item() == pytest.approx(average_precision_score(truth, values), rel=1e-12)
        assert found["auroc"][n].item() == pytest.approx(roc_auc_score(truth, values), rel=1e-12)


def slow_rank(saliency: np.ndarray, region: np.ndarray) -> float:
    """Word for word: sort the positive part, the share of the first |m| that lie in m, over every order of pixels."""
    values, size = np.maximum(saliency, 0), int(region.sum())
    orders = permutations(range(len(values)))
    return float(np.mean([region[sorted(o, key=lambda p: -values[p])[:size]].mean() for o in orders]))


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_relevance_rank_is_the_expectation_over_all_orders_of_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    saliency, region = rng.integers(-2, 3, 6).astype(np.float32), rng.random(6) < 0.5
    region[0] = True
    found = score(saliency.reshape(1, 2, 3), region.reshape(1, 2, 3)).scores["relevance_rank"].item()
    assert found == pytest.approx(slow_rank(saliency, region))


@pytest.mark.parametrize("value", [0.0, 2.0, -3.0])
def test_a_constant_map_scores_chance_and_is_marked(value: float) -> None:
    content, region = np.ones((1, 4, 6), bool), np.zeros((1, 4, 6), bool)
    content[:, :, 4:], region[0, 0] = False, True
    result = score(np.full((1, 4, 6), value, np.float32), region, content)
    assert {name: values.item() for name, values in result.scores.items()} == {
        "auprc": 4 / 16, "auprc_above_chance": 0, "auroc": 0.5, "relevance_rank": 4 / 16,
    }  # fmt: skip
    assert result.reasons == (CONSTANT,)


def test_evidence_against_the_target_is_no_evidence_for_it_however_strong() -> None:
    region = np.array([[[True, True, False, False]]])
    weak, strong = (score(np.array([[[3, low, 1, -2]]], np.float32), region).scores for low in (-1, -9))
    assert all(torch.equal(weak[name], strong[name]) for name in weak)
    assert weak["auroc"].item() == (1 + 1 + 0 + 0.5) / 4


def test_a_region_that_is_all_content_has_no_roc() -> None:
    result = score(np.random.default_rng(1).random((1, 3, 3), np.float32), np.ones((1, 3, 3), bool))
    assert result.reason("auroc", 0) == WHOLE
    assert result.scores["auroc"].isnan().all()
    assert result.scores["auprc"].item() == result.scores["relevance_rank"].item() == 1


def test_the_region_itself_is_perfect_and_noise_is_chance_within_three_standard_errors() -> None:
    rng = np.random.default_rng(2)
    films, n = 400, 16 * 16
    region = np.zeros((films, 16, 16), bool)
    region[:, 4:9, 6:12] = True
    oracle, noise = score(region.astype(np.float32), region).scores, score(rng.random(region.shape), region).scores
    share, harmonic = 30 / n, (1 / np.arange(1, n + 1)).sum()
    # At rank k a pixel of the region sees precision (1 + (k - 1)(|m| - 1)/(n - 1)) / k: a little above the share.
    precision = (harmonic + (n - harmonic) * 29 / (n - 1)) / n
    for name, chance in (("auprc", precision), ("auroc", 0.5), ("relevance_rank", share)):
        assert oracle[name].eq(1).all()
        values = noise[name].numpy()
        assert abs(values.mean() - chance) < 3 * values.std() / films**0.5, name
    assert noise["auprc_above_chance"].mean().item() == pytest.approx(noise["auprc"].mean().item() - share)


def test_quantus_agrees_where_nothing_is_tied_or_negative() -> None:
    rng = np.random.default_rng(3)
    saliency, region = rng.random((6, 9, 8)).astype(np.float32), rng.random((6, 9, 8)) < 0.3
    found = score(saliency, region).scores
    assert found["auroc"].tolist() == pytest.approx(quantus_scores("auc", "AUC", saliency, region))
    rank = quantus_scores("relevance_rank_accuracy", "RelevanceRankAccuracy", saliency, region)
    assert found["relevance_rank"].tolist() == pytest.approx(rank)


def test_f14_one_nan_pixel_raises_quantus_rank_accuracy_and_makes_our_scores_invalid() -> None:
    saliency = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    region = saliency >= 14
    saliency[0, 0, 0] = 99  # the largest pixel lies outside
    peer = ("relevance_rank_accuracy", "RelevanceRankAccuracy")
    assert quantus_scores(*peer, saliency, region) == [0.5]
    assert score(saliency, region).scores["relevance_rank"].tolist() == [0.5]
    saliency[0, 0, 0] = np.nan
    assert quantus_scores(*peer, saliency, region) == [1.0]
    result = score(saliency, region)
    assert result.reasons == (BAD_MAP,)
    assert all(values.isnan().all() for values in result.scores.values())
