"""Figures of stability show the numbers of `retrain_stability`, and the very comparisons behind them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from synthetic_run import SyntheticRun, synthetic_run, with_pairs
from twin_cases import Positive, Signed, World, by_score, noise, twins
from xai_bench_metrics.retrain_stability import RetrainStability

from xai_bench.reporting import stability_figures as module
from xai_bench.reporting.plot_style import BAND
from xai_bench.reporting.stability_figures import single_comparisons, stability_figures


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return with_pairs(synthetic_run(patients=2))


def numbers_of(axes: Axes) -> dict[tuple[float, float], str]:
    """(row, column) -> the number that is written there."""
    return {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}


def test_each_pair_of_models_has_its_number_and_a_model_none_with_itself(run: SyntheticRun) -> None:
    figure = stability_figures(run)["stability_pairs"]  # type: ignore[arg-type]
    panels, bar = figure.axes[:-1], figure.axes[-1]
    assert [p.get_title(loc="left") for p in panels] == ["grad cam", "lime"]  # no control
    names = [t.get_text() for t in panels[0].get_yticklabels()]
    assert names == ["honest 0", "honest 1", "cheating 0", "cheating 1"]
    half = {
        (0, 1): "0.90", (0, 2): "0.70", (0, 3): "0.40", (1, 2): "0.30", (1, 3): "\N{MINUS SIGN}0.10", (2, 3): "0.25",
    }  # fmt: skip
    assert all(numbers_of(p) == half | {(j, i): text for (i, j), text in half.items()} for p in panels)
    assert bar.get_ylim() == pytest.approx((0.28, 1.0))


def test_a_pair_that_is_not_above_its_null_band_is_gray(run: SyntheticRun) -> None:
    figure = stability_figures(run)["stability_pairs"]  # type: ignore[arg-type]
    gray, blue = figure.axes[0].images
    inside = np.zeros((4, 4), bool)
    inside[[2, 3, 1, 3], [3, 2, 3, 1]] = True
    assert (np.ma.getmaskarray(gray.get_array()) != inside).all()
    assert gray.cmap(1.0) == to_rgba(BAND)
    shown = np.ma.filled(blue.get_array(), np.nan)
    assert np.isnan(shown[inside | np.eye(4, dtype=bool)]).all()
    assert shown[0, 1:3].tolist() == [0.9, 0.7]


def test_without_null_bands_nothing_is_gray(run: SyntheticRun) -> None:
    rows = run.summaries[run.summaries.score_name != "ssim_null"]
    figure = stability_figures(replace(run, summaries=rows))["stability_pairs"]  # type: ignore[arg-type]
    gray, blue = figure.axes[0].images
    assert np.ma.getmaskarray(gray.get_array()).all() and blue.get_clim() == (0.0, 1.0)


def test_one_classifiers_twins_are_called_twins_and_many_are_told_by_color_only() -> None:
    few = with_pairs(synthetic_run(patients=2), {("honest", None, "0-1"): 0.9})
    axes = stability_figures(few)["stability_pairs"].axes[0]  # type: ignore[arg-type]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["twin 0", "twin 1"]
    many = {("honest", None, f"{a}-{b}"): 0.5 for a in range(14) for b in range(a + 1, 14)}
    axes = stability_figures(with_pairs(few, many))["stability_pairs"].axes[0]  # type: ignore[arg-type]
    assert not axes.texts and np.ma.getmaskarray(axes.images[1].get_array()).sum() == 14


def test_a_study_without_twins_has_no_such_figure(run: SyntheticRun) -> None:
    other = run.summaries.assign(summary="mege_reco")
    for rows in (pd.DataFrame(), other, run.summaries[run.summaries.score_name == "agreeing_share"]):
        assert stability_figures(replace(run, summaries=rows)) == {}  # type: ignore[arg-type]


def odd_world(size: int) -> World:
    """Twins one of whose films each has another class, no map, a constant map, NaN, or is constant on the grid."""
    world = twins(count=14, size=size)
    first, second = world.maps[("cnn", 0)], world.maps[("cnn", 1)]
    second["p1a"] = (1 - second["p1a"][0], second["p1a"][1])
    del second["p2a"]
    first["p2b"] = (first["p2b"][0], torch.full((size, size), 0.3))
    second["p3b"][1][0, 0] = torch.nan
    stripes = torch.tensor([1.0, -1.0]).repeat(size // 2)
    first["p4a"] = (first["p4a"][0], stripes.expand(size, size).clone())  # averages to 0 on half as fine a grid
    return world


@pytest.mark.parametrize("explainer", [Signed(), Positive()])
@pytest.mark.parametrize(("grid", "compared"), [(56, 10), (14, 9)])
@pytest.mark.parametrize("padded", [False, True])
def test_the_comparisons_are_those_of_the_summary(explainer: object, grid: int, compared: int, padded: bool) -> None:
    world = odd_world(28)
    world.explainer = explainer
    if padded:
        content = torch.ones(28, 28, dtype=torch.bool)
        content[:5] = False
        world.content = dict.fromkeys(world.maps[("cnn", 0)], content)
    evidence = world.evidence()
    row = by_score(RetrainStability(grid=grid)(evidence))["ssim"]
    found = single_comparisons(evidence, evidence.cards, "map", grid)
    assert len(found) == row.n == compared
    assert found.mean() == pytest.approx(row.value, abs=1e-6)


def test_every_two_twins_are_compared_in_the_order_of_the_rows() -> None:
    evidence = twins(replicates=3).evidence()
    found = single_comparisons(evidence, evidence.cards, "map", 56).reshape(3, 12)
    pairs = [r for r in RetrainStability()(evidence) if r.score_name == "ssim_pair"]
    assert [r.note for r in pairs] == ["0-1", "0-2", "1-2"]
    assert found.mean(1) == pytest.approx([r.value for r in pairs], abs=1e-6)


def test_only_the_first_films_are_compared_and_twins_without_maps_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = twins(replicates=2).evidence()
    every = single_comparisons(evidence, evidence.cards, "map", 56)
    monkeypatch.setattr(module, "FILMS", 5)
    assert single_comparisons(evidence, evidence.cards, "map", 56).tolist() == every[:5].tolist()
    empty = replace(evidence, maps=lambda *_: {})
    assert len(single_comparisons(empty, evidence.cards, "map", 56)) == 0
    assert len(single_comparisons(evidence, evidence.cards[:1], "map", 56)) == 0


@pytest.fixture
def null_figure(monkeypatch: pytest.MonkeyPatch) -> tuple[Figure, World]:
    """Of three twins explained twice, and of a classifier with one replicate."""
    world = twins(replicates=3, noisy=0.3)
    world.maps[("other", 0)] = world.maps[("cnn", 0)]
    maps = {c: {p: (t, m + 0.05 * noise(9, 1, 14)[0]) for p, (t, m) in own.items()} for c, own in world.maps.items()}
    world.repeats = maps
    evidence = world.evidence()
    rows = pd.DataFrame([vars(r) for r in RetrainStability()(evidence)])
    monkeypatch.setattr(module, "evidence_of", lambda *_: evidence)
    made = SimpleNamespace(
        summaries=rows, predictions=evidence.predictions.assign(classifier="cnn"), models=(), maps={"some": "map"},
        rows=pd.DataFrame({"explainer": ["edges"], "family": ["control"]}),
        study=SimpleNamespace(summaries=(SimpleNamespace(), RetrainStability())),
    )  # fmt: skip
    monkeypatch.setattr(module, "pairs_figure", lambda *_: None)
    return stability_figures(made)["stability_null"], world  # type: ignore[arg-type]


def test_the_distribution_stands_beside_null_band_and_floor(null_figure: tuple[Figure, World]) -> None:
    figure, world = null_figure
    (axes,) = figure.axes  # one replicate has no twins
    rows = by_score(RetrainStability()(world.evidence()))
    assert axes.get_title(loc="left") == "cnn" and axes.get_yticklabels()[0].get_text() == "map"
    heights, edges, base = axes.patches[0].get_data()
    evidence = world.evidence()
    found = single_comparisons(evidence, evidence.cards[:3], "map", 56)
    counts = np.histogram(found, edges)[0]
    assert counts.sum() == len(found) == 36
    assert (base - heights) / (base - heights).max() == pytest.approx(counts / counts.max())
    corners = axes.collections[0].get_paths()[0].vertices[:, 0]
    assert (corners.min(), corners.max()) == pytest.approx((rows["ssim_null"].low, rows["ssim_null"].high))
    lines = [set(line.get_xdata()) for line in axes.get_lines()]
    assert {rows["ssim_floor"].value} in lines
    assert f"{100 * rows['ssim_passes'].value:.0f}%" in [t.get_text() for t in axes.texts]


def test_a_study_with_other_summaries_only_has_no_such_figure(run: SyntheticRun) -> None:
    other = run.summaries.assign(summary="shuffled")
    assert stability_figures(replace(run, summaries=other)) == {}  # type: ignore[arg-type]
