"""RISE: the authors' masks and sum, in bounded memory; on players, equal to a plain twin, and free after LIME."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize
from torch.utils._python_dispatch import TorchDispatchMode
from xai_bench_explainers.lime import Lime
from xai_bench_explainers.rise import CHUNK, Rise, RisePlayers, SoftScene, binary

from xai_bench.classifiers.classifier import untouched
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.protocols import Players
from xai_bench.score_cache import ScoreCache
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier, tiny_training


def probability(classifier, image, target):
    with torch.no_grad(), untouched(classifier):
        return float(classifier.probabilities(classifier(image[None]))[0, target])


def authors_mask(grid, height, width, down, right):
    """`generate_masks` of the authors' code, for one mask: scikit-image upsamples, then the shift is cut out."""
    cells = len(grid)
    size = (cells + 1) * math.ceil(height / cells), (cells + 1) * math.ceil(width / cells)
    big = resize(grid.astype("float32"), size, order=1, mode="reflect", anti_aliasing=False)
    return torch.from_numpy(big[down : down + height, right : right + width])


def decoded(bits, scene):
    """A row of a soft scene's coalitions, read by hand: grid, shift down, shift right."""
    values, cells = bits.int().tolist(), scene.cells
    shifts = values[cells**2 :]
    first = scene.shift_bits[0]
    down, right = (sum(bit << k for k, bit in enumerate(part)) for part in (shifts[:first], shifts[first:]))
    return np.array(values[: cells**2]).reshape(cells, cells), down, right


@pytest.mark.parametrize("method", [Rise(30, 3), Rise(30, 7, 0.3, imputer=Blur()), Rise(30, 2, 0.8, seed=1)])
def test_equals_the_authors_masks_and_sum(method):
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=2)
    maps, background = method(classifier, batch), method.imputer(batch)
    scene = SoftScene.over(batch, method.imputer, method.cells)
    for i in range(2):
        total = torch.zeros(32, 48)
        for bits in method._masks(scene, batch.ids[i]):
            mask = authors_mask(*[(found := decoded(bits, scene))[0], 32, 48, *found[1:]])
            dimmed = batch.images[i] * mask + background[i] * (1 - mask)
            total += probability(classifier, dimmed, batch.targets[i]) * mask
        assert torch.allclose(maps[i], total / method.samples / method.keep, atol=1e-5 * float(maps[i].max()))


@given(st.integers(2, 9), st.integers(9, 40), st.integers(9, 40), st.integers(0, 999))
@settings(max_examples=25)
def test_masks_equal_those_of_scikit_image_at_any_size_and_shift(cells, height, width, seed):
    random = torch.Generator().manual_seed(seed)
    batch = tiny_batch(tiny_classifier(), count=1)
    images = torch.ones(1, 1, height, width)
    batch = dataclasses.replace(batch, images=images, content=images[:, 0] > 0)
    scene = SoftScene.over(batch, Zero(), cells)
    grid = torch.rand(1, cells**2, generator=random) < 0.5
    down, right = (int(torch.randint(0, size, (1,), generator=random)) for size in scene.cell_size)
    shifts = [binary(torch.tensor([s]), n) for s, n in zip((down, right), scene.shift_bits, strict=True)]
    found = scene.compose(torch.tensor([0]), torch.cat([grid, *shifts], 1))[0, 0]
    expected = authors_mask(grid.view(cells, cells).numpy(), height, width, down, right)
    assert torch.allclose(found, expected, atol=1e-5)


def test_cells_are_drawn_with_probability_keep_and_shifts_below_the_cell():
    batch = tiny_batch(tiny_classifier(), count=1)
    scene = SoftScene.over(batch, Zero(), 5)  # cells of 7 x 10 pixels
    masks = Rise(4000, 5, 0.3)._masks(scene, "picture")
    assert abs(masks[:, :25].double().mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / (4000 * 25))
    shifts = np.array([decoded(bits, scene)[1:] for bits in masks])
    for axis, size in enumerate((7, 10)):
        counts = np.bincount(shifts[:, axis])
        assert len(counts) == size
        assert abs(counts - 4000 / size).max() < 4.5 * math.sqrt(4000 / size)


def test_points_at_the_box_that_the_model_looks_at():
    classifier = box_classifier(slice(8, 16), slice(24, 36))
    batch = tiny_batch(classifier, count=1)
    batch.images[:] = 0.9
    batch.targets[:] = 1
    found = Rise(samples=1500, cells=6)(classifier, batch)[0]
    row, column = divmod(found.argmax().item(), 48)
    assert 8 <= row < 16
    assert 24 <= column < 36
    against = Rise(samples=1500, cells=6)(classifier, dataclasses.replace(batch, targets=batch.targets * 0))[0]
    assert 8 <= against.argmin().item() // 48 < 16


