"""Figures show the numbers of the tables, and leave matplotlib as it was."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from synthetic_run import SyntheticRun, synthetic_run

from xai_bench.reporting.estimates import column_groups, estimates
from xai_bench.reporting.figures import png, run_figures, save, score_figure


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return synthetic_run(patients=10)


@pytest.fixture(scope="module")
def figures(run: SyntheticRun) -> dict[str, Figure]:
    return run_figures(run)  # type: ignore[arg-type]


def test_dots_intervals_twins_and_chance_band_are_the_tables_numbers(
    run: SyntheticRun, figures: dict[str, Figure]
) -> None:
    found = estimates(run)  # type: ignore[arg-type]
    for axes, score in zip(figures["scores_1"].axes, column_groups(found)[0], strict=True):
        mine = [e for e in found if e.score == score and len(e.films)]
        drawn = [line.get_xdata().tolist() for line in axes.get_lines()]
        for e in (e for e in mine if not e.control):
            assert [e.value] in drawn
            assert list(e.twins.values()) in drawn
            assert e.interval is not None and [e.interval.low, e.interval.high] in drawn
        band = axes.patches[0].get_bbox()
        controls = [e.value for e in mine if e.control]
        assert (band.x0, band.x1) == pytest.approx((min(controls), max(controls)))
        assert figures["scores_1"].axes[0].get_yticklabels()[0].get_text() == "grad cam"


def test_classifiers_do_not_cover_each_other(run: SyntheticRun, figures: dict[str, Figure]) -> None:
    axes = figures["scores_1"].axes[0]
    heights = [float(line.get_ydata()[0]) for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert len(heights) == len(set(heights)) == 4 + 3  # four methods on one classifier, three on the other


def test_curves_are_the_mean_over_patients(run: SyntheticRun, figures: dict[str, Figure]) -> None:
    c = run.curves[
        (run.curves.metric == "deletion") & (run.curves.classifier == "honest") & (run.curves.explainer == "lime")
    ]
    owner = dict(zip(run.predictions.picture, run.predictions.patient, strict=True))
    films = {p: part.groupby("x").y.mean().to_numpy() for p, part in c.groupby("picture")}
    patients = [
        np.mean([y for p, y in films.items() if owner[p] == name], axis=0) for name in {owner[p] for p in films}
    ]
    line = next(x for x in figures["curves_deletion"].axes[0].get_lines() if x.get_label() == "lime")
    assert line.get_ydata() == pytest.approx(np.mean(patients, axis=0))
    assert figures["curves_deletion"].axes[0].get_xlabel() == "share of pixels removed"
    assert figures["curves_insertion"].axes[0].get_xlabel() == "share of pixels shown"


def test_png_and_pdf_are_written_and_global_settings_are_left_alone(figures: dict[str, Figure], tmp_path) -> None:  # type: ignore[no-untyped-def]
    before = dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)
    save(figures["scores_1"], tmp_path, "scores")
    assert (tmp_path / "scores.pdf").read_bytes().startswith(b"%PDF")
    picture = Image.open(tmp_path / "scores.png")
    assert picture.width > 1000 and np.asarray(picture.convert("L")).std() > 5
    assert (dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)) == before


def test_one_classifier_and_no_controls_can_be_drawn(run: SyntheticRun) -> None:
    found = [e for e in estimates(run) if e.classifier == "honest" and not e.control]  # type: ignore[arg-type]
    figure = score_figure(found, column_groups(found)[0][:1])
    assert not figure.axes[0].patches
    assert Image.open(io.BytesIO(png(figure))).width >= 700
