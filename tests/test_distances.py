import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from scipy.ndimage import center_of_mass, distance_transform_edt
from xai_bench_metrics import distances
from xai_bench_metrics._contract import CONSTANT, NO_SPACING
from xai_bench_metrics.distances import Distances


def point(row: int, column: int, height: int, width: int) -> torch.Tensor:
    """All in one pixel of one film."""
    film = torch.zeros(1, height, width)
    film[0, row, column] = 1
    return film


def slow_centroid(weights: np.ndarray, region: np.ndarray, units: tuple[float, float]) -> float:
    """SciPy's two centers of mass, and Pythagoras."""
    return float(np.hypot(*((np.array(center_of_mass(weights)) - np.array(center_of_mass(region))) * np.array(units))))


def slow_peak(values: np.ndarray, region: np.ndarray, content: np.ndarray, units: tuple[float, float]) -> float:
    """SciPy's distance of every pixel to the region, averaged over the largest pixels inside content."""
    peaks = content & (values == values[content].max())
    return float(distance_transform_edt(~region, sampling=units)[peaks].mean())


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.3, 3), st.floats(0.3, 3), st.sampled_from([1.0, 2.0, 1e-3]))
def test_equals_scipy_at_any_scale(seed: int, row_mm: float, column_mm: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    h, w = rng.integers(3, 12, 2)
    maps = rng.integers(-2, 3, (2, h, w)).astype(np.float32)
    content, region = rng.random((2, h, w)) < 0.8, rng.random((2, h, w)) < 0.15
    region[:, 0, 0] = content[:, 0, 0] = content[:, 1, 1] = True
    maps[:, 0, 0], maps[:, 1, 1] = 0, 1
    spacing = torch.tensor([row_mm, column_mm])
    tensors = scale * torch.from_numpy(maps), torch.from_numpy(region), torch.from_numpy(content)
    scores = Distances()(make_case(*tensors, spacing=spacing)).scores
    for unit, size in (("px", (224 / w, 224 / w)), ("mm", tuple(spacing.double().tolist()))):
        for n in range(2):
            positive, drawn = np.maximum(maps[n], 0).astype(np.float64) * content[n], region[n] & content[n]
            expected = slow_centroid(positive, drawn, size)
            assert scores[f"centroid_distance_{unit}"][n].item() == pytest.approx(expected, abs=1e-5)
            expected = slow_peak(positive, drawn, content[n], size)
            assert scores[f"peak_distance_{unit}"][n].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, -1.0, 4.0])
def test_a_constant_map_has_the_contents_center_and_all_pixels_as_peaks_and_is_marked(value: float) -> None:
    content = np.ones((1, 9, 12), bool)
    content[:, :, :4] = content[:, 7:] = False
    region = np.zeros_like(content)
    region[0, 1:3, 5:9] = True
    tensors = torch.full((1, 9, 12), value), torch.from_numpy(region), torch.from_numpy(content)
    result = Distances()(make_case(*tensors, spacing=[0.5, 2.0]))
    found = {name: score.item() for name, score in result.scores.items()}
    assert found["centroid_distance_mm"] == pytest.approx(np.hypot(0.5 * (3 - 1.5), 2.0 * (7.5 - 6.5)))
    expected = slow_peak(content[0], region[0], content[0], (0.5, 2.0))
    assert found["peak_distance_mm"] == pytest.approx(expected)
    assert found["centroid_distance_px"] == pytest.approx(224 / 12 * np.hypot(1.5, 1))
    assert result.reasons == (CONSTANT,)


def test_many_peaks_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.zeros(3, 5, 6)
    maps[1, 2:] = 1
    region = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0)) < 0.2
    case = make_case(maps, region, spacing=[1.0, 2.0])
    whole = Distances()(case).scores
    monkeypatch.setattr(distances, "CHUNK", 4)
    parts = Distances()(case).scores
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_pixels_are_those_of_a_film_that_is_224_wide() -> None:
    scores = Distances()(make_case(point(30, 440, 64, 448), point(0, 400, 64, 448) > 0)).scores
    assert scores["peak_distance_px"].item() == pytest.approx(25)  # 30 rows and 40 columns of half a pixel
    assert scores["centroid_distance_px"].item() == pytest.approx(25)


def test_very_tall_pixels_do_not_reach_past_the_empty_rows() -> None:
    """Rows without region have no nearest pixel at all, however far the region's own row is."""
    scores = Distances()(make_case(point(20, 0, 24, 2), point(0, 0, 24, 2) > 0, spacing=[1000.0, 1.0])).scores
    assert scores["peak_distance_mm"].item() == 20_000


def test_a_peak_inside_is_at_no_distance_and_tied_peaks_score_their_mean() -> None:
    maps = torch.tensor([[[5.0, 5, 5, 0, 0, 0, 0, 0]], [[9.0, 5, 5, 0, 0, 0, 0, 0]]])
    region = torch.zeros(2, 1, 8, dtype=torch.bool)
    region[:, :, 0] = True
    scores = Distances()(make_case(maps, region, spacing=[1.0, 1.0])).scores
    assert scores["peak_distance_mm"].tolist() == [1, 0]


def test_the_region_itself_is_perfect_and_beats_every_control() -> None:
    generator = torch.Generator().manual_seed(1)
    region = torch.zeros(8, 32, 32, dtype=torch.bool)
    for n in range(8):
        region[n, 2 * n : 2 * n + 5, 3 * n : 3 * n + 4] = True
    oracle = Distances()(make_case(region.float(), region, spacing=[1.0, 2.0])).scores
    controls = (torch.rand(8, 32, 32, generator=generator), torch.zeros(8, 32, 32), region.roll(1, 0).float())
    for control in controls:
        found = Distances()(make_case(control, region, spacing=[1.0, 2.0])).scores
        for name in found:
            assert oracle[name].numpy() == pytest.approx(0, abs=1e-12)
            assert found[name].mean() > 1, name


def test_without_spacing_only_the_millimeters_are_missing() -> None:
    spacing = [[1.0, 1.0], [float("nan"), float("nan")], [0.0, 1.0]]
    region = torch.ones(3, 2, 2, dtype=torch.bool)
    result = Distances()(make_case(torch.rand(3, 2, 2), region, spacing=spacing))
    for name in ("centroid_distance_mm", "peak_distance_mm"):
        assert [result.reason(name, n) for n in range(3)] == [None, NO_SPACING, NO_SPACING]
        assert result.scores[name].isnan().tolist() == [False, True, True]
    assert result.scores["peak_distance_px"].tolist() == [0, 0, 0]
    assert result.scores["centroid_distance_px"].isfinite().all()
