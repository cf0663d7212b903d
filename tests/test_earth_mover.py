import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import make_case
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from xai_bench_metrics._contract import CONSTANT, NO_SPACING
from xai_bench_metrics.earth_mover import EarthMover, transport

from xai_bench.errors import BadInput


def slow_distance(start: np.ndarray, goal: np.ndarray, units: tuple[float, float]) -> float:
    """Word for word: of all plans whose rows sum to the start and columns to the goal, the least sum of plan * cost."""
    n = start.size
    at = np.stack(np.indices(start.shape), -1).reshape(n, 2) * np.array(units)
    rows, columns = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    masses = np.concatenate([start.ravel() / start.sum(), goal.ravel() / goal.sum()])
    found = linprog(cdist(at, at).ravel(), A_eq=np.vstack([rows, columns]), b_eq=masses, method="highs")
    assert found.success
    return float(found.fun)


def point(row: int, column: int, height: int, width: int) -> torch.Tensor:
    """All in one pixel of one film."""
    film = torch.zeros(1, height, width)
    film[0, row, column] = 1
    return film


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.3, 3), st.floats(0.3, 3), st.sampled_from([1.0, 2.0, 1e-3]))
def test_equals_the_linear_program_at_any_scale(seed: int, row_mm: float, column_mm: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    h, w = rng.integers(2, 6, 2)
    maps, region = rng.normal(size=(2, h, w)).astype(np.float32), rng.random((2, h, w)) < 0.3
    maps[:, 0, 0], region[:, -1, -1] = 1, True
    spacing = torch.tensor([row_mm, column_mm])
    result = EarthMover()(make_case(scale * torch.from_numpy(maps), torch.from_numpy(region), spacing=spacing))
    units = tuple(spacing.double().tolist())
    for n in range(2):
        start, goal = np.maximum(maps[n], 0).astype(np.float64), region[n].astype(np.float64)
        expected = slow_distance(start, goal, (1, 1)) / np.hypot(h, w)
        assert result.scores["earth_mover"][n].item() == pytest.approx(expected, abs=1e-6)
        assert result.scores["earth_mover_mm"][n].item() == pytest.approx(slow_distance(start, goal, units), abs=1e-6)


def test_one_minus_the_score_is_that_of_the_published_code() -> None:
    """`1 - emd(mask, attribution) / d_max` on 8 x 8 pixels, d_max the root of twice 64; its relevance has no signs."""
    import ot

    rng = np.random.default_rng(0)
    relevance, mask = rng.random(64), (rng.random(64) < 0.2).astype(np.float64)
    at = np.stack(np.indices((8, 8)), -1).reshape(64, 2)
    plan = ot.emd(mask / mask.sum(), relevance / relevance.sum(), cdist(at, at))
    published = 1 - (plan * cdist(at, at)).sum() / np.sqrt(2 * 64)
    case = make_case(torch.from_numpy(relevance).view(1, 8, 8).float(), torch.from_numpy(mask).view(1, 8, 8) > 0)
    assert 1 - EarthMover()(case).scores["earth_mover"].item() == pytest.approx(published, abs=1e-6)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 5), (7, 0), (3, 4), (13, 27)])
def test_a_point_moved_by_some_cells_costs_their_distance(row: int, column: int) -> None:
    case = make_case(point(row, column, 14, 28), point(0, 0, 14, 28) > 0, spacing=[2.0, 0.5])
    scores = EarthMover(cells=28)(case).scores
    assert scores["earth_mover"].item() == pytest.approx(np.hypot(row, column) / np.hypot(14, 28))
    assert scores["earth_mover_mm"].item() == pytest.approx(np.hypot(2.0 * row, 0.5 * column))


def test_from_corner_to_corner_is_the_diagonal_but_for_one_cell() -> None:
    case = make_case(point(0, 0, 56, 42), point(55, 41, 56, 42) > 0)
    assert EarthMover().scores["earth_mover"].high == 1
    assert EarthMover()(case).scores["earth_mover"].item() == pytest.approx(13 / 14)


def test_transport_is_a_distance_between_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = torch.rand(3, 20, 9, generator=generator)
    at = torch.rand(20, 9, 2, generator=generator)
    assert torch.allclose(transport(a, b, at), transport(b, a, at))
    assert transport(a, 3 * a, at).numpy() == pytest.approx(np.zeros(20), abs=1e-7)
    assert (transport(a, b, at) > 0.01).all()
    assert (transport(a, c, at) <= transport(a, b, at) + transport(b, c, at) + 1e-9).all()


