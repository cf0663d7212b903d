"""What replaces removed pixels. Blur's numbers and the rest are in tests/test_perturbation.py."""

import pytest
import torch
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.imputers import Blur, TrainingMean, Zero
from xai_bench.protocols import Batch
from xai_bench.registry import IMPUTERS
from xai_bench.spec import build


def batch(images: Tensor) -> Batch:
    b, _, h, w = images.shape
    zeros = torch.zeros(b, dtype=torch.long)
    content = torch.ones(b, h, w, dtype=torch.bool)
    return Batch(images, zeros, tuple(str(i) for i in range(b)), content, None, torch.full((b, 2), torch.nan))


@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (1, 1), (3, 3)])
def test_the_mean_of_gray_and_color_films_serves_both(channels: tuple[int, int]) -> None:
    gray, color = torch.rand(2, 1, 8, 6), torch.rand(3, 3, 8, 6)
    parts = {1: gray, 3: color}
    fitted = TrainingMean().fit([(batch(parts[c]), {}) for c in channels])  # type: ignore[arg-type]  # a list will do
    films = torch.cat([parts[c].expand(-1, 3, -1, -1) for c in channels])
    on_color = fitted(batch(color))
    assert torch.allclose(on_color, films.mean(0).expand(3, -1, -1, -1))
    on_gray = fitted(batch(gray))
    assert on_gray.shape == gray.shape and torch.allclose(on_gray, films.mean((0, 1)).expand(2, 1, -1, -1))


def test_a_mean_of_another_size_is_refused() -> None:
    fitted = TrainingMean().fit([(batch(torch.rand(1, 1, 4, 4)), {})])  # type: ignore[arg-type]  # the same
    with pytest.raises(BadInput, match=r"fitted on \(4, 4\), the pictures are \(8, 4\)"):
        fitted(batch(torch.rand(1, 1, 8, 4)))


@pytest.mark.parametrize("name", [n for n in IMPUTERS if n != "training_mean"])
def test_one_picture_does_not_depend_on_its_companions(name: str) -> None:
    images, others = torch.rand(3, 1, 24, 20), torch.rand(3, 1, 24, 20)
    found = build("imputer", name)(batch(images))
    assert found.shape == images.shape
    for i in range(3):
        among = others.clone()
        among[i] = images[i]
        assert torch.equal(build("imputer", name)(batch(among))[i], found[i])


def test_blur_keeps_a_plain_picture_and_zero_forgets_it() -> None:
    plain = torch.full((1, 3, 16, 16), 0.4)
    assert torch.allclose(Blur()(batch(plain)), plain, atol=1e-6)
    assert not Zero()(batch(plain)).any()
