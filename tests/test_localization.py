import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from xai_bench_metrics import _localization
from xai_bench_metrics._contract import BAD_MAP, MARKED_NOTHING
from xai_bench_metrics._localization import Ranking, view
from xai_bench_metrics.dice import Dice
from xai_bench_metrics.distances import Distances
from xai_bench_metrics.earth_mover import EarthMover
from xai_bench_metrics.iou import IoU
from xai_bench_metrics.pixel_ranking import PixelRanking
from xai_bench_metrics.pointing_game import PointingGame
from xai_bench_metrics.relevance_mass import RelevanceMass

from xai_bench.errors import BadInput
from xai_bench.protocols import Case, Metric

FAMILY = (PointingGame(), IoU(), Dice(), PixelRanking(), RelevanceMass())


def tied_case(seed: int, films: int = 4, size: int = 12) -> Case:
    """Signed maps with and without ties and a constant one, some padding, regions of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(films, size, size, generator=generator)
    maps[1::3] = (2 * maps[1::3]).round()
    maps[2::3] = -1
    content = torch.ones(films, size, size, dtype=torch.bool)
    content[:, :, size - 2 :] = False
    region = torch.rand(films, size, size, generator=generator) < torch.rand(films, 1, 1, generator=generator)
    region[:, 3, 4] = True
    return make_case(maps, region & content, content, spacing=[2.0, 1.0])


def scores(case: Case) -> dict[str, torch.Tensor]:
    """Every score of the family."""
    return {name: values for metric in FAMILY for name, values in metric(case).scores.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name].nan_to_num(9), b[name].nan_to_num(9)) for name in a)


def slow_above(values: np.ndarray, region: np.ndarray, threshold: float) -> tuple[int, int]:
    """Word for word: the pixels larger than the threshold, and those of them in the region."""
    found = [bool(inside) for value, inside in zip(values, region, strict=True) if float(value) > threshold]
    return len(found), sum(found)


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_the_pixels_above_a_threshold_are_counted_exactly(seed: int) -> None:
    """At, just below and between the values, in more digits than the map has."""
    rng = np.random.default_rng(seed)
    case = tied_case(seed)
    found = view(case).found
    for n in range(len(case.saliency)):
        inside = found.content[n].numpy()
        values, region = found.saliency[n].numpy()[inside], found.region[n].numpy()[inside]
        value = float(rng.choice(values))
        for threshold in (value, np.nextafter(value, -1), np.nextafter(value, 9), rng.normal(), -1.0, 0.0, 1e-60):
            counted = view(case).ranking.above(torch.full((len(case.saliency),), threshold, dtype=torch.float64))
            assert (int(counted.taken[n]), int(counted.hits[n])) == slow_above(values, region, threshold)


def test_a_device_without_numpy_ranks_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    found = view(tied_case(0)).found
    here = Ranking.of(found.saliency, found.content, found.region)
    monkeypatch.setattr(torch.Tensor, "is_cpu", property(lambda _: False))
    there = Ranking.of(found.saliency, found.content, found.region)
    assert torch.equal(here.pixels, there.pixels)
    assert torch.equal(here.hits, there.hits)


def test_minus_zero_is_tied_with_zero_and_half_precision_is_exact() -> None:
    region = torch.tensor([[[True, False, False, False]]])
    auroc = [
        PixelRanking()(make_case(torch.tensor([[[0.0, zero, 0.0, 0.5]]]).to(dtype), region)).scores["auroc"].item()
        for zero in (0.0, -0.0, -1.0)
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    ]
    assert set(auroc) == {1 / 3}


def test_a_score_is_bit_by_bit_the_same_alone_and_in_any_batch() -> None:
    case = tied_case(3, films=7)
    together = scores(case)
    for n in range(7):
        one = make_case(case.saliency[n : n + 1], case.region[n : n + 1], case.batch.content[n : n + 1], [2.0, 1.0])
        assert same({name: values[n : n + 1] for name, values in together.items()}, scores(one))


def test_metrics_share_the_work_on_one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_maps = []
    plain = Ranking.of
    monkeypatch.setattr(Ranking, "of", staticmethod(lambda *parts: sorted_maps.append(1) or plain(*parts)))
    case = tied_case(1)
    scores(case)
    scores(replace(case, saliency=case.saliency.clone()))  # other objects, the same values
    assert len(sorted_maps) == 1
    broken = case.saliency.clone()
    broken[0, 0, 0] = torch.nan
    scores(replace(case, saliency=broken))  # NaN is equal to itself here
    assert len(sorted_maps) == 2


def test_a_change_in_place_is_seen_even_behind_the_back_of_torch() -> None:
    case = tied_case(2)
    shared = case.saliency.numpy()
    for change in (
        lambda: case.saliency.mul_(-1),
        lambda: shared.__setitem__((0, 5, 5), 40.0),
        lambda: case.region.logical_not_().logical_and_(case.batch.content),
        lambda: case.batch.content[:, 0].fill_(False),
    ):
        before = scores(case)
        change()
        after = scores(case)
        assert not same(before, after)
        _localization._LAST.clear()
        assert same(after, scores(case))


def test_the_state_of_a_region_is_not_confused() -> None:
    case = tied_case(4)
    assert IoU()(case).reasons[0] is None
    assert IoU()(replace(case, region_state=("marked_nothing",) * 4)).reasons[0] == MARKED_NOTHING


def test_a_case_of_another_shape_or_number_type_is_not_the_one_before() -> None:
    case = tied_case(5)
    first = scores(case)  # its maps stay alive
    turned = make_case(case.saliency[:, :6], case.region[:, :6].logical_not())
    found = scores(turned)
    _localization._LAST.clear()
    assert same(found, scores(turned))
    assert same(first, scores(case))
    twice = scores(replace(case, saliency=case.saliency.double()))
    assert same(first, twice)
    assert same(first, scores(replace(case, saliency=2 * case.saliency)))
    bytes_ = replace(case, region=255 * case.region.byte())
    assert same(first, scores(bytes_)) and same(first, scores(case))


def test_a_picture_without_content_is_excluded() -> None:
    case = tied_case(6)
    case.batch.content[1] = case.region[1] = False
    result = {name: metric(case) for metric in FAMILY for name in metric.scores}
    for name, found in result.items():
        assert found.reason(name, 1).state == "excluded"
        assert found.scores[name].isnan().tolist()[1]
        assert found.scores[name].isfinite().tolist()[0]


def test_what_is_kept_goes_with_the_maps() -> None:
    maps = torch.rand(1, 4, 4)
    IoU()(make_case(maps, torch.ones(1, 4, 4, dtype=torch.bool)))
    assert len(_localization._LAST) == 1
    del maps
    gc.collect()
    assert not _localization._LAST


def test_threads_do_not_mix_up_their_cases() -> None:
    cases = [tied_case(seed) for seed in range(4)] * 6
    expected = [scores(case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(same, expected, pool.map(scores, cases)))


def test_inference_tensors_gradients_and_any_memory_layout_are_taken_as_they_are() -> None:
    case = tied_case(5)
    expected = scores(case)
    moved = torch.zeros(case.saliency.numel() + 1)[1:].view(case.saliency.shape).copy_(case.saliency)
    turned = case.saliency.mT.contiguous().mT
    for maps in (moved, turned, case.saliency):
        assert same(expected, scores(replace(case, saliency=maps)))
        _localization._LAST.clear()
    with torch.inference_mode():
        assert same(expected, scores(replace(case, saliency=case.saliency.clone())))
    assert same(expected, scores(replace(case, saliency=case.saliency.clone().requires_grad_())))


def test_f14_one_nan_pixel_makes_every_score_of_its_picture_invalid_and_no_other() -> None:
    case = tied_case(6)
    clean = scores(case)
    case.saliency[0, 2, 2] = torch.nan
    for metric in FAMILY:
        result = metric(case)
        assert result.reasons[0] == BAD_MAP
        for name, values in result.scores.items():
            assert values[0].isnan(), name
            assert torch.equal(values[1:].nan_to_num(9), clean[name][1:].nan_to_num(9)), name


def test_without_a_region_the_error_says_what_to_give() -> None:
    with pytest.raises(BadInput, match="give the case a region"):
        view(replace(tied_case(7), region=None))


INF = float("inf")
DISTANCES = [f"{what}_distance_{unit}" for what in ("centroid", "peak") for unit in ("px", "mm")]
DECLARED = [  # metric, main columns, yes-or-no scores, ranges other than 0 to 1, units
    (IoU(), ["iou_matched"], [], {}, {}),
    (Dice(), ["dice_matched"], [], {}, {}),
    (RelevanceMass(), ["relevance_mass"], [], {}, {}),
    (PixelRanking(), ["auprc"], [], {"auprc_above_chance": (-1, 1)}, {}),
    (PointingGame(), ["hit_rate"], ["hit_rate", "pointing_15px", "pointing_10mm"], {}, {}),
    (EarthMover(), [], [], {"earth_mover_mm": (0, INF)}, {"earth_mover_mm": "mm"}),
    (
        Distances(),
        ["centroid_distance_px"],
        [],
        dict.fromkeys(DISTANCES, (0, INF)),
        {name: name[-2:] for name in DISTANCES},
    ),
]


@pytest.mark.parametrize(("metric", "main", "binary", "ranges", "units"), DECLARED)
def test_what_the_scores_declare(metric: Metric, main: list, binary: list, ranges: dict, units: dict) -> None:
    scores = metric.scores
    assert [name for name, info in scores.items() if info.headline] == main
    assert [name for name, info in scores.items() if info.binary] == binary
    assert {name: (info.low, info.high) for name, info in scores.items() if (info.low, info.high) != (0, 1)} == ranges
    assert {name: info.unit for name, info in scores.items() if info.unit} == units
    assert metric.needs_region
