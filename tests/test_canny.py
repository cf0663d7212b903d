"""Canny's edges: at the border of a bright square, nowhere in the padding, whatever the exposure."""

from dataclasses import replace

import pytest
import torch
from skimage.feature import canny
from xai_bench_explainers.canny import Canny

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch
from xai_bench.testing import tiny_batch, tiny_classifier


def square() -> Batch:
    """A bright square in two films: one full, one with padding left and right whose content is gray."""
    batch = tiny_batch(tiny_classifier(), count=2)
    images = torch.full_like(batch.images, 0.1) * batch.content[:, None]
    images[:, :, 10:20, 18:30] = 0.9
    return replace(batch, images=images)


def test_edges_lie_on_the_square_s_border_and_not_on_the_letterbox() -> None:
    maps = Canny(sigma=3.0, low=0.9, high=0.95)(tiny_classifier(), square())
    ring = torch.zeros(32, 48, dtype=torch.bool)
    ring[8:22, 16:32] = True
    ring[12:18, 20:28] = False
    assert maps.unique().tolist() == [0, 1]
    assert maps.flatten(1).sum(1).gt(20).all()
    assert not (maps.bool() & ~ring).any()


def test_contrast_does_not_matter_and_a_flat_film_has_no_edge() -> None:
    edges, batch = Canny(sigma=3.0, low=0.9), tiny_batch(tiny_classifier())
    faint = replace(batch, images=batch.images / 8)
    assert edges(tiny_classifier(), batch).any()
    assert torch.equal(edges(tiny_classifier(), batch), edges(tiny_classifier(), faint))
    flat = replace(square(), images=torch.full((2, 1, 32, 48), 0.5))
    assert not edges(tiny_classifier(), flat)[0].any()


def test_equals_the_package_on_the_content_s_box() -> None:
    batch = tiny_batch(tiny_classifier())
    maps = Canny(sigma=4.0, low=0.7, high=0.9)(tiny_classifier(), batch)
    film, box = batch.images[-1, 0].double().numpy(), slice(8, 40)
    expected = canny(film[:, box], 4 * 48 / 224, low_threshold=0.7, high_threshold=0.9, use_quantiles=True)
    # The package's own border: without a mask it smooths the same and leaves out one pixel around.
    assert torch.equal(maps[-1][:, box].bool()[1:-1, 1:-1], torch.from_numpy(expected)[1:-1, 1:-1])
    assert not maps[-1][:, :8].any()


@pytest.mark.parametrize("fields", [{"sigma": 0.0}, {"low": 0.9, "high": 0.8}, {"high": 1.2}, {"low": -0.1}])
def test_wrong_fields_are_one_sentence(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=r"canny\(sigma=.*quantiles"):
        Canny(**fields)
