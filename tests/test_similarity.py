from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor

from xai_bench import similarity as module
from xai_bench import ssim as ssim_module
from xai_bench.similarity import SCORES, all_pairs, similarity, spearman, top_k_iou
from xai_bench.ssim import ssim


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def everywhere(maps: Tensor) -> Tensor:
    return torch.ones(maps.shape[1:], dtype=torch.bool)


def slow(a: np.ndarray, b: np.ndarray, content: np.ndarray, span: float, share: float) -> list[float]:
    """One pair, word for word; content is a box, outside which the maps are 0."""
    a, b = (np.where(content, m, 0).astype(np.float64) for m in (a, b))
    x, y = a[content], b[content]
    k = max(1, round(share * x.size))
    tops = [{n for n in range(x.size) if v[n] > np.sort(v)[-k - 1]} for v in (x, y)]
    a, b = (m / np.abs(m).max() for m in (a, b))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": span}
    _, each = structural_similarity(a, b, full=True, **options)
    inner = np.zeros_like(content)
    inner[5:-5, 5:-5] = True
    return [
        each[inner & content].mean(),
        spearmanr(x, y).statistic,
        spearmanr(np.abs(x), np.abs(y)).statistic,
        len(tops[0] & tops[1]) / len(tops[0] | tops[1]),
    ]


@pytest.mark.parametrize(("shape", "span", "letterbox"), [((14, 20), 2.0, 0), ((30, 17), 1.0, 0), ((24, 24), 2.0, 4)])
def test_all_pairs_equal_scikit_image_and_scipy(shape: tuple[int, int], span: float, letterbox: int) -> None:
    maps = noise(0, 2, *shape) + 0.7 * noise(1, 4, 2, *shape)
    maps = maps.abs() if span == 1 else maps
    content = everywhere(maps)
    content[:, :letterbox] = False
    found = all_pairs(maps, content, span=span, share=0.15)
    for p, (a, b) in enumerate(combinations(range(4), 2)):
        for film in range(2):
            expected = slow(maps[a, film].numpy(), maps[b, film].numpy(), content[film].numpy(), span, 0.15)
            assert found[:, p, film].tolist() == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([2, 5, 1000]), st.booleans())
def test_pairs_of_different_films_count_the_content_of_both(seed: int, levels: int, letterbox: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(-levels, levels + 1, (2, 5, 13, 12), generator=generator).float()
    content = everywhere(maps)
    for film in range(5 if letterbox else 0):
        content[film, :, : film % 3] = False
    first, second = (torch.randint(0, 10, (9,), generator=generator) for _ in range(2))
    found = similarity(maps, content, first, second, span=2.0)
    a, b = (maps.flatten(0, 1)[at] for at in (first, second))
    both = content[first % 5] & content[second % 5]
    scaled = [(m * both) / (m * both).abs().amax((1, 2), keepdim=True) for m in (a, b)]
    expected = [ssim(*scaled, both, 2.0), spearman(a, b, both), spearman(a.abs(), b.abs(), both), top_k_iou(a, b, both)]
    assert torch.allclose(found, torch.stack(expected), atol=1e-6, equal_nan=True)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_a_map_is_like_itself_whatever_its_ties_and_its_scale(seed: int, levels: int) -> None:
    maps = torch.randint(0, levels + 1, (1, 3, 12, 15), generator=torch.Generator().manual_seed(seed)).float()
    maps[:, :, 0, 0] = levels + 1
    found = all_pairs(torch.cat([maps, 4 * maps]), everywhere(maps), span=1.0)
    assert torch.allclose(found, torch.ones_like(found), rtol=0, atol=1e-12)
    assert (found[1:] == 1).all()


@pytest.mark.parametrize(("held", "most", "block"), [(1, 256, 1), (400, 256, 300), (1 << 20, 3, 1 << 16)])
def test_how_much_is_held_at_once_changes_no_number(
    held: int, most: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = noise(3, 4, 5, 12, 13)
    content = everywhere(maps)
    content[2:, :, :3] = False
    first, second = (torch.randint(0, 20, (40,), generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    whole = similarity(maps, content, first, second, span=2.0)
    monkeypatch.setattr(module, "HELD", held)
    monkeypatch.setattr(module, "MOST", most)
    monkeypatch.setattr(ssim_module, "BLOCK", block)
    assert torch.allclose(similarity(maps, content, first, second, span=2.0), whole, rtol=0, atol=1e-12)


def test_every_map_is_prepared_once_for_all_of_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[int] = []
    original = module.Moments.of
    monkeypatch.setattr(module.Moments, "of", lambda maps, *rest: prepared.append(len(maps)) or original(maps, *rest))
    maps, content = noise(4, 5, 3, 12, 12), torch.zeros(3, 12, 12, dtype=torch.bool)
    content[:, 2:] = True
    all_pairs(maps, content, span=2.0)
    assert sum(prepared) == 15
    assert all_pairs(maps, content, span=2.0, scores=("spearman",)).shape == (1, 10, 3)
    assert sum(prepared) == 15  # ranks need no moments


def test_what_is_outside_content_changes_no_number() -> None:
    maps = noise(5, 3, 2, 16, 16)
    content = everywhere(maps)
    content[:, :, :5] = False
    loud = torch.where(content, maps, 1000 * noise(6, 3, 2, 16, 16))
    assert torch.equal(all_pairs(maps, content, span=2.0), all_pairs(loud, content, span=2.0))


def test_what_is_undefined_is_nan() -> None:
    maps = noise(7, 2, 2, 14, 14)
    maps[0, 0] = 0.5
    content = everywhere(maps)
    content[1, 4:] = False  # no pixel with a whole window
    found = dict(zip(SCORES, all_pairs(maps, content, span=2.0)[:, 0], strict=True))
    assert found["spearman"].isnan().tolist() == found["spearman_absolute"].isnan().tolist() == [True, False]
    assert found["ssim"].isnan().tolist() == [False, True]
    assert found["top_k_iou"].isfinite().all()


def test_no_pair_has_no_value() -> None:
    nobody = torch.zeros(0, dtype=torch.long)
    maps = noise(8, 1, 2, 12, 12)
    assert similarity(maps, everywhere(maps), nobody, nobody, span=2.0).shape == (4, 0)
    assert all_pairs(maps, everywhere(maps), span=2.0).shape == (4, 0, 2)
