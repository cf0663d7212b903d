"""Players: superpixels of the package, cells of a grid, the anatomy; numbered without gaps, painted, averaged."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from xai_bench_explainers import _players
from xai_bench_explainers._players import check_segmentation, coin_flips, grid, mean_colors, paint, players, superpixels

from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Player, Players
from xai_bench.seeding import derive
from xai_bench.testing import tiny_batch, tiny_classifier


def tiles(rows, columns, channels=1):
    """A picture of 64 x 96 pixels in flat tiles with a faint ramp: it segments cleanly."""
    values = torch.rand(channels, rows, columns, generator=torch.Generator().manual_seed(0))
    large = values.repeat_interleave(64 // rows, 1).repeat_interleave(96 // columns, 2)
    return 0.8 * large + torch.linspace(0, 0.2, 96)


def batch_of(*images):
    batch = tiny_batch(tiny_classifier(), count=len(images))
    return dataclasses.replace(batch, images=torch.stack(images))


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40)
def test_a_pixel_is_in_the_cell_that_holds_its_center(cells, height, width):
    found = grid(height, width, cells)
    for y in range(height):
        for x in range(width):
            row, column = ((2 * at + 1) * cells // (2 * size) for at, size in ((y, height), (x, width)))
            assert found[y, x] == row * cells + column


@given(st.integers(1, 9), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=40)
def test_a_grid_that_fits_leaves_no_cell_empty(cells, more_rows, more_columns):
    assert grid(cells + more_rows, cells + more_columns, cells).unique().tolist() == list(range(cells**2))


def test_a_grid_is_the_same_on_every_picture_and_must_fit():
    batch = tiny_batch(tiny_classifier(), count=3)
    found = players(batch, "grid(4)")
    assert found.shape == (3, 32, 48)
    assert all(torch.equal(one, grid(32, 48, 4)) for one in found)
    assert players(batch, "grid(32)").max() == 32 * 32 - 1
    with pytest.raises(BadInput, match="33 x 33 cells does not fit into 32 x 48 pixels"):
        players(batch, "grid(33)")


@pytest.mark.parametrize("channels", [1, 3])
def test_quickshift_is_that_of_the_package(channels):
    """What `explain_instance` itself segments, from a picture with and without a channel axis."""
    from lime.lime_image import LimeImageExplainer

    image = tiles(4, 4, channels)
    given_ = image[0] if channels == 1 else image.permute(1, 2, 0)
    theirs = LimeImageExplainer().explain_instance(
        given_.double().numpy(), lambda p: np.zeros((len(p), 2)), num_samples=2, top_labels=1
    )
    ours = superpixels(image, "quickshift")
    assert ours.max() > 5
    assert np.array_equal(ours, theirs.segments)


@pytest.mark.parametrize("algorithm", ["quickshift", "slic", "felzenszwalb"])
def test_superpixels_are_those_of_the_algorithm_numbered_from_zero_without_gaps(algorithm):
    import skimage.segmentation

    image = tiles(4, 4)
    options = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2} if algorithm == "quickshift" else {}
    plain = getattr(skimage.segmentation, algorithm)(np.stack([image[0].double().numpy()] * 3, -1), **options)
    found = superpixels(image, algorithm)
    assert np.unique(found).tolist() == list(range(found.max() + 1))
    pairs = set(zip(plain.flatten().tolist(), found.flatten().tolist(), strict=True))
    assert len(pairs) == len(np.unique(plain)) == found.max() + 1 > 1, "one number for each segment"


@pytest.mark.parametrize("segmentation", ["quickshift", "slic", "felzenszwalb"])
def test_a_pictures_superpixels_do_not_depend_on_its_companions(segmentation):
    images = tiles(2, 3), tiles(4, 8), tiles(4, 4)
    together = players(batch_of(*images), segmentation)
    turned = players(batch_of(images[2], images[0]), segmentation)
    assert not torch.equal(together[0], together[1])
    assert torch.equal(turned, together[[2, 0]])


def test_a_padded_batchs_last_picture_is_segmented_once(monkeypatch):
    asked = []
    spy = lambda image, algorithm: asked.append(image) or superpixels(image, algorithm)  # noqa: E731 - of one line
    monkeypatch.setattr(_players, "superpixels", spy)
    first, last = tiles(2, 3), tiles(4, 4)
    found = players(batch_of(first, last, last.clone(), last.clone()), "felzenszwalb")
    assert len(asked) == 2
    assert torch.equal(found[1:], found[1].expand(3, -1, -1)) and not torch.equal(found[0], found[1])


def test_anatomy_is_numbered_without_gaps_in_each_picture():
    batch = tiny_batch(tiny_classifier(), count=2)
    labels = torch.zeros(2, 32, 48, dtype=torch.int32)
    labels[0, 4:8], labels[0, 8:12], labels[1, 2:5, 3:9] = 7, 3, 12
    names = ({3: Player("L3"), 7: Player("L2")}, {12: Player("L4")})
    found = players(dataclasses.replace(batch, players=Players(labels, names)), "anatomy")
    assert torch.equal(found[0], torch.where(labels[0] == 7, 2, torch.where(labels[0] == 3, 1, 0)))
    assert torch.equal(found[1], (labels[1] == 12).long())


def test_films_without_anatomy_cannot_have_its_players():
    with pytest.raises(Unfit, match=r"no anatomical players; use segmentation 'quickshift'"):
        players(tiny_batch(tiny_classifier()), "anatomy")


@pytest.mark.parametrize("known", ["quickshift", "slic", "felzenszwalb", "anatomy", "grid(1)", "grid(14)"])
def test_known_segmentations(known):
    check_segmentation("lime", known)


@pytest.mark.parametrize("wrong", ["watershed", "grid", "grid(0)", "grid(-2)", "grid(8) ", "grid(8x8)", "Slic", ""])
def test_unknown_segmentations(wrong):
    with pytest.raises(BadInput, match=r"lime: segmentation '.*' is not known; expected quickshift, slic"):
        check_segmentation("lime", wrong)


def test_paints_each_players_value_on_its_pixels():
    labels = torch.randint(0, 5, (2, 6, 7), generator=torch.Generator().manual_seed(0))
    values = torch.rand(2, 5, generator=torch.Generator().manual_seed(1))
    painted = paint(values, labels)
    for i in range(2):
        for y in range(6):
            for x in range(7):
                assert painted[i, y, x] == values[i, labels[i, y, x]]


@given(st.integers(1, 3), st.sampled_from([1, 3]), st.integers(1, 6), st.integers(0, 999))
@settings(max_examples=25)
def test_mean_colors_are_those_that_the_package_computes(b, channels, most, seed):
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.integers(0, 256, (b, channels, 9, 11)) / 255).float()
    labels = torch.from_numpy(random.integers(0, most, (b, 9, 11)))
    labels[0] = labels[0] % 2  # fewer players than its companions
    found = mean_colors(images, labels)
    for i in range(b):
        picture = images[i].permute(1, 2, 0).double().numpy()
        fudged = picture.copy()
        for player in np.unique(labels[i]):
            inside = labels[i].numpy() == player
            fudged[inside] = [np.mean(picture[inside][:, c]) for c in range(channels)]
        assert np.array_equal(found[i].permute(1, 2, 0).numpy(), fudged.astype(np.float32))


def test_coin_flips_are_the_packages_draws():
    """Its `data_labels` overwrites the first row afterwards."""
    from lime.lime_image import LimeImageExplainer

    segments = np.arange(6).reshape(2, 3)
    package = LimeImageExplainer(random_state=np.random.RandomState(derive(3, "film") % 2**32))
    picture = np.zeros((2, 3, 3))
    theirs, _ = package.data_labels(picture, picture, segments, lambda p: np.zeros((len(p), 2)), 50)
    ours = coin_flips(3, "film", 50, 6)
    assert np.array_equal(ours[1:].numpy(), theirs[1:] == 1)
    assert torch.equal(ours, coin_flips(3, "film", 50, 6))
    assert not torch.equal(ours, coin_flips(4, "film", 50, 6))
    assert not torch.equal(ours, coin_flips(3, "other", 50, 6))


def test_loading_the_plugins_does_not_load_the_package():
    """It takes seconds, and listing plugins or running Grad-CAM needs none of it."""
    names = ("_players", "lime", "lime_package")
    code = (
        f"import sys, xai_bench, {', '.join(f'xai_bench_explainers.{n}' for n in names)}; print('lime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
