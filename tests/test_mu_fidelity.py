from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from hidden_cells_cases import box_case, make_case, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from xai_bench_metrics._contract import BAD_MAP, BAD_MODEL, check
from xai_bench_metrics._hidden_cells import Falls, cells_of
from xai_bench_metrics.mu_fidelity import NO_FALL, NO_SUM, MuFidelity, pearson

from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.protocols import Case
from xai_bench.seeding import generator
from xai_bench.testing import tiny_batch, tiny_classifier, tiny_training

PEARSON, SPEARMAN = "mu_fidelity", "mu_fidelity_spearman"


def slow_pairs(metric: MuFidelity, case: Case, n: int) -> tuple[list[float], list[float]]:
    """Word for word, one picture at a time: the sum of the map over a random subset, and the fall without it."""
    image, background = case.batch.images[n], metric.imputer(case.batch)[n]
    labels = cells_of(case.batch.content[n : n + 1], metric.cells)[0]
    present = [cell for cell in range(metric.cells**2) if (labels == cell).any()]
    size = max(1, round(metric.share * len(present)))
    draws = torch.rand(metric.samples, metric.cells**2, generator=generator(metric.seed, case.batch.ids[n]))
    told, falls = [], []
    for draw in draws:
        subset = sorted(present, key=lambda cell: draw[cell].item())[:size]
        mask = sum((labels == cell for cell in subset), torch.zeros_like(labels, dtype=torch.bool))
        told.append(case.saliency[n][mask].double().sum().item())
        with torch.no_grad():
            logits = case.classifier(torch.stack([image, torch.where(mask, background, image)]))
        found = case.classifier.probabilities(logits) if metric.score == "probability" else logits
        whole, hidden = found[:, case.batch.targets[n]].tolist()
        falls.append(whole - hidden)
    return told, falls


@settings(max_examples=10)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["probability", "logit"]),
    st.integers(20, 40),
    st.integers(3, 6),
    st.floats(0.05, 0.6),
)
def test_equals_the_definition_by_scipy(seed: int, kind: str, samples: int, cells: int, share: float) -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, 2, seed)  # the second is letterboxed
    case = make_case(classifier, batch, noise(batch, seed))
    metric = MuFidelity(samples, cells, Zero(), kind, seed, share)
    result = metric(case)
    for n in range(2):
        told, falls = slow_pairs(metric, case, n)
        assert result.scores[PEARSON][n].item() == pytest.approx(scipy.stats.pearsonr(told, falls)[0], abs=1e-3)
        ranked = scipy.stats.spearmanr(told, np.round(falls, 6))[0]
        # the classifier's rounding depends on the batch, and may turn two nearly equal falls around
        assert result.scores[SPEARMAN][n].item() == pytest.approx(ranked, abs=0.01)


def test_equals_quantus_on_the_same_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pixel is a cell: the subsets that we draw are handed to Quantus's FaithfulnessCorrelation."""
    from quantus.metrics.faithfulness.faithfulness_correlation import FaithfulnessCorrelation

    rng = np.random.default_rng(0)
    weights, images, saliency = rng.random((3, 6, 6)), rng.random((1, 1, 6, 6)), rng.random((1, 1, 6, 6))
    metric = MuFidelity(samples=40, cells=6, share=0.25)
    content = torch.ones(1, 6, 6, dtype=torch.bool)
    hidden = metric.hide(cells_of(content, 6), ["film"])[0]
    assert (hidden.sum(1) == 9).all()
    subsets = iter([row.nonzero()[:, 0].numpy() for row in hidden])
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(subsets))

    class Peer:
        def shape_input(self, x: np.ndarray, shape: tuple[int, ...], **_: bool) -> np.ndarray:
            return x.reshape(shape)

        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.tanh(np.einsum("bchw,khw->bk", x, weights) / 9)

    theirs = FaithfulnessCorrelation(nr_runs=40, subset_size=9, perturb_baseline=0.0, disable_warnings=True)
    expected = theirs.evaluate_batch(Peer(), images, np.array([1]), saliency)
    told = (hidden.numpy() * saliency.reshape(1, -1)).sum(1)
    left = np.where(hidden.numpy(), 0, images.reshape(1, -1)).reshape(-1, 1, 6, 6)
    falls = Peer().predict(images)[:, 1] - Peer().predict(left)[:, 1]
    assert pearson(torch.tensor(told[None]), torch.tensor(falls[None])).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("scale", "value"), [(1.0, 1), (1e-3, 1), (-2.0, -1)])
def test_the_exact_contributions_of_a_linear_model_correlate_perfectly(scale: float, value: int) -> None:
    case = box_case()
    result = MuFidelity(imputer=Zero(), score="logit")(replace(case, saliency=scale * case.saliency))
    assert result.scores[PEARSON].tolist() == pytest.approx([value] * 3, abs=1e-5)
    assert result.scores[SPEARMAN].tolist() == pytest.approx([value] * 3, abs=1e-3)


def test_the_contributions_beat_moved_random_and_reversed_maps() -> None:
    case, metric = box_case(), MuFidelity(imputer=Zero())
    exact = case.saliency
    controls = [exact.roll(10, 2), noise(case.batch).abs(), noise(case.batch), -exact]
    best, *others = metric.many([replace(case, saliency=one) for one in (exact, *controls)])
    for name in metric.scores:
        assert metric.scores[name].better == "higher"
        assert all((best.scores[name] > other.scores[name]).all() for other in others)


