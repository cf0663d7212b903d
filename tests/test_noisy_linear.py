"""Noisy linear imputation equals a sparse direct solve; padding, all hidden, parts, noise, companions, NaN."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from xai_bench.errors import BadInput
from xai_bench.imputers import noisy_linear
from xai_bench.imputers.noisy_linear import NoisyLinear, cycle, hierarchy, reached
from xai_bench.protocols import Batch

WEIGHTS = {(dy, dx): 1 / 6 if 0 in (dy, dx) else 1 / 12 for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)}


def direct(image, hidden, content):
    """ROAD's system word for word, in float64, solved by LU."""
    h, w = hidden.shape
    number = {tuple(p): i for i, p in enumerate(np.argwhere(hidden).tolist())}
    entries, right = [], np.zeros((len(number), len(image)))
    for (y, x), i in number.items():
        for (dy, dx), weight in WEIGHTS.items():
            at = (y + dy, x + dx)
            if not (0 <= at[0] < h and 0 <= at[1] < w and content[at]):
                continue
            entries.append((weight, i, i))
            if at in number:
                entries.append((-weight, i, number[at]))
            else:
                right[i] += weight * image[:, at[0], at[1]]
    out = image.astype(np.float64)
    if number:
        values, row, column = zip(*entries, strict=True)
        matrix = coo_matrix((values, (row, column))).tocsc()  # what is given twice is added
        out[:, hidden] = spsolve(matrix, right).reshape(right.shape).T
    return out


def fill(images, hidden, content=None, background=None, **fields):
    content = torch.ones_like(hidden) if content is None else content
    background = torch.zeros_like(images) if background is None else background
    return NoisyLinear(**fields).fill(images, background, ~hidden, content)


def blob(h, w, share, sigma, seed):
    """The top `share` of a smooth random map."""
    smooth = gaussian_filter(np.random.default_rng(seed).random((h, w)), sigma)
    return torch.from_numpy(smooth >= np.quantile(smooth, 1 - share))


def film(c, h, w, seed=0):
    return torch.rand(c, h, w, generator=torch.Generator().manual_seed(seed))


def check(images, hidden, content=None, within=1e-4):
    found = fill(images, hidden, content)
    content = torch.ones_like(hidden) if content is None else content
    for image, mask, inside, ours in zip(images, hidden, content, found, strict=True):
        expected = direct(image.numpy(), (mask & inside).numpy(), inside.numpy())
        assert np.abs(ours.numpy() - expected).max() < within
        untouched = ~(mask & inside).expand_as(image)
        assert torch.equal(ours[untouched], image[untouched])


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 3), st.floats(0, 1), st.integers(0, 999))
@settings(max_examples=60)
def test_equals_a_direct_solve_for_any_size_and_mask(h, w, c, share, seed):
    g = torch.Generator().manual_seed(seed)
    images, hidden = torch.rand(2, c, h, w, generator=g), torch.rand(2, h, w, generator=g) < share
    hidden[:, seed % h, seed % w] = False
    check(images, hidden)


@given(st.integers(0, 999), st.floats(0.1, 1))
@settings(max_examples=30)
def test_padding_does_not_exist(seed, share):
    g = torch.Generator().manual_seed(seed)
    images, content = torch.rand(1, 3, 15, 18, generator=g), torch.zeros(1, 15, 18, dtype=torch.bool)
    top, left, tall, wide = (int(torch.randint(1, 7, (1,), generator=g)) for _ in range(4))
    content[:, top : top + tall + 2, left : left + wide + 2] = True
    hidden = torch.rand(1, 15, 18, generator=g) < share  # of padding too: it stays as it is
    hidden[:, top, left] = False
    check(images, hidden, content)
    assert torch.equal(fill(images, hidden, content), fill(images, hidden & content, content))
    other = torch.where(content[:, None], images, torch.nan)
    inside = content[:, None].expand_as(images)
    assert torch.equal(fill(other, hidden, content)[inside], fill(images, hidden, content)[inside])


