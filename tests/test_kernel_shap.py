"""Kernel SHAP: Shapley values by brute force, their axioms, the package `shap`, and convergence."""

import dataclasses
from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from xai_bench_explainers.kernel_shap import KernelShap, coalitions, shapley_values

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.protocols import Players
from xai_bench.samples import Head
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier, tiny_training


def with_strips(batch, *counts):
    """Players are vertical strips, so many in each picture, in turn."""
    columns = torch.arange(48)
    strips = [columns * counts[i % len(counts)] // 48 for i in range(len(batch))]
    labels = torch.stack(strips)[:, None].expand(-1, 32, -1)
    return dataclasses.replace(batch, players=Players(labels, ({},) * len(batch)))


def values_of(maps, batch, i):
    """The value of each player of picture i, from its map; all its pixels have it."""
    labels = batch.players.labels[i]
    values = [maps[i][labels == player].unique() for player in range(int(labels.max()) + 1)]
    assert all(len(v) == 1 for v in values)
    return torch.cat(values).double()


def game(method, classifier, batch, i):
    """The score of picture i as a function of rows of 0 and 1, one picture at a time."""
    hidden, labels = method.imputer(batch)[i], batch.players.labels[i]

    def score(rows):
        found = []
        for row in torch.as_tensor(rows):
            picture = torch.where(row[labels] > 0.5, batch.images[i], hidden)
            with torch.no_grad(), untouched(classifier):
                logits = classifier(picture[None])
                both = logits if method.score == "logit" else classifier.probabilities(logits)
            found.append(both[0, batch.targets[i]].item())
        return np.array(found)

    return score


def brute_force(value, players):
    """The definition: each player's marginal contribution, weighed over all coalitions of the others."""
    known = {}
    for size in range(players + 1):
        for members in combinations(range(players), size):
            known[frozenset(members)] = value([[float(p in members) for p in range(players)]])[0]
    found = []
    for player in range(players):
        others, total = [p for p in range(players) if p != player], 0.0
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for members in combinations(others, size):
                total += weight * (known[frozenset((*members, player))] - known[frozenset(members)])
        found.append(total)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("score", ["probability", "logit"])
@pytest.mark.parametrize("imputer", [Blur(30.0), Zero()])
def test_equals_brute_force_where_all_coalitions_are_asked(score, imputer):
    classifier = tiny_classifier()
    batch = with_strips(tiny_batch(classifier, count=6), 1, 2, 3, 4, 5, 6)
    method = KernelShap(64, segmentation="anatomy", imputer=imputer, score=score)
    maps = method(classifier, batch)
    for i in range(6):
        exact = brute_force(game(method, classifier, batch, i), i + 1)
        assert (values_of(maps, batch, i) - exact).abs().max() <= 1e-6 * max(1.0, exact.abs().max())


@given(st.integers(1, 7), st.integers(0, 999))
@settings(max_examples=40)
def test_the_regression_on_all_coalitions_is_the_shapley_value_of_any_game(players, seed):
    keep, weights = coalitions(players, 2**players, torch.Generator())
    table = np.random.default_rng(seed).normal(size=2**players)

    def value(rows):
        return table[(np.array(rows) > 0.5) @ (1 << np.arange(players))]

    found = shapley_values(keep, weights, torch.from_numpy(value(keep.numpy())))
    exact = brute_force(value, players)
    assert (found - exact).abs().max() <= 1e-10 * exact.abs().max()
    assert len(keep) == 2**players


@pytest.mark.parametrize("samples", [2, 11, 40, 300])
def test_values_sum_to_the_score_above_that_of_the_hidden_picture(samples):
    classifier = tiny_classifier()
    batch = with_strips(tiny_batch(classifier), 5, 8, 12, 24)
    method = KernelShap(samples, segmentation="anatomy", imputer=Blur(30.0))
    maps = method(classifier, batch)
    for i in range(4):
        values = values_of(maps, batch, i)
        whole, nothing = game(method, classifier, batch, i)(torch.tensor([[1.0], [0.0]]).expand(2, len(values)))
        assert values.sum().item() == pytest.approx(whole - nothing, abs=1e-5)


@pytest.mark.parametrize("samples", [60, 100, 1000])
def test_on_a_linear_model_values_are_weight_times_difference(samples):
    classifier = box_classifier(slice(0, 16), slice(0, 24))
    batch = with_strips(tiny_batch(classifier, count=2), 24)
    batch.targets[:] = 1
    maps = KernelShap(samples, segmentation="anatomy", imputer=Zero(), score="logit")(classifier, batch)
    for i in range(2):
        brightness = batch.images[i, 0, :16].reshape(16, 24, 2).sum((0, 2))
        expected = 4 * brightness / (16 * 24) * (torch.arange(24) < 12)
        assert torch.allclose(values_of(maps, batch, i), expected.double(), atol=1e-5)


class Square(nn.Module):
    """Logits (mean brightness squared, 0): every two players interact, no three do."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))

    def forward(self, images):
        z = self.gain * images.mean((1, 2, 3)) ** 2
        return torch.stack([z, 0 * z], 1)


def test_pairs_are_exact_where_only_two_players_interact():
    """In a coalition minus its complement, interactions of two become linear (Covert & Lee 2021, section 4.2)."""
    classifier = Classifier(Square(), [Head("finding", ("a", "b"))])
    batch = with_strips(tiny_batch(tiny_classifier(), count=1), 16)
    batch.targets[:] = 0
    found = values_of(
        KernelShap(100, segmentation="anatomy", imputer=Zero(), score="logit")(classifier, batch), batch, 0
    )
    share = batch.images[0, 0].reshape(32, 16, 3).mean((0, 2)).double() / 16
    expected = 4 * share * share.sum()  # its own square, and half of each product with another
    assert torch.allclose(found, expected, atol=1e-6)


def test_dummies_get_nothing_and_equal_players_the_same():
    classifier = box_classifier(slice(0, 32), slice(8, 24))  # strips 1 and 2 of 6
    batch = with_strips(tiny_batch(classifier, count=1), 6)
    batch.images[:] = 0.9
    batch.targets[:] = 1
    values = values_of(KernelShap(64, segmentation="anatomy", imputer=Zero())(classifier, batch), batch, 0)
    assert values[[0, 3, 4, 5]].abs().max() < 1e-6
    assert values[1].item() == pytest.approx(values[2].item(), abs=1e-6)
    assert values[1] > 0.1


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_equals_the_package(score):
    import shap

    classifier = tiny_classifier()
    batch = with_strips(tiny_batch(classifier, count=1), 7)
    method = KernelShap(126, segmentation="anatomy", imputer=Blur(30.0), score=score)
    found = values_of(method(classifier, batch), batch, 0)
    package = shap.KernelExplainer(game(method, classifier, batch, 0), np.zeros((1, 7)))
    theirs = package.shap_values(np.ones(7), nsamples=2**7, l1_reg=0, silent=True)
    assert np.abs(found.numpy() - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_converges_to_the_exact_values_as_samples_grow():
    """The mean squared error over 24 seeds falls about tenfold from 50 to 500 coalitions of 2,046."""
    classifier = tiny_classifier()
    one = with_strips(tiny_batch(classifier, count=1), 11)
    many = dataclasses.replace(
        one,
        images=one.images.expand(24, -1, -1, -1),
        targets=one.targets.expand(24),
        ids=tuple(f"draw {i}" for i in range(24)),
        content=one.content.expand(24, -1, -1),
        players=Players(one.players.labels.expand(24, -1, -1), ({},) * 24),
        spacing_mm=one.spacing_mm.expand(24, -1),
    )
    methods = {n: KernelShap(n, segmentation="anatomy", imputer=Zero()) for n in (50, 500, 2046)}
    exact = values_of(methods[2046](classifier, one), one, 0)
    errors, means = {}, {}
    for n in (50, 500):
        maps = methods[n](classifier, many)
        found = torch.stack([values_of(maps, many, i) for i in range(24)])
        errors[n], means[n] = (found - exact).square().mean().item(), found.mean(0)
    assert errors[500] < errors[50] / 5
    assert errors[500] ** 0.5 < 0.1 * exact.abs().max()
    assert (means[500] - exact).abs().max() < 4 * (11 * errors[500] / 24) ** 0.5  # no bias that can be seen


@given(st.integers(4, 40), st.integers(2, 13), st.integers(0, 999))
@settings(max_examples=40)
def test_coalitions_are_drawn_in_pairs_and_are_proper(players, samples, seed):
    keep, weights = coalitions(players, samples, torch.Generator().manual_seed(seed))
    assert keep[0].all() and not keep[1].any() and weights[:2].tolist() == [0, 0]
    half = samples // 2
    assert len(keep) == 2 + 2 * half
    assert torch.equal(keep[2 : 2 + half], ~keep[2 + half :])
    sizes = keep[2:].sum(1)
    assert ((sizes > 0) & (sizes < players)).all()


def test_sizes_and_members_follow_the_shapley_kernel():
    keep = coalitions(9, 500, torch.Generator().manual_seed(0))[0][2:]
    for seed in range(1, 40):
        keep = torch.cat([keep, coalitions(9, 500, torch.Generator().manual_seed(seed))[0][2:]])
    chance = np.array([1 / (s * (9 - s)) for s in range(1, 9)])
    expected = 20000 * chance / chance.sum()
    found = np.bincount(keep.sum(1).numpy(), minlength=10)[1:9]
    assert (np.abs(found - expected) < 4.5 * np.sqrt(2 * expected)).all()  # pairs: twice the variance of single draws
    single = keep[keep.sum(1) == 1].sum(0).double()
    assert ((single - single.mean()).abs() < 4.5 * single.mean().sqrt()).all()


def test_the_players_of_other_pictures_change_nothing():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    method = KernelShap(30, segmentation="anatomy")
    first = method(classifier, with_strips(batch, 6, 3, 5, 9))
    other = method(classifier, with_strips(batch, 6, 24, 2, 1))
    assert torch.equal(first[0], other[0])


def test_seed_and_id_make_the_coalitions():
    classifier = tiny_classifier()
    batch = with_strips(tiny_batch(classifier), 12)
    first = KernelShap(30, segmentation="anatomy")(classifier, batch)
    assert not torch.equal(first, KernelShap(30, 1, "anatomy")(classifier, batch))
    again = KernelShap(30, segmentation="anatomy")(
        classifier, dataclasses.replace(batch, ids=("another", *batch.ids[1:]))
    )
    assert not torch.equal(again[0], first[0])
    assert torch.equal(again[1:], first[1:])


def test_fits_its_imputer():
    classifier = tiny_classifier()
    fitted = KernelShap(imputer=TrainingMean()).fit(classifier, tiny_training(classifier))
    assert fitted.imputer.state["mean"].shape == (1, 32, 48)
    plain = KernelShap()
    assert plain.fit(classifier, tiny_training(classifier)) is plain


def test_evaluations_are_what_it_says():
    classifier = tiny_classifier()
    classifier.engine = Engine()
    method = KernelShap(70, segmentation="grid(8)")
    method(classifier, tiny_batch(classifier, count=3))
    assert 3 * (method.evaluations - 8) < classifier.engine.answered <= 3 * method.evaluations  # a few drawn twice


def test_a_model_that_returns_nan_gives_that_picture_a_map_of_nan():
    classifier = tiny_classifier()
    batch = with_strips(tiny_batch(classifier, count=3), 4, 12)
    batch.images[0] += 100
    inner = classifier.model.forward
    classifier.model.forward = lambda x: torch.where((x.amax((1, 2, 3)) > 100)[:, None], torch.nan, inner(x))
    maps = KernelShap(20, segmentation="anatomy")(classifier, batch)
    assert maps[0].isnan().all()
    assert maps[1:].isfinite().all()


@pytest.mark.parametrize("segmentation", ["grid(4)", "grid(2)", "felzenszwalb"])
def test_contract(segmentation):
    check_explainer(KernelShap(40, segmentation=segmentation))


@pytest.mark.parametrize(("fields", "says"), [({"samples": 1}, "samples is 1"), ({"segmentation": "tiles"}, "tiles")])
def test_bad_fields(fields, says):
    with pytest.raises(BadInput, match=says):
        KernelShap(**fields)
