"""A padded batch's repeated last picture costs sampling methods nothing, and changes no digit of any map."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from xai_bench_explainers._padding import distinct, each_copy
from xai_bench_explainers.expected_gradients import ExpectedGradients
from xai_bench_explainers.integrated_gradients import IntegratedGradients
from xai_bench_explainers.smooth_grad import SmoothGrad
from xai_bench_explainers.var_grad import VarGrad

from xai_bench.imputers.blur import Blur
from xai_bench.pictures import pad, select
from xai_bench.testing import tiny_batch, tiny_classifier, tiny_training, with_tiny_players


@given(st.integers(1, 5), st.integers(0, 6), st.integers(1, 9))
def test_every_copy_of_every_picture_is_explained_once_in_full_batches(count: int, extra: int, number: int) -> None:
    batch = select(with_tiny_players(tiny_batch(tiny_classifier(), 5)), torch.arange(count))
    few, size, asked = distinct(pad(batch, count + extra)), count + extra, []
    assert few.ids == batch.ids

    def explain(shown):
        asked.append(shown.ids)
        for i, name in enumerate(shown.ids):
            own = few.ids.index(name)
            assert shown.targets[i] == few.targets[own] and shown.players.names[i] == few.players.names[own]
            assert torch.equal(shown.content[i], few.content[own])
        return shown.images.sum(1)

    copies = [few.images + k for k in range(number)]
    found = list(each_copy(few, size, iter(copies), explain))
    assert len(found) == number
    for images, maps in zip(copies, found, strict=True):
        assert torch.equal(maps, images.sum(1))
    assert len(asked) == -(-number * len(few) // size) and {len(ids) for ids in asked} == {size}


def test_what_differs_in_picture_target_or_name_is_no_repeat() -> None:
    batch = tiny_batch(tiny_classifier(), 3)
    padded = pad(batch, 5)
    assert distinct(padded).ids == batch.ids
    assert torch.equal(distinct(padded).images, batch.images)
    changed = padded.images.clone()
    changed[4, 0, 0, 0] += 1
    others = [
        {"images": changed},
        {"targets": torch.cat([padded.targets[:4], 1 - padded.targets[4:]])},
        {"ids": (*padded.ids[:4], "another")},
    ]
    assert [len(distinct(replace(padded, **other))) for other in others] == [5, 5, 5]


@pytest.mark.parametrize(
    "method",
    [
        IntegratedGradients(7, Blur()),
        ExpectedGradients(7),
        SmoothGrad(samples=7),
        VarGrad(samples=7),
        SmoothGrad(IntegratedGradients(3), samples=3),
    ],
)
def test_a_map_is_the_same_in_a_full_and_in_a_padded_batch_which_is_cheaper(method) -> None:
    classifier = tiny_classifier()
    ready = method.fit(classifier, tiny_training(classifier)) if hasattr(method, "fit") else method
    full = tiny_batch(classifier, 8)
    expected, shapes, forward = ready(classifier, full), [], classifier.model.forward
    classifier.model.forward = lambda x: (shapes.append(tuple(x.shape)), forward(x))[1]
    for count in (1, 3, 5):
        shapes.clear()
        padded = pad(select(full, torch.arange(count)), 8)
        maps = ready(classifier, padded)
        assert torch.equal(maps[:count], expected[:count])
        assert torch.equal(maps[count:], expected[count - 1].expand(8 - count, -1, -1))
        assert set(shapes) == {(8, *full.images.shape[1:])}
        assert len(shapes) <= -(-method.evaluations * count // 8) + 3
