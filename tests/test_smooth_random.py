"""Smooth random maps: blobs by (seed, picture id)."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from xai_bench_explainers.smooth_random import SmoothRandom

from xai_bench.errors import BadInput
from xai_bench.seeding import generator
from xai_bench.testing import tiny_batch, tiny_classifier


def test_equals_scipy_s_gaussian_of_the_same_noise_stretched_to_0_1() -> None:
    batch = tiny_batch(tiny_classifier())
    maps = SmoothRandom(sigma=0.1, seed=3)(tiny_classifier(), batch)
    noise = torch.rand(1, 32, 48, generator=generator(3, batch.ids[1]))[0].double().numpy()
    blobs = gaussian_filter(noise, 3.2, mode="nearest", radius=10)
    expected = (blobs - blobs.min()) / (blobs.max() - blobs.min())
    assert np.allclose(maps[1].numpy(), expected, atol=1e-4)
    assert (maps.amin((1, 2)) == 0).all() and (maps.amax((1, 2)) == 1).all()


def test_neighbors_are_more_alike_the_wider_the_gaussian() -> None:
    batch = tiny_batch(tiny_classifier())
    steps = [float(SmoothRandom(s)(tiny_classifier(), batch).diff(dim=2).abs().mean()) for s in (0.02, 0.05, 0.2)]
    assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("sigma", [0.0, -1.0, 2.0, float("nan")])
def test_an_impossible_width_is_one_sentence(sigma: float) -> None:
    with pytest.raises(BadInput, match=r"smooth_random: sigma is .* expected a share"):
        SmoothRandom(sigma)
