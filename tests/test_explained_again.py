from dataclasses import replace

import pytest
import torch
from robustness_cases import Brightness, Slope, Watched, case_of, slow_ssim, whole_batch
from scipy.stats import spearmanr
from xai_bench_metrics._explained_again import (
    FLAT,
    NEW_BAD,
    NEW_FLAT,
    Explained,
    explain,
    explain_many,
    grid_content,
    scaled,
)

from xai_bench.engine import Engine
from xai_bench.pictures import select
from xai_bench.testing import tiny_batch, tiny_classifier


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("explainer", "span"), [(Slope(), 2.0), (Brightness(), 1.0)])
def test_likeness_equals_the_definition(explainer: object, span: float) -> None:
    classifier = tiny_classifier()
    case = case_of(classifier, whole_batch(classifier), explainer)
    own = Explained.of(case)
    new = own.maps + 0.1 * own.maps.std() * noise(0, *own.maps.shape)
    for i in range(3):
        a, b = own.maps[i], new[i]
        assert own.ssim(new)[i].item() == pytest.approx(slow_ssim(a, b, span), abs=1e-6)
        assert own.spearman(new)[i].item() == pytest.approx(spearmanr(a.flatten(), b.flatten()).statistic)
        absolute = spearmanr(a.abs().flatten(), b.abs().flatten()).statistic
        assert own.spearman(new, absolute=True)[i].item() == pytest.approx(absolute)


def test_scale_and_padding_mean_nothing() -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)  # the last is letterboxed
    own = Explained.of(case_of(classifier, batch, Slope()))
    new = noise(0, *own.maps.shape)
    other = torch.where(batch.content, 1e-30 * new, 1e6)
    assert own.ssim(other).tolist() == pytest.approx(own.ssim(new).tolist())
    assert torch.equal(own.spearman(other), own.spearman(new))


def test_unusable_and_constant_new_maps_say_so() -> None:
    classifier = tiny_classifier()
    own = Explained.of(case_of(classifier, tiny_batch(classifier), Slope()))
    new = noise(0, *own.maps.shape)
    new[0, 3, 3], new[1, 4, 4], new[2] = torch.nan, torch.inf, 5.0
    ssim, spearman = own.ssim(new), own.spearman(new)
    assert ssim.isnan().tolist() == [True, True, False, False]
    assert spearman.isnan().tolist() == [True, True, True, False]
    table = {reason: mask.tolist() for mask, reason in own.marks(new, spearman)}
    assert table[NEW_BAD] == [True, True, False, False]
    assert table[FLAT][2:] == [True, False]
    assert table[NEW_FLAT][2:] == [True, False]


def test_the_grid_is_the_explainer_s_own() -> None:
    classifier = tiny_classifier()

    def coarse(_: object, batch: object) -> torch.Tensor:
        return noise(0, 4, 8, 12)

    own = Explained.of(case_of(classifier, tiny_batch(classifier), coarse))
    assert own.maps.shape == own.content.shape == (4, 8, 12)
    assert own.content[3].any(0).tolist() == [False] * 2 + [True] * 8 + [False] * 2


def test_progress_hears_pictures_and_the_engine_gets_its_meter_back() -> None:
    classifier, told = tiny_classifier(), []
    classifier.engine = Engine(progress=told.append)
    batch = tiny_batch(classifier)

    def asking(one: object, _: object) -> torch.Tensor:
        one.engine.advance(1000)
        return torch.zeros(4, 2, 2)

    case = replace(case_of(classifier, batch, Slope()), explainer=asking)
    explain(case, batch)
    assert told == [4]
    assert classifier.engine.progress == told.append


def test_any_number_of_rows_is_explained_in_the_batch_s_own_size() -> None:
    classifier, seen = tiny_classifier(), []
    batch = tiny_batch(classifier)
    case = case_of(classifier, batch, Watched(Slope(), seen))
    found = explain_many(case, select(batch, torch.tensor([2, 2])))
    assert [len(b) for b in seen] == [4, 4]
    assert seen[-1].ids == ("picture 2",) * 4
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found[0], Slope()(classifier, batch)[2])


def test_a_map_of_zeros_stays_and_a_tiny_one_is_stretched() -> None:
    maps = torch.stack([torch.zeros(2, 2), torch.full((2, 2), -1e-40)])
    assert scaled(maps, torch.ones(2, 2, 2, dtype=torch.bool))[:, 0, 0].tolist() == [0, -1]
    content = torch.ones(1, 4, 4, dtype=torch.bool)
    assert grid_content(content, (4, 4)) is content
