"""LIME: equal to the package where the package is well defined, and right where the answer is known."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from xai_bench_explainers.lime import Lime, superpixels

from xai_bench.classifiers.classifier import untouched
from xai_bench.errors import BadInput
from xai_bench.seeding import derive
from xai_bench.testing import box_classifier, tiny_batch, tiny_classifier


def package_map(method, classifier, batch, i):
    """`LimeImageExplainer.explain_instance` itself, on one picture of three channels."""
    from lime.lime_image import LimeImageExplainer

    def probabilities(pictures):
        with torch.no_grad(), untouched(classifier):
            images = torch.from_numpy(pictures).float().permute(0, 3, 1, 2)
            return classifier.probabilities(classifier(images)).double().numpy()

    state = np.random.RandomState(derive(method.seed, batch.ids[i]) % 2**32)
    image = batch.images[i].permute(1, 2, 0).double().numpy()
    target = int(batch.targets[i])
    found = LimeImageExplainer(random_state=state).explain_instance(
        image,
        probabilities,
        labels=(target,),
        top_labels=None,
        num_samples=method.samples,
        hide_color=method.hide_color,
        random_seed=0,
    )
    painted = np.zeros(found.segments.shape)
    for superpixel, weight in found.local_exp[target]:
        painted[found.segments == superpixel] = weight
    return torch.from_numpy(painted).float()


@pytest.mark.parametrize("hide_color", [None, 0.25])
def test_equals_the_package(hide_color):
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=2)
    tiles = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 0.2, 16).repeat(6)  # a tile of one color would be hidden by its own mean
    batch = dataclasses.replace(batch, images=0.8 * F.interpolate(tiles, (64, 96)) + ramp)
    method = Lime(samples=60, hide_color=hide_color)
    ours = method(classifier, batch)
    assert len(ours[0].unique()) > 6
    for i in range(2):
        assert torch.allclose(
            ours[i], package_map(method, classifier, batch, i), atol=2e-5 * float(ours[i].abs().max())
        )


def test_gray_pictures_are_explained_as_their_three_equal_channels():
    classifier = tiny_classifier()
    gray = tiny_batch(classifier, count=2)
    color = dataclasses.replace(gray, images=gray.images.expand(-1, 3, -1, -1))
    one, three = Lime(samples=30)(classifier, gray), Lime(samples=30)(classifier, color)
    assert torch.allclose(one, three, atol=1e-5 * float(one.abs().max()))


@pytest.mark.parametrize("segmentation", ["quickshift", "slic", "felzenszwalb"])
def test_superpixels_are_numbered_from_zero_without_gaps(segmentation):
    image = tiny_batch(tiny_classifier()).images[0]
    found = superpixels(image, segmentation)
    assert found.shape == (32, 48)
    assert np.unique(found).tolist() == list(range(found.max() + 1))


@pytest.mark.parametrize("segmentation", ["felzenszwalb", "slic"])
def test_the_superpixel_that_holds_all_evidence_has_the_largest_coefficient(segmentation):
    """A bright square that segments cleanly, and a model that looks at nothing else."""
    square = slice(8, 20), slice(24, 36)
    classifier = box_classifier(*square)
    batch = tiny_batch(classifier, count=1)
    batch.images[:] = 0.1 + 0.2 * (torch.arange(48) > 11).float()
    batch.images[:, :, *square] = 0.9
    batch.targets[:] = 1
    found = Lime(samples=300, segmentation=segmentation, hide_color=0.0)(classifier, batch)[0]
    inside = torch.zeros(32, 48, dtype=torch.bool)
    inside[square] = True
    assert found.argmax().item() in inside.flatten().nonzero().flatten().tolist()
    assert found[inside].min() > found[~inside].max()
    against = Lime(samples=300, segmentation=segmentation, hide_color=0.0)(
        classifier, dataclasses.replace(batch, targets=batch.targets * 0)
    )[0]
    assert torch.allclose(against, -found, atol=1e-4)


def test_seed_and_id_make_the_samples_and_order_does_not():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    first = Lime(samples=30)(classifier, batch)
    assert not torch.equal(first, Lime(samples=30, seed=1)(classifier, batch))
    renamed = dataclasses.replace(batch, ids=("another", *batch.ids[1:]))
    again = Lime(samples=30)(classifier, renamed)
    assert not torch.equal(again[0], first[0])
    assert torch.equal(again[1:], first[1:])


def test_prints_nothing(capfd):
    classifier = tiny_classifier()
    Lime(samples=10)(classifier, tiny_batch(classifier, count=1))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_model_that_returns_nan_gives_a_map_of_nan():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=2)
    broken = Lime(samples=10)(_nan_where_dark(classifier, batch.images[0]), batch)
    assert broken[0].isnan().all()
    assert broken[1].isfinite().all()


def _nan_where_dark(classifier, image):
    """NaN logits for pictures made from this one (they share its top left pixel's neighborhood)."""
    inner = classifier.model.forward
    mark = float(image[0, 0, 0])
    classifier.model.forward = lambda x: torch.where(
        ((x[:, 0, 0, 0] * 0.25 + 0.5 - mark).abs() < 0.02)[:, None], torch.nan, inner(x)
    )
    return classifier


def test_one_sample_is_refused():
    with pytest.raises(BadInput, match="samples is 1"):
        Lime(samples=1)


def test_a_padded_batch_costs_no_extra_evaluations():
    from xai_bench.pictures import pad

    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=2)
    calls = []
    classifier.register_forward_pre_hook(lambda _m, args: calls.append(len(args[0])))
    short = Lime(samples=32)(classifier, batch)
    spent = sum(calls)
    padded = Lime(samples=32)(classifier, pad(batch, 8))
    assert sum(calls) == 2 * spent == 2 * 2 * 32
    assert torch.equal(padded, short[[0, 1, 1, 1, 1, 1, 1, 1]])
