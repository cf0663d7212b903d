import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata, spearmanr
from skimage.metrics import structural_similarity

from xai_bench.saliency import constant, invalid, positive_part, ranks, spearman, ssim, to_grid, top_k_iou, upsample


def random_maps(seed: int, shape: tuple[int, ...], levels: int = 0) -> torch.Tensor:
    """Smooth noise, or, with levels, whole numbers that tie."""
    generator = torch.Generator().manual_seed(seed)
    if levels:
        return torch.randint(0, levels, shape, generator=generator).float()
    return torch.randn(shape, generator=generator)


def everywhere(maps: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(maps, dtype=torch.bool)


def test_upsampling_by_nearest_repeats_cells_and_bilinear_keeps_a_ramp_straight() -> None:
    cells = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert torch.equal(upsample(cells, (4, 4), "nearest")[0], cells[0].repeat_interleave(2, 0).repeat_interleave(2, 1))
    ramp = upsample(torch.arange(8.0).view(1, 1, 8), (1, 16))[0, 0]
    assert torch.allclose(ramp[1:-1], torch.arange(16)[1:-1] / 2 - 0.25)


def test_a_map_of_the_right_size_is_left_alone() -> None:
    maps = random_maps(0, (2, 5, 6))
    assert upsample(maps, (5, 6)) is maps


def test_the_coarser_grid_holds_cell_means() -> None:
    maps = random_maps(1, (2, 6, 8))
    assert torch.allclose(to_grid(maps, (3, 2)), maps.view(2, 3, 2, 2, 4).mean((2, 4)))


def test_nan_survives_the_positive_part_and_is_found() -> None:
    maps = torch.tensor([[[1.0, -1.0]], [[float("nan"), 0.0]], [[float("inf"), 0.0]]])
    assert positive_part(maps)[0].tolist() == [[1.0, 0.0]]
    assert positive_part(maps)[1].isnan().any()
    assert invalid(maps).tolist() == [False, True, True]


def test_constancy_looks_at_content_only() -> None:
    maps = torch.tensor([[[2.0, 2.0, 9.0]], [[2.0, 3.0, 3.0]]])
    content = torch.tensor([[[True, True, False]]]).expand(2, 1, 3)
    assert constant(maps, content).tolist() == [True, False]


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 6))
def test_ranks_and_spearman_equal_scipy(seed: int, size: int, levels: int) -> None:
    a, b = random_maps(seed, (1, 1, size), levels), random_maps(seed + 1, (1, 1, size), levels)
    mask = random_maps(seed + 2, (1, 1, size), 4) > 0
    chosen = mask[0, 0].numpy()
    found = ranks(a[0], mask[0])[0].numpy()
    assert np.allclose(found[chosen], rankdata(a[0, 0].numpy()[chosen]))
    assert not found[~chosen].any()
    x, y = a[0, 0].numpy()[chosen], b[0, 0].numpy()[chosen]
    value = spearman(a, b, mask).item()
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def slow_top_k_iou(a: np.ndarray, b: np.ndarray, k: int) -> float:
    """Distinct values only: the two sets, word for word."""
    first, second = set(np.argsort(-a)[:k].tolist()), set(np.argsort(-b)[:k].tolist())
    return len(first & second) / len(first | second)


def test_top_k_iou_equals_the_plain_sets_and_rounds_a_tenth_of_content() -> None:
    a, b = random_maps(3, (4, 6, 7)), random_maps(4, (4, 6, 7))
    content = everywhere(a)
    content[:, :2] = False
    found = top_k_iou(a, b, content, 0.1)
    for n in range(4):
        x, y = a[n, 2:].flatten().numpy(), b[n, 2:].flatten().numpy()
        assert found[n].item() == pytest.approx(slow_top_k_iou(x, y, round(0.1 * 28)))


@given(st.integers(0, 10_000))
def test_tied_maps_are_like_themselves_and_memory_order_does_not_matter(seed: int) -> None:
    a, b = random_maps(seed, (1, 5, 8), 3), random_maps(seed + 1, (1, 5, 8), 3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    moved = [m.flatten()[order].view(1, 5, 8) for m in (a, b)]
    assert top_k_iou(a, a, everywhere(a)).item() == pytest.approx(1)
    assert top_k_iou(*moved, everywhere(a)).item() == pytest.approx(top_k_iou(a, b, everywhere(a)).item())


@pytest.mark.parametrize(("shape", "span"), [((11, 11), 1.0), ((14, 20), 2.0), ((56, 56), 2.0)])
def test_ssim_equals_scikit_image(shape: tuple[int, int], span: float) -> None:
    a, b = random_maps(5, (3, *shape)), random_maps(6, (3, *shape))
    b = 0.6 * a + 0.4 * b
    found = ssim(a, b, everywhere(a), span)
    for n in range(3):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": span}
        expected = structural_similarity(a[n].double().numpy(), b[n].double().numpy(), **options)
        assert found[n].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(7, 7), (3, 4), (7, 20)])
def test_ssim_of_a_grid_smaller_than_its_window_uses_all_of_that_side(shape: tuple[int, int]) -> None:
    a, b = (m.double() for m in (random_maps(7, (1, *shape)), random_maps(8, (1, *shape))))
    x, y = a[0].numpy(), b[0].numpy()
    mx, my, xx, yy, xy = (gaussian_filter(m, 1.5, truncate=3.5, mode="reflect") for m in (x, y, x * x, y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    full = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2) / (mx**2 + my**2 + c1) / (xx - mx**2 + yy - my**2 + c2)
    rows, columns = (slice(5, -5) if side >= 11 else slice(None) for side in shape)
    assert ssim(a, b, everywhere(a), 1.0).item() == pytest.approx(full[rows, columns].mean(), abs=1e-9)


def test_what_lies_in_the_padding_changes_nothing() -> None:
    a, b = random_maps(9, (2, 16, 16)), random_maps(10, (2, 16, 16))
    content = everywhere(a)
    content[:, :, :5] = False
    noisy = a + 100 * ~content
    for alike in (spearman, top_k_iou):
        assert torch.equal(alike(a, b, content), alike(noisy, b, content))
    assert torch.equal(ssim(a, b, content, 2.0), ssim(noisy, b, content, 2.0))