@pytest.mark.parametrize(("h", "w", "c"), [(37, 53, 3), (96, 40, 1), (1, 60, 1), (3, 90, 1)])
def test_random_masks_and_blobs_of_ten_to_ninety_percent(h, w, c):
    masks = [torch.rand(h, w, generator=torch.Generator().manual_seed(i)) < i / 10 for i in (1, 5, 9)]
    masks += [blob(h, w, share, sigma, 1) for share in (0.5, 0.9) for sigma in (2, 8)]
    for mask in masks:
        mask[h // 2, w // 3] = False
    check(torch.stack([film(c, h, w, i) for i in range(len(masks))]), torch.stack(masks))


def test_a_big_blob_of_a_whole_film_in_a_few_steps(monkeypatch):
    """Plain conjugate gradients need hundreds."""
    monkeypatch.setattr(noisy_linear, "STEPS", 15)
    smooth = torch.from_numpy(gaussian_filter(np.random.default_rng(3).random((224, 224)), 6)).float()
    image = ((smooth - smooth.min()) / (smooth.max() - smooth.min()))[None]
    check(image[None], blob(224, 224, 0.9, 40, 0)[None])


def test_a_ramp_is_continued():
    """A linear function is its own weighted mean."""
    ramp = (torch.arange(40.0)[:, None] + 2 * torch.arange(50.0))[None, None] / 140
    hidden = torch.zeros(1, 40, 50, dtype=torch.bool)
    hidden[:, 1:-1, 1:-1] = True
    assert torch.allclose(fill(ramp, hidden), ramp, atol=1e-4)


def test_a_part_that_no_shown_pixel_reaches_gets_the_mean():
    image, content = torch.rand(1, 1, 12, 20), torch.ones(1, 12, 20, dtype=torch.bool)
    content[:, :, 9:11] = False
    hidden = content.clone()
    hidden[:, 3, 2] = hidden[:, 8, 5] = False
    found = fill(image, hidden, content)
    left = direct(image[0, :, :, :9].numpy(), hidden[0, :, :9].numpy(), content[0, :, :9].numpy())
    assert np.abs(found[0, :, :, :9].numpy() - left).max() < 1e-4
    mean = image[content[:, None]].mean()
    assert torch.allclose(found[..., 11:], mean.expand(1, 1, 12, 9))
    snake = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 0], [1, 0, 0, 0]]).bool()[None]
    head = torch.zeros_like(snake)
    head[0, 0, 0] = True
    assert torch.equal(reached(head, snake), snake)  # diagonal neighbors are neighbors


@pytest.mark.parametrize("c", [1, 3])
def test_no_bit_depends_on_companions(c, monkeypatch):
    images = torch.stack([film(c, 37, 53, i) for i in range(6)])
    masks = [torch.rand(37, 53, generator=torch.Generator().manual_seed(i)) < i / 5 for i in (1, 3, 5)]
    hidden = torch.stack([*masks, *(blob(37, 53, share, 9, 2) for share in (0.2, 0.9)), torch.zeros(37, 53).bool()])
    among = fill(images, hidden)
    assert torch.equal(fill(images.flip(0), hidden.flip(0)).flip(0), among)
    for i in range(6):
        assert torch.equal(fill(images[i : i + 1], hidden[i : i + 1])[0], among[i])
    monkeypatch.setattr(noisy_linear, "CACHED", 4 * images[0].numel())
    assert torch.equal(fill(images, hidden), among)
    assert fill(images[:0], hidden[:0]).shape == (0, c, 37, 53)


def test_what_was_under_the_hidden_pixels_is_forgotten():
    image, hidden = film(3, 20, 24)[None], blob(20, 24, 0.6, 3, 0)[None]
    other = torch.where(hidden[:, None], torch.nan, image)
    assert torch.equal(fill(other, hidden), fill(image, hidden))


