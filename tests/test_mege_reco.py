import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from twin_cases import World, by_score, drawn, films, noise, twins
from xai_bench_metrics.mege_reco import Distances, MegeReco, _reco

from xai_bench.errors import BadInput


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.sqrt(1 - abs(spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic)))


def slow_reco(agreeing: list[float], disagreeing: list[float]) -> float:
    """Word for word, every threshold."""
    a, b = np.array(agreeing), np.array(disagreeing)
    return max(0.0, *((a <= t).mean() + (b > t).mean() - 1 for t in [*agreeing, *disagreeing]))


def disagreeing(replicates: int = 3) -> World:
    """Twins of which one errs on some films, with a map of its own there; all labels are class 0."""
    world = twins(replicates=replicates, classes=1, noisy=2)
    odd = noise(99, 12, 14)
    for n, p in enumerate(films(12)):
        if n % 3 == 0:
            world.maps["cnn", 1][p] = (1, odd[n])
        if n == 4:
            for r in range(replicates):
                world.maps["cnn", r][p] = (1, world.maps["cnn", r][p][1])
    return world


def test_equal_the_definitions() -> None:
    world = disagreeing()
    found = by_score(MegeReco()(world.evidence()))
    agree, differ = [], []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        for p in films(12):
            (t, m), (u, k) = world.maps["cnn", a][p], world.maps["cnn", b][p]
            if t == 0 or u == 0:
                (agree if t == u else differ).append(distance(m, k))
    assert found["mege"].value == pytest.approx(1 / (1 + np.mean(agree)), abs=1e-6)
    assert found["reco"].value == pytest.approx(slow_reco(agree, differ))
    assert found["mege"].exclusions == {"both are wrong": 3}
    for row in found.values():
        assert row.low <= row.value <= row.high
        assert "25 comparisons where both are right, 8 where one is" in row.note


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_reco_equals_every_threshold_also_with_ties_and_weights(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    values, kind, weights = rng.integers(0, levels, 9) / levels, np.arange(9) % 3 == 0, rng.integers(1, 4, (1, 9))
    lines = Distances(values, kind, np.zeros(9, str), np.arange(9), {})
    repeated = [np.repeat(values[mine], weights[0, mine]).tolist() for mine in (kind, ~kind)]
    assert _reco(weights.astype(float), lines)[0] == pytest.approx(slow_reco(*repeated))


def test_identical_twins_have_mege_one_and_no_reco() -> None:
    found = by_score(MegeReco()(twins(noisy=0, classes=1).evidence()))
    assert found["mege"].value == 1
    assert np.isnan(found["reco"].value)
    assert "0 where one is" in found["reco"].note


def test_maps_that_follow_the_answer_have_reco_one_and_unrelated_maps_little() -> None:
    shared = torch.stack([noise(1, 1, 14)[0], noise(2, 1, 14)[0]])
    targets = {0: [0] * 40, 1: [n % 2 for n in range(40)]}
    honest = {("cnn", r): drawn(shared[t] + 0.1 * noise(r + 5, 40, 14), t) for r, t in targets.items()}
    assert by_score(MegeReco()(World(honest).evidence()))["reco"].value == 1
    blind = {("cnn", r): drawn(noise(r + 5, 40, 14), t) for r, t in targets.items()}
    assert by_score(MegeReco()(World(blind).evidence()))["reco"].value < 0.5


def test_what_cannot_be_compared_is_counted_by_reason() -> None:
    world = twins(classes=1)
    del world.maps["cnn", 1]["p0a"]
    world.maps["cnn", 0]["p0b"] = (0, torch.full((14, 14), torch.nan))
    world.maps["cnn", 1]["p1a"] = (0, torch.ones(14, 14))
    world.label = {"p1b": None}
    row = by_score(MegeReco()(world.evidence()))["mege"]
    assert row.exclusions == {"no map of one classifier": 1, "no label": 1, "invalid or constant map": 2}
    assert row.n == 8


def test_a_single_replicate_has_no_value() -> None:
    found = by_score(MegeReco()(twins(replicates=1).evidence()))
    assert [(np.isnan(r.value), r.note) for r in found.values()] == [(True, "no twin: it has one replicate")] * 2


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(BadInput, match="MegeReco"):
        MegeReco(grid=1)
