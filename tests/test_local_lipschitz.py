from dataclasses import replace

import pytest
import torch
from robustness_cases import Brightness, Slope, case_of, slow_copies, trained
from torch import Tensor
from xai_bench_metrics.local_lipschitz import SAME_PICTURE, LocalLipschitz
from xai_bench_metrics.sensitivity import Sensitivity

from xai_bench.classifiers.classifier import Classifier
from xai_bench.pictures import select
from xai_bench.protocols import Batch
from xai_bench.testing import tiny_batch, tiny_classifier

NAME = "local_lipschitz"


def slow_pairs(metric: LocalLipschitz, classifier: Classifier, batch: Batch, n: int) -> list[tuple[Tensor, ...]]:
    """Own map, new map, picture and noisy picture of each copy, inside content."""
    one, content = select(batch, torch.tensor([n])), batch.content[n]
    own = Slope()(classifier, one)[0][content].double()
    found = []
    for copy in slow_copies(metric, batch, n):
        new = Slope()(classifier, replace(one, images=copy[None]))[0][content].double()
        found.append((own, new, batch.images[n].double().flatten(), copy.double().flatten()))
    return found


def test_equals_the_definition_and_quantus_but_for_the_map_s_norm() -> None:
    functions = pytest.importorskip("quantus.functions.similarity_func", reason="the peer quantus is not installed")
    classifier = tiny_classifier()
    batch, metric = tiny_batch(classifier), LocalLipschitz(samples=5, radius=0.1, seed=1)
    found = metric(case_of(classifier, batch, Slope())).scores[NAME]
    for n in range(4):
        ours, theirs = [], []
        for own, new, picture, copy in slow_pairs(metric, classifier, batch, n):
            ours.append(((new - own).norm() / own.norm() / (copy - picture).norm()).item())
            arrays = (v.numpy() for v in (own, new, picture, copy))
            steep = functions.lipschitz_constant(*arrays, norm_numerator=functions.distance_euclidean)
            theirs.append(steep / own.norm().item())
        assert found[n].item() == pytest.approx(max(ours), rel=1e-4)
        assert found[n].item() == pytest.approx(max(theirs), rel=1e-4)


def test_a_map_that_is_the_picture_is_as_steep_everywhere() -> None:
    """||x' - x|| / (||x|| ||x' - x||) = 1 / ||x||, whatever the noise and the map's scale."""
    classifier, batch = trained()
    expected = (1 / batch.images.double().flatten(1).norm(dim=1)).tolist()
    for metric, scale in ((LocalLipschitz(2), 1.0), (LocalLipschitz(3, 0.2, 1), 50.0)):
        found = metric(case_of(classifier, batch, Brightness(scale)))
        assert found.scores[NAME].tolist() == pytest.approx(expected, rel=1e-4)


def test_asks_about_the_same_copies_as_sensitivity() -> None:
    classifier, batch = trained()
    case = case_of(classifier, batch, Slope())
    steep, moved = LocalLipschitz(1)(case).scores[NAME], Sensitivity(1)(case).scores["max_sensitivity"]
    for n in range(6):
        distance = (slow_copies(Sensitivity(1), batch, n)[0] - batch.images[n]).norm().item()
        assert steep[n].item() == pytest.approx(moved[n].item() / distance, rel=1e-4)


def test_noise_that_changes_nothing_is_excluded() -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    content = batch.content.clone()
    content[1] = False
    content[1, 3, 3] = True
    images = batch.images.clone()
    images[1] = 0
    for seed in range(20):  # noise below 0 on the only pixel of a black picture
        metric = LocalLipschitz(1, seed=seed)
        if slow_copies(metric, replace(batch, images=images, content=content), 1)[0].any():
            continue
        result = metric(case_of(classifier, replace(batch, images=images, content=content), Slope()))
        assert result.reasons[1] == SAME_PICTURE
        assert result.scores[NAME].isnan().tolist() == [False, True, False, False]
        return
    raise AssertionError("none of 20 seeds drew noise below 0")
