"""The package lime, wrapped: its own maps, without its random state's memory and its progress bar."""

import dataclasses

import numpy as np
import pytest
import torch
from xai_bench_explainers.lime import Lime
from xai_bench_explainers.lime_package import Ask, LimePackage

from xai_bench.errors import BadInput
from xai_bench.pictures import pad
from xai_bench.seeding import derive
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier


def tiled_batch(classifier, count=2, channels=1):
    """Pictures of 64 x 96 pixels in tiles: several superpixels each."""
    tiles = torch.rand(count, channels, 2, 4, generator=torch.Generator().manual_seed(0))
    texture = (torch.arange(64)[:, None] + torch.arange(96)) % 2  # else a tile is hidden by what it shows: its own mean
    images = tiles.repeat_interleave(32, 2).repeat_interleave(24, 3)
    images = 0.8 * images + torch.linspace(0, 0.1, 96) + 0.1 * texture
    content = torch.ones(count, 64, 96, dtype=torch.bool)
    return dataclasses.replace(tiny_batch(classifier, count=count), images=images, content=content)


def brightness(pictures):
    """A classifier_fn of two classes; squares, because means of colors have the picture's own mean."""
    total = (pictures**2).mean((1, 2, 3))
    return np.stack([1 - total, total], 1)


def weights(found, label=1):
    return np.array([weight for _, weight in sorted(found.local_exp[label])])


@pytest.mark.parametrize(
    "fields", [{"kernel_width": 0.1}, {"hide_color": 0.25, "batch_size": 7}, {"score": "logit", "seed": 4}]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_is_lime_with_the_same_fields(fields, channels):
    """The two ways from pictures to maps meet; test_lime.py has each step."""
    classifier = tiny_classifier()
    batch = tiled_batch(classifier, channels=channels)
    theirs = LimePackage(samples=50, **fields)(classifier, batch)
    ours = Lime(samples=50, **{k: v for k, v in fields.items() if k != "batch_size"})(classifier, batch)
    for one, other in zip(ours, theirs, strict=True):
        assert len(other.unique()) > 3
        assert torch.allclose(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_is_explain_instance_of_the_package():
    from lime.lime_image import LimeImageExplainer

    classifier, batch_sizes = tiny_classifier(), set()
    batch = tiled_batch(classifier, count=1)
    ask = Ask(classifier, int(batch.targets[0]), "probability", 10)
    explainer = LimeImageExplainer(random_state=np.random.RandomState(derive(0, batch.ids[0]) % 2**32))
    found = explainer.explain_instance(
        batch.images[0, 0].double().numpy(), ask, labels=(0,), top_labels=None, num_samples=35, random_seed=0
    )
    painted = np.zeros((64, 96))
    for superpixel, weight in found.local_exp[0]:
        painted[found.segments == superpixel] = weight
    classifier.register_forward_pre_hook(lambda _m, args: batch_sizes.add(len(args[0])))
    method = LimePackage(samples=35)
    assert np.array_equal(method(classifier, batch)[0].numpy(), painted.astype(np.float32))
    assert batch_sizes == {10}, "the last batch is padded: a model's rows are only comparable at one shape"


def test_evaluations_are_what_it_says():
    classifier, seen = tiny_classifier(), []
    classifier.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    method = LimePackage(samples=25, batch_size=10)
    batch = tiled_batch(classifier)
    short = method(classifier, batch)
    assert sum(seen) == 2 * method.evaluations == 60
    padded = method(classifier, pad(batch, 5))
    assert sum(seen) == 4 * method.evaluations, "a repeated picture is explained once"
    assert torch.equal(padded, short[[0, 1, 1, 1, 1]])


def test_f10_random_seed_does_not_seed_the_samples():
    """The package's `random_seed` means the segmentation only, and today's scikit-image does not even take it."""
    from lime.lime_image import LimeImageExplainer

    picture = tiled_batch(tiny_classifier(), count=1).images[0, 0].double().numpy()

    def explain(random_state, random_seed):
        made = LimeImageExplainer(random_state=random_state)
        return made.explain_instance(picture, brightness, num_samples=40, top_labels=2, random_seed=random_seed)

    one, other, another = explain(0, 5), explain(1, 5), explain(0, 6)
    assert np.array_equal(one.segments, other.segments)
    assert not np.allclose(weights(one), weights(other)), "the same random_seed, other samples"
    assert np.array_equal(one.segments, another.segments)
    assert np.array_equal(weights(one), weights(another)), "another random_seed changes nothing"


def test_the_packages_result_depends_on_the_pictures_before_it_and_ours_does_not():
    from lime.lime_image import LimeImageExplainer

    classifier = tiny_classifier()
    batch = tiled_batch(classifier)
    shared, picture = LimeImageExplainer(random_state=0), batch.images[0, 0].double().numpy()
    first, second = (shared.explain_instance(picture, brightness, num_samples=40, top_labels=2) for _ in range(2))
    assert not np.allclose(weights(first), weights(second))
    method = LimePackage(samples=40)
    maps = method(classifier, batch)
    turned = dataclasses.replace(batch, images=batch.images.flip(0), targets=batch.targets.flip(0), ids=batch.ids[::-1])
    assert torch.equal(method(classifier, turned), maps.flip(0))
    assert not torch.equal(LimePackage(samples=40, seed=1)(classifier, batch), maps)


def test_prints_nothing_and_leaves_the_packages_progress_bar_to_others(capfd):
    from lime import lime_image

    bar, classifier = lime_image.tqdm, tiny_classifier()
    LimePackage(samples=10)(classifier, tiled_batch(classifier))
    assert capfd.readouterr() == ("", "")
    assert lime_image.tqdm is bar


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_scores_that_are_not_finite_make_a_map_of_nan(value):
    classifier = tiny_classifier()
    batch = tiled_batch(classifier)
    batch.images[1, :, 0, 0] = 0.999  # only this picture has such a pixel, and only where it shows
    whole = LimePackage(samples=20, score="logit")(classifier, batch)
    inner = classifier.model.forward
    classifier.model.forward = lambda x: torch.where(x[:, :1, 0, 0] > (0.998 - 0.5) / 0.25, value, inner(x))
    broken = LimePackage(samples=20, score="logit")(classifier, batch)
    assert broken[1].isnan().all()
    assert torch.equal(broken[0], whole[0])


@pytest.mark.parametrize("fields", [{}, {"hide_color": 0.0, "score": "logit", "batch_size": 16}])
def test_contract(fields):
    check_explainer(LimePackage(samples=30, **fields))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"samples": 0}, "lime_package: samples is 0"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"hide_color": -1.0}, "hide_color is -1.0"),
    ],
)
def test_bad_fields_are_refused(fields, says):
    with pytest.raises(BadInput, match=says):
        LimePackage(**fields)