def test_pixels_are_summed_into_cells_of_the_content() -> None:
    generator = torch.Generator().manual_seed(1)
    maps, region = torch.rand(2, 7, 7, generator=generator), torch.rand(2, 7, 7, generator=generator) < 0.2
    region[:, 2, 3] = True
    fine, shown = (film.repeat_interleave(3, 1).repeat_interleave(5, 2) for film in (maps, region))
    coarse = EarthMover()(make_case(maps, region, spacing=[3.0, 5.0])).scores["earth_mover_mm"]
    found = EarthMover(cells=7)(make_case(fine, shown, spacing=[1.0, 1.0])).scores["earth_mover_mm"]
    assert torch.allclose(found, coarse)


def test_cells_of_unequal_sizes_take_the_pixels_whose_centers_they_hold() -> None:
    """Of 8 pixels 3 cells take 3, 2 and 3, so that left and right are alike."""
    generator = torch.Generator().manual_seed(5)
    maps, region = torch.rand(4, 8, 8, generator=generator), torch.rand(4, 8, 8, generator=generator) < 0.2
    found = EarthMover(cells=3)(make_case(maps, region)).scores["earth_mover"]
    turned = EarthMover(cells=3)(make_case(maps.flip(1, 2), region.flip(1, 2))).scores["earth_mover"]
    assert torch.allclose(found, turned)


def test_the_diagonal_is_that_of_each_films_own_content() -> None:
    content = torch.ones(2, 6, 8, dtype=torch.bool)
    content[1, 3:] = content[1, :, 4:] = False
    maps, region = point(2, 3, 6, 8).expand(2, -1, -1), point(0, 0, 6, 8).expand(2, -1, -1) > 0
    found = EarthMover()(make_case(maps, region, content)).scores["earth_mover"]
    assert found.tolist() == pytest.approx([np.hypot(2, 3) / 10, np.hypot(2, 3) / 5])


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=15)
def test_the_place_and_the_size_of_the_padding_change_nothing(top: int, left: int, bottom: int, right: int) -> None:
    generator = torch.Generator().manual_seed(2)
    maps, region = torch.randn(2, 9, 6, generator=generator), torch.rand(2, 9, 6, generator=generator) < 0.3
    bare = EarthMover(cells=4)(make_case(maps, region, spacing=[0.7, 1.1])).scores

    def padded(film: torch.Tensor, value: float) -> torch.Tensor:
        return torch.nn.functional.pad(film, (left, right, top, bottom), value=value)

    content = padded(torch.ones_like(region), False)
    boxed = make_case(padded(maps, 100.0), padded(region, True), content, spacing=[0.7, 1.1])
    found = EarthMover(cells=4)(boxed).scores
    assert all(torch.allclose(found[name], bare[name]) for name in bare)


@pytest.mark.parametrize("value", [0.0, -1.0, 4.0])
def test_a_map_without_a_preference_scores_as_the_content_itself_and_is_marked(value: float) -> None:
    content = torch.ones(1, 6, 8, dtype=torch.bool)
    content[:, :, 5:] = False
    region = point(1, 1, 6, 8) > 0
    result = EarthMover()(make_case(torch.full((1, 6, 8), value), region, content))
    rows, columns = np.indices((6, 5))
    expected = np.hypot(rows - 1, columns - 1).mean() / np.hypot(6, 5)
    assert result.scores["earth_mover"].item() == pytest.approx(expected)
    assert result.reason("earth_mover", 0) == CONSTANT


def test_the_region_itself_is_perfect_and_beats_every_control() -> None:
    generator = torch.Generator().manual_seed(3)
    region = torch.zeros(6, 28, 28, dtype=torch.bool)
    for n in range(6):
        region[n, 3 * n : 3 * n + 6, 2 * n : 2 * n + 5] = True
    assert EarthMover()(make_case(region.float(), region)).scores["earth_mover"].numpy() == pytest.approx(0, abs=1e-9)
    for control in (torch.rand(6, 28, 28, generator=generator), torch.zeros(6, 28, 28), region.roll(1, 0).float()):
        assert (EarthMover()(make_case(control, region)).scores["earth_mover"] > 0.05).all()


def test_without_spacing_only_the_millimeters_are_missing() -> None:
    spacing = [[0.5, 0.5], [float("nan"), float("nan")], [0.0, 1.0]]
    maps = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(4))
    region = point(0, 0, 4, 3).expand(3, 4, 3) > 0
    result = EarthMover()(make_case(maps, region, spacing=spacing))
    assert [result.reason("earth_mover_mm", n) for n in range(3)] == [None, NO_SPACING, NO_SPACING]
    assert result.scores["earth_mover_mm"].isnan().tolist() == [False, True, True]
    assert result.scores["earth_mover"].isfinite().all()
    # Where pixels are square, the two are one number in other units: the diagonal is 5 pixels.
    assert result.scores["earth_mover_mm"][0].item() == pytest.approx(2.5 * result.scores["earth_mover"][0].item())


@pytest.mark.parametrize("cells", [1, 0, -3])
def test_a_grid_of_one_cell_is_refused(cells: int) -> None:
    with pytest.raises(BadInput, match="2 or more cells"):
        EarthMover(cells=cells)