def test_a_nan_ends_at_once_and_stays_in_its_picture(monkeypatch):
    monkeypatch.setattr(noisy_linear, "STEPS", 20)
    images, hidden = torch.rand(3, 1, 20, 24), blob(20, 24, 0.6, 3, 0)[None].repeat(3, 1, 1)
    clean = fill(images, hidden)
    shown = (~hidden[0]).nonzero()[0]
    images[1, 0, shown[0], shown[1]] = torch.nan
    found = fill(images, hidden)
    assert found[1, 0][hidden[1]].isnan().all()
    assert torch.equal(found[[0, 2]], clean[[0, 2]])


def test_intensities_of_any_size_are_solved_relative_to_their_range():
    image, hidden = film(1, 30, 30)[None], blob(30, 30, 0.8, 5, 0)[None]
    expected = direct(image[0].numpy(), hidden[0].numpy(), np.ones((30, 30), bool))
    for factor in (255, 1e6, 1e-6):
        assert np.abs(fill(image * factor, hidden)[0].numpy() / factor - expected).max() < 1e-4 * max(1, 1 / factor)


def test_too_few_steps_are_an_error(monkeypatch):
    monkeypatch.setattr(noisy_linear, "STEPS", 2)
    with pytest.raises(ArithmeticError, match="did not converge in 2 steps on a picture of 30 x 30 pixels"):
        fill(film(1, 30, 30)[None], blob(30, 30, 0.8, 5, 0)[None])


def test_the_bound_behind_the_tolerance():
    """The cycle is symmetric and near the inverse: no eigenvalue of BA below 0.2, on any mask tried."""
    for seed in range(12):
        sparse = torch.rand(13, 18, generator=torch.Generator().manual_seed(seed)) < (0.3, 0.9, 0.98)[seed % 3]
        hidden = sparse if seed % 2 else blob(13, 18, 0.85, 3, seed)
        hidden[seed, seed] = False
        levels = hierarchy(hidden[None, None].double(), torch.ones(1, 1, 13, 18).double())
        units = torch.eye(13 * 18).double()[hidden.flatten()].view(-1, 1, 13, 18)
        A, B = (f(units)[:, 0][:, hidden] for f in (levels[0].apply, lambda x: cycle(levels, x)))  # noqa: B023 - used here
        assert torch.allclose(B, B.T, atol=1e-12)
        values = torch.linalg.eigvals(B @ A).real
        assert values.min() > 0.2 and values.max() < 2


def test_noise_is_seeded_by_picture_and_only_on_hidden_pixels():
    b, shape = 3, (1, 40, 30)
    images = torch.stack([film(*shape, i) for i in range(b)])
    content = torch.ones(b, 40, 30, dtype=torch.bool)

    def noise(ids, **fields):
        batch = Batch(images, torch.zeros(b, dtype=torch.long), ids, content, None, torch.full((b, 2), torch.nan))
        return NoisyLinear(**fields)(batch)

    first = noise(("a", "b", "c"))
    assert torch.equal(noise(("c", "b", "a"))[0], first[2]) and not torch.equal(first[0], first[1])
    assert not torch.equal(noise(("a", "b", "c"), seed=1), first)
    assert torch.allclose(noise(("a", "b", "c"), noise=0.5), 50 * first)
    assert abs(float(first.std()) - 0.01) < 0.001 and abs(float(first.mean())) < 0.001
    hidden = torch.stack([blob(40, 30, 0.5, 3, i) for i in range(b)])
    difference = fill(images, hidden, background=first) - fill(images, hidden)
    assert torch.allclose(difference, torch.where(hidden[:, None], first, 0), atol=1e-6)


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_noise_must_be_a_standard_deviation(noise):
    with pytest.raises(BadInput, match="expected 0 or more"):
        NoisyLinear(noise)
