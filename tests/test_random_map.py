"""The random control: uniform, independent of the model, by (seed, id) only."""

import dataclasses

import torch
from xai_bench_explainers.random_map import RandomMap

from xai_bench.testing import tiny_batch, tiny_classifier


def test_uniform_and_without_structure():
    classifier = tiny_classifier()
    maps = RandomMap()(classifier, tiny_batch(classifier, count=16)).double()
    values = maps.flatten()
    error = (1 / 12 / len(values)) ** 0.5
    assert abs(values.mean() - 0.5) < 4 * error
    assert abs(values.var() - 1 / 12) < 4 * (1 / 180 / len(values)) ** 0.5
    neighbors = torch.stack([maps[:, :, 1:].flatten(), maps[:, :, :-1].flatten()]).corrcoef()[0, 1]
    assert abs(neighbors) < 4 / len(values) ** 0.5


def test_by_seed_and_id_whatever_the_model_and_the_picture():
    batch = tiny_batch(tiny_classifier())
    first = RandomMap()(tiny_classifier(), batch)
    assert torch.equal(first, RandomMap()(tiny_classifier(seed=1), dataclasses.replace(batch, images=1 - batch.images)))
    assert not torch.equal(first, RandomMap(seed=1)(tiny_classifier(), batch))
    renamed = RandomMap()(tiny_classifier(), dataclasses.replace(batch, ids=("other", *batch.ids[1:])))
    assert not torch.equal(renamed[0], first[0])
    assert torch.equal(renamed[1:], first[1:])