def test_spearman_follows_any_monotone_link_and_pearson_does_not() -> None:
    """The logit is linear in the picture and the probability is not: the ranks of the falls stay."""
    case = box_case()
    with torch.no_grad():
        case.classifier.model.gain.fill_(40.0)
    logit, probability = (MuFidelity(imputer=Zero(), score=kind)(case).scores for kind in ("logit", "probability"))
    assert (probability[PEARSON] < logit[PEARSON] - 0.05).all()
    assert (probability[SPEARMAN] > 0.9).all()


def test_sums_that_are_equal_tie_in_any_order_of_addition() -> None:
    """Every cell sums to 0.1, 0.2 or 0.3 in its own way: rounding must not order equal subsets."""
    case = box_case(1)
    labels = cells_of(case.batch.content, 4)
    level = torch.tensor([0.1, 0.2, 0.3] * 5 + [0.1, 0.0]) / 64  # a cell has 64 pixels; the last is padding
    metric = MuFidelity(samples=60, cells=4, imputer=Zero(), share=0.3)
    told, falls = slow_pairs(metric, replace(case, saliency=level[labels]), 0)
    result = metric(replace(case, saliency=level[labels]))
    expected = scipy.stats.spearmanr(np.round(told, 6), np.round(falls, 6))[0]
    assert result.scores[SPEARMAN].item() == pytest.approx(expected, abs=2e-3)


def test_falls_that_differ_by_rounding_tie() -> None:
    case = box_case(1)
    told, fall = torch.arange(6.0)[None].double(), torch.tensor([[3e-8, -2e-8, 1e-8, 0.1, 0.3, 0.2]]).double()
    hidden, rounding = torch.zeros(1, 6, 81, dtype=torch.bool), torch.tensor([1e-6]).double()
    falls = Falls(cells_of(case.batch.content, 9), hidden, fall, rounding)
    result = MuFidelity().judge(check(case, "signed", needs_region=False), told, falls)
    expected = scipy.stats.spearmanr(told[0], [0, 0, 0, 1, 3, 2])[0]
    assert result.scores[SPEARMAN].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("cells", "share", "size"), [(4, 0.2, 3), (4, 0.01, 1), (5, 0.5, 12), (100, 0.5, 768)])
def test_subsets_have_one_size_and_only_cells_with_content(cells: int, share: float, size: int) -> None:
    content = torch.ones(2, 32, 48, dtype=torch.bool)
    content[1, :, 5:] = False
    hidden = MuFidelity(samples=3, cells=cells, share=share).hide(cells_of(content, cells), ["a", "b"])
    assert (hidden[0].sum(1) == size).all()
    assert (hidden[1].sum(1) == max(1, round(share * min(cells**2, min(cells, 32) * min(cells, 5))))).all()
    assert len(hidden.unique(dim=1)[0]) == 3


def test_many_maps_cost_one_and_give_the_same_bits() -> None:
    case = box_case()
    cases = [case, *(replace(case, saliency=noise(case.batch, seed)) for seed in range(3))]
    metric, case.classifier.engine = MuFidelity(samples=9), Engine(batch_size=1)
    single = [metric(c) for c in cases]
    case.classifier.engine = Engine(batch_size=1)
    together = metric.many(cases)
    assert case.classifier.engine.answered == 3 * metric.evaluations == 3 * 10
    for one, result in zip(single, together, strict=True):
        assert all(torch.equal(one.scores[name], result.scores[name]) for name in metric.scores)


def test_undefined_correlations_are_excluded_and_say_why() -> None:
    case = box_case(4)
    maps = noise(case.batch)
    maps[0], maps[1] = 0, 2.5  # a constant map's sums vary with the size of the cells only
    maps[2] = (~case.batch.content[2]).float()
    maps[3] = torch.where(case.batch.content[3], maps[3], 9.0)
    result = MuFidelity(samples=9)(replace(case, saliency=maps))
    assert result.reasons == (NO_SUM, NO_SUM, NO_SUM, None)
    with torch.no_grad():
        case.classifier.model.gain.zero_()
    still = MuFidelity(samples=9)(replace(case, saliency=noise(case.batch)))
    assert still.reasons == (NO_FALL,) * 4
    assert all(values.isnan().all() for values in still.scores.values())


def test_unusable_maps_and_models_are_invalid() -> None:
    case = box_case()
    maps = noise(case.batch)
    maps[1, 2, 2] = float("inf")
    result = MuFidelity(samples=9)(replace(case, saliency=maps))
    assert result.reasons == (None, BAD_MAP, None)
    with torch.no_grad():
        case.classifier.model.gain.fill_(float("nan"))
    assert MuFidelity(samples=9)(replace(case, saliency=noise(case.batch))).reasons == (BAD_MODEL,) * 3


def test_the_seed_draws_other_subsets() -> None:
    case = box_case()
    first, second = (MuFidelity(samples=9, seed=seed)(case).scores[PEARSON] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_the_imputer_is_fitted() -> None:
    case = box_case()
    metric = MuFidelity(samples=9, imputer=TrainingMean())
    with pytest.raises(BadInput, match="not fitted"):
        metric(case)
    assert metric.fit(case.classifier, tiny_training(case.classifier))(case).scores[PEARSON].isfinite().all()


@pytest.mark.parametrize("fields", [{"samples": 2}, {"cells": 1}, {"share": 0.0}, {"share": 1.0}])
def test_impossible_numbers_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=r"(?i)mu_?fidelity"):
        MuFidelity(**fields)
