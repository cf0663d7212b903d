"""Figures: scores with intervals and the chance band; deletion and insertion curves. Vector PDF and PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from xai_bench.reporting.estimates import Estimate, Score, column_groups, estimates, titles, where
from xai_bench.reporting.level_figures import level_figures
from xai_bench.reporting.overlay import Array, blend
from xai_bench.reporting.plot_style import BAND, COLORS, INK, MARKERS, SOFT, heading, plain
from xai_bench.reporting.stability_figures import stability_figures
from xai_bench.reporting.table import readable

if TYPE_CHECKING:
    from xai_bench.running.run import Run


def run_figures(run: Run) -> dict[str, Figure]:
    """Every figure of a run by file name."""
    found = estimates(run)
    figures = {f"scores_{i + 1}": score_figure(found, part) for i, part in enumerate(column_groups(found)) if part}
    for metric in dict.fromkeys(run.curves.metric) if len(run.curves) else ():
        figures[f"curves_{metric}"] = curve_figure(run, str(metric))
    return figures | level_figures(run) | stability_figures(run)


def score_figure(found: Sequence[Estimate], columns: Sequence[Score]) -> Figure:
    """Each method's scores (dots) with 95% intervals, a color a classifier; open dots are twins, the gray band chance.

    The band spans the means of the controls, whose own rows are left out.
    """
    shown = [e for e in found if e.score in columns and len(e.films)]
    methods = list(dict.fromkeys(e.explainer for e in shown if not e.control))
    names, named = list(dict.fromkeys(e.classifier for e in shown)), titles(found)
    step = max(0.55, 0.24 * len(names))
    figure = Figure((max(5.0, 1.4 + 2.0 * len(columns)), 1.5 + step * max(1, len(methods))), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, score in zip(panels, columns, strict=True):
        _score_panel(axes, [e for e in shown if e.score == score], methods, names)
        axes.set_title(named[score], fontsize=10, color=INK, loc="left")
    panels[0].set_yticks(range(len(methods)), [readable(m) for m in methods], fontsize=10)
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    handles = [
        panels[0].plot([], [], MARKERS[i % 8], color=COLORS[i % 8], label=name)[0] for i, name in enumerate(names)
    ]
    handles.append(panels[0].fill_between([], [], color=BAND, label="chance: range of the controls"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    heading(figure, f"Explanation scores{where(columns)}")
    return figure


def _score_panel(axes: Axes, mine: Sequence[Estimate], methods: Sequence[str], names: Sequence[str]) -> None:
    controls = [e.value for e in mine if e.control]
    if controls:
        axes.axvspan(min(controls), max(controls), color=BAND, lw=0, zorder=0)
    for e in (e for e in mine if not e.control):
        place = names.index(e.classifier)
        y = methods.index(e.explainer) + (place - (len(names) - 1) / 2) * 0.6 / max(len(names), 2)
        color = COLORS[place % 8]
        if e.interval is not None and e.interval.known:
            axes.plot([e.interval.low, e.interval.high], [y, y], color=color, lw=2, solid_capstyle="round", zorder=2)
        if len(e.twins) > 1:
            axes.plot(list(e.twins.values()), [y] * len(e.twins), "o", mfc="white", mec=color, ms=4, mew=0.9, zorder=3)
        axes.plot([e.value], [y], MARKERS[place % 8], color=color, ms=6, zorder=4)
    infos = {e.info for e in mine}
    if all((i.low, i.high) == (0, 1) for i in infos):
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    plain(axes)
    axes.grid(axis="x", color="#efefef", zorder=-1)
    axes.tick_params(axis="y", length=0)


def curve_figure(run: Run, metric: str) -> Figure:
    """Each method's mean curve with a 95% band (t over patients); a row a curve of the metric, a column a classifier.

    Controls are dashed in gray.
    """
    curves = run.curves[run.curves.metric == metric]
    classifiers, names = list(dict.fromkeys(curves.classifier)), list(dict.fromkeys(curves.curve))
    families = run.rows.drop_duplicates("explainer").set_index("explainer").family
    methods = [m for m in dict.fromkeys(curves.explainer) if families.get(m) != "control"]
    patients = run.predictions.drop_duplicates("picture").set_index("picture").patient
    figure = Figure((1.2 + 3.4 * len(classifiers), 0.8 + 2.8 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), len(classifiers), sharey="row", squeeze=False)
    for row, name in zip(panels, names, strict=True):
        across, up = _axis_labels(str(name))
        for axes, classifier in zip(row, classifiers, strict=True):
            own = curves[(curves.classifier == classifier) & (curves.curve == name)]
            for explainer in dict.fromkeys(own.explainer):
                _curve(axes, _per_patient(own[own.explainer == explainer], patients), explainer, methods)
            what = f"{readable(str(name))}\n" * (len(names) > 1)
            axes.set_title(f"{what}{classifier} (n {own.picture.nunique()})", fontsize=10, loc="left", color=INK)
            axes.set_xlabel(across, fontsize=9, color=INK)
            axes.set_xlim(0, 1)
            plain(axes)
        row[0].set_ylabel(up, fontsize=9, color=INK)
    handles = {h.get_label(): h for axes in panels.flat for h in axes.get_lines()}
    figure.legend(handles=list(handles.values()), loc="outside right center", frameon=False, fontsize=9)
    heading(figure, f"{readable(metric).capitalize()} curves")
    return figure


def _axis_labels(curve: str) -> tuple[str, str]:
    """What a curve runs over, and what it shows; curves of a stranger's metric say only what is sure."""
    for name, across in _ACROSS.items():
        if name in curve:
            return across, "similarity of the map" if "layers" in across else "model's score of the target"
    return "x", readable(curve)


