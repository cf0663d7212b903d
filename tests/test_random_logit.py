from dataclasses import replace

import pytest
import torch
from robustness_cases import Brightness, Slope, case_of, slow_ssim, trained, whole_batch
from scipy.stats import spearmanr
from torch import Tensor, nn
from xai_bench_explainers.edge_map import EdgeMap
from xai_bench_metrics._contract import BAD_MAP
from xai_bench_metrics._explained_again import NEW_BAD
from xai_bench_metrics.random_logit import AGNOSTIC, ALONE, RandomLogit, other_targets

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier

SSIM, SPEARMAN = "random_logit_ssim", "random_logit_spearman"


def three_heads() -> Classifier:
    heads = [Head("alone", ("yes",), "sigmoid"), Head("two", ("a", "b")), Head("four", tuple("wxyz"), "sigmoid")]
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 7)), heads)


def seven(targets: list[int]) -> Batch:
    count = len(targets)
    return Batch(torch.zeros(count, 1, 2, 2), torch.tensor(targets), tuple(f"film {i}" for i in range(count)),
                 torch.ones(count, 2, 2, dtype=torch.bool), None, torch.ones(count, 2))  # fmt: skip


def test_the_other_class_is_of_the_same_head_and_each_equally_likely() -> None:
    targets = [0] * 10 + [1] * 10 + [2] * 10 + [4] * 300
    batch = seven(targets)
    found, alone = other_targets(three_heads(), batch, 0)
    assert alone.tolist() == [True] * 10 + [False] * 320
    assert found[:30].tolist() == [0] * 10 + [2] * 10 + [1] * 10
    counts = found[30:].bincount(minlength=7).tolist()
    assert counts[:3] == [0, 0, 0]
    assert counts[4] == 0
    assert min(counts[3], *counts[5:]) > 70
    assert not torch.equal(found, other_targets(three_heads(), batch, 1)[0])


def test_equals_the_definition() -> None:
    classifier = tiny_classifier()
    batch = whole_batch(classifier)
    result = RandomLogit(seed=2)(case_of(classifier, batch, Slope()))
    others, _ = other_targets(classifier, batch, 2)
    own, new = Slope()(classifier, batch), Slope()(classifier, replace(batch, targets=others))
    for i in range(3):
        assert result.scores[SSIM][i].item() == pytest.approx(slow_ssim(own[i], new[i], 2.0), abs=1e-5)
        rho = spearmanr(own[i].flatten(), new[i].flatten()).statistic
        assert result.scores[SPEARMAN][i].item() == pytest.approx(rho, abs=1e-5)


def test_a_method_that_ignores_the_class_unknowingly_scores_one() -> None:
    classifier = tiny_classifier()
    result = RandomLogit()(case_of(classifier, tiny_batch(classifier), Brightness()))
    assert result.scores[SSIM].tolist() == pytest.approx([1] * 4)
    assert result.scores[SPEARMAN].tolist() == pytest.approx([1] * 4)


def test_the_gradients_of_one_logit_s_two_classes_are_opposite() -> None:
    _, batch = trained()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 5, 4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 7 * 11, 1))
    classifier = Classifier(model, [Head("finding", ("no", "yes"))]).eval()
    result = RandomLogit()(case_of(classifier, batch, Slope()))
    assert result.scores[SPEARMAN].tolist() == pytest.approx([-1] * 6)


def test_class_agnostic_methods_are_excluded_without_being_run() -> None:
    classifier = tiny_classifier()
    case = case_of(classifier, tiny_batch(classifier), EdgeMap())
    broken = case.saliency.clone()
    broken[1, 0, 0] = torch.nan
    result = RandomLogit()(replace(case, classifier=None, saliency=broken))
    assert result.reasons == (AGNOSTIC, BAD_MAP, AGNOSTIC, AGNOSTIC)
    assert all(values.isnan().all() for values in result.scores.values())


def test_a_head_of_one_class_and_an_unusable_map_of_the_other_class_are_excluded() -> None:
    classifier = three_heads()
    batch = seven([0, 1, 2])

    def explain(_: Classifier, shown: Batch) -> Tensor:
        maps = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(int(shown.targets[2])))
        maps[1, 0, 0] = torch.nan if shown.targets[1] == 2 else 0.5
        return maps

    case = case_of(classifier, replace(batch, content=torch.ones(3, 2, 2, dtype=torch.bool)), explain)
    result = RandomLogit()(replace(case, saliency=torch.rand(3, 2, 2)))
    assert result.reasons == (ALONE, NEW_BAD, None)
    assert result.scores[SSIM].isnan().tolist() == [True, True, False]
