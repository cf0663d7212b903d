"""The map of the same network with other weights."""

import pytest
import torch
from xai_bench_explainers.edge_map import EdgeMap
from xai_bench_explainers.grad_cam import GradCAM
from xai_bench_explainers.randomized_twin import RandomizedTwin

from xai_bench.classifiers.randomized import randomized_twin, same_weights
from xai_bench.errors import Unfit
from xai_bench.study import Study
from xai_bench.testing import box_classifier, tiny_batch, tiny_classifier


def test_is_the_explainer_s_map_of_the_twin_and_the_classifier_keeps_its_weights() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    found = RandomizedTwin(GradCAM(signed=True), seed=4)(classifier, batch)
    assert torch.equal(found, GradCAM(signed=True)(randomized_twin(tiny_classifier(), 4), batch))
    assert not torch.allclose(found, GradCAM(signed=True)(classifier, batch))
    assert same_weights(classifier, tiny_classifier())


def test_other_seeds_give_other_maps_but_not_of_a_method_that_ignores_the_model() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    maps = [RandomizedTwin(GradCAM(signed=True), seed=seed)(classifier, batch) for seed in (0, 1)]
    assert not torch.allclose(*maps)
    assert torch.equal(RandomizedTwin(EdgeMap())(classifier, batch), EdgeMap()(classifier, batch))


def test_a_model_without_weights_is_unfit() -> None:
    classifier = box_classifier(slice(0, 4), slice(0, 4))
    with pytest.raises(Unfit, match="has no weights that can be randomized"):
        RandomizedTwin(EdgeMap())(classifier, tiny_batch(classifier))


def test_a_study_repeats_it_with_the_next_seed() -> None:
    classifiers = [{"name": "c", "architecture": "small_cnn"}]
    study = Study("s", "phantom", classifiers, [{"name": "randomized_twin", "repeats": 2}])
    assert [c.plugin.seed for c in study.explainers] == [0, 1]