_ACROSS = {
    "randomization": "share of layers randomized",
    "region_perturbation": "share of regions removed",
    "insertion": "share of pixels shown",
    **dict.fromkeys(("deletion", "srg", "road"), "share of pixels removed"),
}


def _per_patient(curves: pd.DataFrame, patients: pd.Series[str]) -> pd.DataFrame:
    """Mean over twins, then over a patient's films: a row a patient, a column a step."""
    table = curves.pivot_table(index="picture", columns="x", values="y", aggfunc="mean")
    return table.groupby(patients.reindex(table.index).to_numpy()).mean()


def _curve(axes: Axes, table: pd.DataFrame, explainer: str, methods: Sequence[str]) -> None:
    x, mean = table.columns.to_numpy(float), table.mean().to_numpy()
    if explainer not in methods:
        axes.plot(x, mean, color=SOFT, lw=1, ls="--", zorder=1, label="controls")
        return
    color = COLORS[methods.index(explainer) % 8]
    axes.plot(x, mean, color=color, lw=1.8, zorder=3, label=readable(explainer))
    if len(table) > 1:
        half = table.sem().to_numpy() * stats.t.ppf(0.975, len(table) - 1)
        axes.fill_between(x, mean - half, mean + half, color=color, alpha=0.13, lw=0, zorder=2)


def overlay_figure(
    image: Float[Array, "h w"], maps: Mapping[str, Float[Array, "h w"]], notes: Mapping[str, str]
) -> Figure:
    """A film and, beside it, each method's map on it; `notes` stand under the methods' names."""
    height, width = image.shape
    figure = Figure(figsize=(2.6 * (1 + len(maps)), 2.6 * height / width + 0.7), layout="constrained")
    panels = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
    shown = {"film": np.repeat(image[..., None], 3, 2)}
    shown |= {name: blend(image, m, signed=bool((m < 0).any())) for name, m in maps.items()}
    for axes, (name, picture) in zip(panels, shown.items(), strict=True):
        axes.imshow(picture, vmin=0, vmax=1)
        axes.set_title(readable(name), fontsize=10, color=INK)
        axes.set_xlabel(notes.get(name, ""), fontsize=8, color=INK)
        axes.set(xticks=[], yticks=[])
    return figure


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as a PNG on white."""
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(out, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return out.getvalue()


def save(figure: Figure, folder: Path, name: str) -> None:
    """`<name>.pdf` (vector, no date in it) and `<name>.png`."""
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    (folder / f"{name}.png").write_bytes(png(figure))
