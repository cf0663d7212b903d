"""What every imputer promises; the training mean, blur and zero. The others have files of their own."""

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur, gaussian_blur
from xai_bench.imputers.noisy_linear import NoisyLinear
from xai_bench.imputers.telea import Telea
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import Scene
from xai_bench.protocols import Batch, Imputer
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


def ready(name: str) -> Imputer:
    """The imputer with its defaults, fitted where it can be."""
    made: Imputer = build("imputer", name)
    return made.fit([(batch(torch.rand(5, 1, 24, 20)), {})]) if hasattr(made, "fit") else made


@pytest.mark.parametrize("name", IMPUTERS)
def test_one_picture_does_not_depend_on_its_companions(name: str) -> None:
    images, others, made = torch.rand(3, 1, 24, 20), torch.rand(3, 1, 24, 20), ready(name)
    found = made(batch(images))
    assert found.shape == images.shape
    for i in range(3):
        among = others.clone()
        among[i] = images[i]
        assert torch.equal(made(batch(among))[i], found[i])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", IMPUTERS)
def test_only_hidden_pixels_change_and_no_row_depends_on_another(name: str, channels: int) -> None:
    pictures = batch(torch.rand(4, channels, 24, 20))
    labels = torch.randint(0, 6, (4, 24, 20))
    keep = torch.rand(4, 6) < 0.5
    keep[0], keep[1] = False, True
    scene = Scene.of(pictures, labels, ready(name))
    found, rows = scene.compose(torch.arange(4), keep), torch.arange(4)[:, None, None]
    shown = keep[rows, labels][:, None].expand_as(found)
    assert found.dtype == torch.float32 and found.isfinite().all()
    assert torch.equal(found[shown], pictures.images[shown]) and not torch.equal(found[0], pictures.images[0])
    for i in range(4):
        assert torch.equal(scene.compose(torch.tensor([i]), keep[i : i + 1])[0], found[i])


@pytest.mark.parametrize("imputer", [NoisyLinear(), Telea()], ids=["noisy_linear", "telea"])
def test_without_anything_shown_the_mean_of_the_content(imputer: NoisyLinear | Telea) -> None:
    images, content = torch.rand(2, 3, 12, 10), torch.ones(2, 12, 10, dtype=torch.bool)
    content[0, :, 7:] = False
    found = imputer.fill(images, torch.zeros_like(images), torch.zeros_like(content), content)
    assert torch.allclose(found[0, :, :, :7], images[0, :, :, :7].mean((1, 2))[:, None, None].expand(-1, 12, 7))
    assert torch.equal(found[0, :, :, 7:], images[0, :, :, 7:])
    assert torch.allclose(found[1], images[1].mean((1, 2))[:, None, None].expand(-1, 12, 10))


def test_blur_keeps_a_plain_picture_and_zero_forgets_it() -> None:
    plain = torch.full((1, 3, 16, 16), 0.4)
    assert torch.allclose(Blur()(batch(plain)), plain, atol=1e-6)
    assert not Zero()(batch(plain)).any()


def test_blur_equals_scipy_and_scales_with_the_picture() -> None:
    images = torch.rand(2, 1, 64, 64)
    expected = gaussian_filter(images[1, 0].double().numpy(), 3.0, mode="nearest", truncate=3.0)
    assert abs(gaussian_blur(images, 3.0)[1, 0].numpy() - expected).max() < 1e-5
    assert torch.equal(Blur(14.0)(batch(images)), gaussian_blur(images, 4.0))


def test_the_training_mean_needs_training_films() -> None:
    with pytest.raises(BadInput, match="was not fitted"):
        TrainingMean()(batch(torch.rand(1, 1, 4, 4)))
    with pytest.raises(BadInput, match="needs training films"):
        TrainingMean().fit([])  # type: ignore[arg-type]  # the same