def test_where_no_pixel_matters_the_map_is_the_score():
    classifier = box_classifier(slice(0, 4), slice(0, 4))
    batch = tiny_batch(classifier, count=1)
    batch.images[:] = 0  # every masked picture is the picture
    found = Rise(samples=3000)(classifier, batch)[0]
    score = probability(classifier, batch.images[0], batch.targets[0])
    assert (found / score - 1).abs().max() < 6 / math.sqrt(3000)


def test_signed_only_for_logits():
    classifier = box_classifier(slice(8, 16), slice(24, 36))
    assert not Rise().signed
    assert Rise(score="logit").signed
    assert (Rise(samples=20, score="logit")(classifier, tiny_batch(classifier)) < 0).any()


class Largest(TorchDispatchMode):
    """The most numbers that any floating tensor had."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.is_floating_point():
            self.numbers = max(self.numbers, found.numel())
        return found


def test_five_times_the_samples_take_no_larger_tensor():
    classifier = tiny_classifier()
    batch, peaks = tiny_batch(classifier, count=1), []
    for samples in (300, 1500):
        with Largest() as largest:
            Rise(samples)(classifier, batch)
        peaks.append(largest.numbers)
    assert peaks[0] == peaks[1] == CHUNK * 48 * 7  # the upsampling of one chunk's masks


def test_soft_and_hard_masks_never_share_answers():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=2)
    nobody = torch.zeros_like(batch.content, dtype=torch.long)
    hard = SoftScene.of(batch, nobody, Zero()).contexts
    soft = SoftScene.over(batch, Zero(), 7).contexts
    other = SoftScene.over(batch, Zero(), 6).contexts
    assert len({*hard, *soft, *other}) == 6


def test_a_second_run_asks_the_cache_only():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    classifier.engine = Engine(cache=ScoreCache())
    first = Rise(samples=50)(classifier, batch)
    spent = classifier.engine.answered
    assert 0 < spent <= 4 * 50
    assert torch.equal(Rise(samples=50)(classifier, batch), first)
    assert classifier.engine.answered == spent
    Rise(samples=50, seed=1)(classifier, batch)
    assert classifier.engine.answered > spent


@pytest.mark.parametrize("kind", [Rise, RisePlayers])
def test_seed_and_id_make_the_masks(kind):
    classifier = tiny_classifier()
    batch = with_strips(tiny_batch(classifier), 6)
    made = kind(samples=30) if kind is Rise else kind(samples=30, segmentation="anatomy")
    first = made(classifier, batch)
    assert not torch.equal(first, dataclasses.replace(made, seed=1)(classifier, batch))
    again = made(classifier, dataclasses.replace(batch, ids=("another", *batch.ids[1:])))
    assert not torch.equal(again[0], first[0])
    assert torch.equal(again[1:], first[1:])


def test_fits_its_imputer():
    classifier = tiny_classifier()
    fitted = Rise(imputer=TrainingMean()).fit(classifier, tiny_training(classifier))
    assert fitted.imputer.state["mean"].shape == (1, 32, 48)
    plain = Rise()
    assert plain.fit(classifier, tiny_training(classifier)) is plain


def test_evaluations_are_what_it_says():
    for method in (Rise(samples=70), RisePlayers(samples=70, segmentation="grid(8)")):
        classifier = tiny_classifier()
        classifier.engine = Engine()
        method(classifier, tiny_batch(classifier, count=2))
        assert classifier.engine.answered == 2 * method.evaluations


@pytest.mark.parametrize(
    "method", [Rise(samples=20), RisePlayers(samples=20, segmentation="grid(3)"), RisePlayers(20, hide_color=0.0)]
)
def test_a_model_that_returns_nan_gives_that_picture_a_map_of_nan(method):
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=3)
    batch.images[0] += 100
    inner = classifier.model.forward
    bright = lambda x: (x.amax((1, 2, 3)) > 100)[:, None]  # noqa: E731 - one line of a broken model
    classifier.model.forward = lambda x: torch.where(bright(x), torch.inf, inner(x))
    maps = method(classifier, batch)
    assert maps[0].isnan().all()
    assert maps[1:].isfinite().all()


class Conditional:
    """An imputer whose replacement depends on which pixels are hidden."""

    def __call__(self, batch):
        return batch.images

    def fill(self, images, background, shown, content):
        return images


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"cells": 1}, "cells is 1"),
        ({"keep": 0.0}, r"keep is 0\.0"),
        ({"keep": 1.0}, r"keep is 1\.0"),
        ({"imputer": Conditional()}, "only dim them"),
    ],
)
def test_bad_fields(fields, says):
    with pytest.raises(BadInput, match=says):
        Rise(**fields)


def test_more_cells_than_pixels():
    classifier = tiny_classifier()
    with pytest.raises(BadInput, match="do not fit"):
        Rise(cells=33)(classifier, tiny_batch(classifier))


@pytest.mark.parametrize(
    "method",
    [Rise(samples=40, imputer=Blur()), Rise(samples=40, score="logit"), RisePlayers(40, segmentation="grid(4)")],
)
def test_contract(method):
    check_explainer(method)


def with_strips(batch, *counts):
    """Players are vertical strips, so many in each picture, in turn."""
    columns = torch.arange(48)
    strips = [columns * counts[i % len(counts)] // 48 for i in range(len(batch))]
    labels = torch.stack(strips)[:, None].expand(-1, 32, -1)
    return dataclasses.replace(batch, players=Players(labels, ({},) * len(batch)))


@pytest.mark.parametrize("hide_color", [None, 0.25])
def test_on_players_equals_the_plain_twin(hide_color):
    classifier = tiny_classifier()
    batch = with_strips(tiny_batch(classifier, count=2), 3, 5)
    method = RisePlayers(40, segmentation="anatomy", hide_color=hide_color)
    maps = method(classifier, batch)
    for i in range(2):
        labels, image = batch.players.labels[i], batch.images[i]
        count = int(labels.max()) + 1
        random = np.random.RandomState(method_seed(batch.ids[i]))
        rows = random.randint(0, 2, 40 * count).reshape(40, count)[1:]
        scores = []
        for row in rows:
            picture = image.clone()
            for player in range(count):
                if not row[player]:
                    where = labels == player
                    picture[:, where] = image[:, where].mean() if hide_color is None else hide_color
            scores.append(probability(classifier, picture, batch.targets[i]))
        scores = np.array(scores)
        for player in range(count):
            value = scores[rows[:, player] == 1].mean() - scores[rows[:, player] == 0].mean()
            assert maps[i][labels == player].numpy() == pytest.approx(value, abs=1e-6)


def method_seed(picture_id):
    """Seed 0 as `lime` makes a numpy seed of it."""
    from xai_bench.seeding import derive

    return derive(0, picture_id) % 2**32


def test_on_players_a_player_without_influence_is_near_zero_and_the_others_are_their_weight():
    classifier = box_classifier(slice(0, 32), slice(16, 32))  # the second strip of three
    batch = with_strips(tiny_batch(classifier, count=1), 3)
    batch.images[:] = 0.9
    batch.targets[:] = 1
    found = RisePlayers(2000, segmentation="anatomy", hide_color=0.4, score="logit")(classifier, batch)[0, 0]
    error = 4 * 2 * 1.0 / math.sqrt(2000)  # a difference of two means of scores that are 2 apart, 4 standard errors
    assert abs(found[20] - 4 * (0.9 - 0.4)) < 1e-5
    assert found[[8, 40]].abs().max() < error


def test_a_player_that_is_always_or_never_shown_gets_zero():
    classifier = tiny_classifier()
    batch = with_strips(tiny_batch(classifier, count=4), 24)
    maps = RisePlayers(3, segmentation="anatomy")(classifier, batch)
    assert (maps == 0).any()
    assert maps.isfinite().all()


@pytest.mark.parametrize("hide_color", [None, 0.5])
def test_after_lime_nothing_is_computed_again(hide_color):
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    tiles = torch.rand(4, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    batch = dataclasses.replace(batch, images=torch.nn.functional.interpolate(tiles, (32, 48)))
    fields = {"samples": 60, "seed": 3, "segmentation": "slic", "hide_color": hide_color}
    alone = RisePlayers(**fields)(classifier, batch)
    classifier.engine = Engine(cache=ScoreCache())
    Lime(**fields)(classifier, batch)
    spent = classifier.engine.answered
    shared = RisePlayers(**fields)(classifier, batch)
    assert classifier.engine.answered == spent > 0
    assert torch.equal(shared, alone)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"samples": 2}, "samples is 2"),
        ({"segmentation": "grid(0)"}, "not known"),
        ({"hide_color": 1.5}, "from 0 to 1"),
    ],
)
def test_bad_fields_on_players(fields, says):
    with pytest.raises(BadInput, match=says):
        RisePlayers(**fields)
