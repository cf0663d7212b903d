"""LIME: equal to the package, pictures to the bit, and right where the answer is known."""

import dataclasses
import weakref

import numpy as np
import pytest
import torch
import xai_bench_explainers.lime
from hypothesis import given, settings
from hypothesis import strategies as st
from xai_bench_explainers._players import _Film, _segmented, superpixels
from xai_bench_explainers.lime import CHUNK, Lime, fit_local_model, proximity

from xai_bench.classifiers.classifier import untouched
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.perturbation import evaluate_all
from xai_bench.pictures import pad
from xai_bench.protocols import Players
from xai_bench.seeding import derive
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier


def tiled_batch(classifier, count=3, channels=1):
    """Pictures of 64 x 96 pixels in tiles: not all have as many superpixels."""
    batch, images = tiny_batch(classifier, count=count), torch.empty(count, channels, 64, 96)
    for image, (rows, columns) in zip(images, ((2, 3), (2, 4), (4, 4)), strict=False):
        tiles = torch.rand(channels, rows, columns, generator=torch.Generator().manual_seed(0))
        image[:] = tiles.repeat_interleave(64 // rows, 1).repeat_interleave(96 // columns, 2)
    texture = (torch.arange(64)[:, None] + torch.arange(96)) % 2  # else a tile is hidden by what it shows: its own mean
    images = 0.8 * images + torch.linspace(0, 0.1, 96) + 0.1 * texture
    return dataclasses.replace(batch, images=images, content=torch.ones(count, 64, 96, dtype=torch.bool))


def package_chain(method, classifier, batch, i):
    """`explain_instance` of the package on one picture, and every picture that it asked the model for."""
    from lime.lime_image import LimeImageExplainer

    asked = []

    def probabilities(pictures):
        images = torch.from_numpy(pictures).float().permute(0, 3, 1, 2)
        asked.append(images)
        with torch.no_grad(), untouched(classifier):
            return classifier.probabilities(classifier(images)).double().numpy()

    state = np.random.RandomState(derive(method.seed, batch.ids[i]) % 2**32)
    explainer, target = LimeImageExplainer(kernel_width=method.kernel_width, random_state=state), int(batch.targets[i])
    image = batch.images[i].permute(1, 2, 0).double().numpy()
    found = explainer.explain_instance(
        image[:, :, 0] if image.shape[2] == 1 else image,
        probabilities,
        labels=(target,),
        top_labels=None,
        hide_color=method.hide_color,
        num_samples=method.samples,
        random_seed=0,
    )
    return found, torch.cat(asked)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("hide_color", [None, 0.25])
def test_the_whole_chain_is_the_packages(monkeypatch, channels, hide_color):
    """Segments and composed pictures to the bit, coefficients to 1e-5 of the largest."""
    calls = []
    record = lambda *given: calls.append(given[1:3]) or evaluate_all(*given)  # noqa: E731 - a spy of one line
    monkeypatch.setattr(xai_bench_explainers.lime, "evaluate_all", record)
    classifier, method = tiny_classifier(), Lime(samples=70, hide_color=hide_color)
    batch = tiled_batch(classifier, channels=channels)
    maps = method(classifier, batch)
    ((scene, keep),) = calls  # one call for all pictures
    sizes = set()
    for i, target in enumerate(batch.targets.tolist()):
        package, asked = package_chain(method, classifier, batch, i)
        assert np.array_equal(scene.labels[i].numpy(), package.segments)
        composed = scene.compose(torch.full((method.samples,), i), keep[i])
        assert torch.equal(composed.expand(-1, 3, -1, -1), asked)
        painted = np.zeros(package.segments.shape)
        for superpixel, weight in package.local_exp[target]:
            painted[package.segments == superpixel] = weight
        assert np.abs(maps[i].numpy() - painted).max() < 1e-5 * np.abs(painted).max()
        sizes.add(len(package.local_exp[target]))
    assert len(sizes) > 1, "pictures of equal size would not show a mistake in padding"


@pytest.mark.parametrize(("samples", "count", "kernel_width"), [(300, 12, 0.25), (40, 90, 0.25), (2500, 7, 0.1)])
def test_the_regression_is_the_packages(samples, count, kernel_width):
    """Given coalitions and scores: more samples than players, fewer, and more than fit into one chunk."""
    from lime.lime_image import LimeImageExplainer
    from sklearn.metrics import pairwise_distances

    random = np.random.default_rng(samples)
    data = random.integers(0, 2, (samples, count))
    data[0], data[1] = 1, 0
    scores = data @ random.normal(size=count) + random.normal(size=samples)
    base = LimeImageExplainer(kernel_width=kernel_width).base
    distances = pairwise_distances(data, data[:1], metric="cosine").ravel()
    intercept, exp, r2, prediction = base.explain_instance_with_data(data, scores[:, None], distances, 0, 100000)
    fit = fit_local_model(torch.from_numpy(data > 0), torch.from_numpy(scores), kernel_width)
    theirs = np.array([weight for _, weight in sorted(exp)])
    assert np.abs(fit.coefficients.numpy() - theirs).max() < 1e-6 * np.abs(theirs).max()
    assert [float(fit.intercept), float(fit.r2)] == pytest.approx([intercept, r2], rel=1e-9)
    assert float(fit.prediction) == pytest.approx(prediction[0], rel=1e-9)
    assert np.allclose(proximity(torch.from_numpy(data > 0), kernel_width), base.kernel_fn(distances), atol=1e-12)


def test_a_linear_model_is_recovered():
    random = torch.Generator().manual_seed(0)
    keep = torch.rand(CHUNK + 500, 6, generator=random) < 0.5
    true = torch.tensor([3.0, -2.0, 0.0, 0.5, 1.0, -1.0], dtype=torch.float64)
    fit = fit_local_model(keep, keep.double() @ true + 0.7, 0.25)
    assert torch.allclose(fit.coefficients, true, atol=0.02)  # the ridge shrinks a little
    assert float(fit.intercept) == pytest.approx(0.7, abs=0.02)
    assert float(fit.r2) == pytest.approx(1, abs=1e-4)
    weights = proximity(keep, 0.25)
    centered = keep.double() - (weights[:, None] * keep).sum(0) / weights.sum()
    gram = centered.T @ (weights[:, None] * centered)
    assert torch.allclose(gram @ fit.coefficients + fit.coefficients, gram @ true)  # and by exactly so much


def test_on_a_linear_classifier_a_cell_is_worth_what_it_adds():
    """The logit is 4 x (mean brightness of the upper half - 1/2)."""
    classifier = box_classifier(slice(0, 16), slice(0, 48))
    batch = tiny_batch(classifier, count=2)
    batch.targets[:] = 1
    method = Lime(samples=4000, segmentation="grid(4)", hide_color=0.25, score="logit")
    found = method(classifier, batch)
    above = (batch.images - 0.25)[:, 0].reshape(2, 4, 8, 4, 12).sum((2, 4))
    expected = 4 * above / (16 * 48) * torch.tensor([1.0, 1, 0, 0])[:, None]
    assert torch.allclose(found[:, ::8, ::12], expected, atol=0.02 * float(expected.abs().max()))
    against = method(classifier, dataclasses.replace(batch, targets=batch.targets * 0))
    assert torch.allclose(against, -found, atol=1e-6)


@given(st.floats(-9, 9), st.floats(-9, 9), st.integers(0, 999))
@settings(max_examples=25)
def test_the_fit_follows_its_scores_and_its_players(scale, shift, seed):
    random = torch.Generator().manual_seed(seed)
    keep, scores = torch.rand(50, 5, generator=random) < 0.5, torch.rand(50, generator=random, dtype=torch.float64)
    fit, order = fit_local_model(keep, scores, 0.25), torch.randperm(5, generator=random)
    moved, turned = fit_local_model(keep, scale * scores + shift, 0.25), fit_local_model(keep[:, order], scores, 0.25)
    assert torch.allclose(moved.coefficients, scale * fit.coefficients, atol=1e-12)
    assert torch.allclose(moved.intercept, scale * fit.intercept + shift, atol=1e-12)
    assert torch.allclose(turned.coefficients, fit.coefficients[order], atol=1e-12)
    assert 0 <= fit.r2 <= 1


def test_equal_scores_mean_nothing_matters():
    keep = torch.rand(30, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    fit = fit_local_model(keep, torch.full((30,), 0.1), 0.25)
    assert not fit.coefficients.any()
    assert (float(fit.r2), float(fit.intercept)) == (1, pytest.approx(0.1))


@pytest.mark.parametrize("segmentation", ["felzenszwalb", "slic", "anatomy"])
def test_the_player_that_holds_all_evidence_has_the_largest_coefficient(segmentation):
    """A bright square that segments cleanly, and a model that looks at nothing else."""
    square = slice(8, 20), slice(24, 36)
    classifier, inside = box_classifier(*square), torch.zeros(32, 48, dtype=torch.bool)
    inside[square] = True
    batch = tiny_batch(classifier, count=1)
    batch.images[:] = 0.1 + 0.2 * (torch.arange(48) > 11).float()
    batch.images[:, :, inside] = 0.9
    batch.targets[:] = 1
    labels = torch.where(inside, 5, (torch.arange(48) > 11).long())[None]
    batch = dataclasses.replace(batch, players=Players(labels, ({},)))
    found = Lime(samples=300, segmentation=segmentation, hide_color=0.0)(classifier, batch)[0]
    assert inside.flatten()[found.argmax()]
    assert found[inside].min() > found[~inside].max()


def test_gray_pictures_are_explained_as_their_three_equal_channels():
    classifier = tiny_classifier()
    gray = tiled_batch(classifier)
    color = dataclasses.replace(gray, images=gray.images.expand(-1, 3, -1, -1))
    assert torch.equal(Lime(samples=30)(classifier, gray), Lime(samples=30)(classifier, color))


def test_order_and_companions_change_no_bit():
    classifier = tiny_classifier()
    batch = tiled_batch(classifier, count=3)
    together = Lime(samples=50)(classifier, batch)
    for order in ([2, 0, 1], [1], [0, 2]):
        ids = tuple(batch.ids[i] for i in order)
        some = dataclasses.replace(
            batch, images=batch.images[order], targets=batch.targets[order], ids=ids, content=batch.content[order]
        )
        assert torch.equal(Lime(samples=50)(classifier, some), together[order])


def test_seed_and_id_make_the_samples():
    classifier = tiny_classifier()
    batch = tiled_batch(classifier)
    first = Lime(samples=30)(classifier, batch)
    assert not torch.equal(first, Lime(samples=30, seed=1)(classifier, batch))
    again = Lime(samples=30)(classifier, dataclasses.replace(batch, ids=("another", *batch.ids[1:])))
    assert not torch.equal(again[0], first[0])
    assert torch.equal(again[1:], first[1:])


def test_the_kernel_width_matters():
    classifier = tiny_classifier()
    batch = tiled_batch(classifier, count=1)
    wide, narrow = (Lime(samples=60, kernel_width=width)(classifier, batch) for width in (10.0, 0.1))
    assert not torch.allclose(wide, narrow, atol=1e-3 * float(wide.abs().max()))


def test_superpixels_are_remembered_and_the_pictures_are_not():
    array = np.random.default_rng(0).random((1, 24, 24)).astype(np.float32)
    first, before = superpixels(torch.from_numpy(array), "quickshift"), _segmented.cache_info().hits
    assert np.array_equal(superpixels(torch.from_numpy(array.copy()), "quickshift"), first)
    assert _segmented.cache_info().hits == before + 1
    kept = weakref.ref(array)
    assert np.array_equal(_segmented(_Film("another digest", kept), "quickshift"), first)
    del array
    assert kept() is None


def test_prints_nothing(capfd):
    classifier = tiny_classifier()
    Lime(samples=10)(classifier, tiny_batch(classifier, count=1))
    assert capfd.readouterr() == ("", "")


def test_scores_that_are_not_finite_make_a_map_of_nan_and_leave_the_others_alone():
    classifier = tiny_classifier()
    batch = tiled_batch(classifier, count=3)
    batch.images[1, :, 0, 0] = 0.999  # only this picture has such a pixel, and only where it shows
    whole = Lime(samples=20)(classifier, batch)
    inner = classifier.model.forward
    classifier.model.forward = lambda x: torch.where(x[:, :1, 0, 0] > (0.998 - 0.5) / 0.25, torch.nan, inner(x))
    broken = Lime(samples=20)(classifier, batch)
    assert broken[1].isnan().all()
    assert torch.equal(broken[[0, 2]], whole[[0, 2]])


def test_a_padded_batch_costs_no_extra_evaluations():
    classifier = tiny_classifier()
    classifier.engine = Engine(batch_size=8)
    batch = tiled_batch(classifier, count=3)
    short = Lime(samples=32, segmentation="grid(6)")(classifier, batch)
    spent = classifier.engine.answered
    assert spent == 3 * Lime(samples=32).evaluations
    padded = Lime(samples=32, segmentation="grid(6)")(classifier, pad(batch, 8))
    assert classifier.engine.answered == 2 * spent
    assert torch.equal(padded, short[[0, 1, 2, 2, 2, 2, 2, 2]])


@pytest.mark.parametrize("fields", [{}, {"segmentation": "grid(3)"}, {"hide_color": 0.0, "score": "logit"}])
def test_contract(fields):
    check_explainer(Lime(samples=40, **fields))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"samples": 1}, "samples is 1"),
        ({"hide_color": 128.0}, "hide_color is 128.0; expected a gray value from 0 to 1"),
        ({"kernel_width": 0.0}, "kernel_width is 0.0; expected a positive number"),
        ({"kernel_width": float("nan")}, "kernel_width is nan"),
        ({"segmentation": "grid(0)"}, "lime: segmentation 'grid\\(0\\)' is not known"),
    ],
)
def test_bad_fields_are_refused(fields, says):
    with pytest.raises(BadInput, match=says):
        Lime(**fields)
