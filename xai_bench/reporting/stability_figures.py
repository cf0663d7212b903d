"""Figures of stability: which twins agree with which, and how alike the maps of single films are.

SSIM of `retrain_stability`; null: what maps of other patients' films reach; floor: the same model explained twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.protocols import ClassifierCard, Evidence, Traits
from xai_bench.reporting.plot_style import BAND, COLORS, INK, heading, plain
from xai_bench.reporting.stability_table import SCORE, STABILITY
from xai_bench.reporting.table import number, readable
from xai_bench.running.summaries import evidence_of
from xai_bench.saliency import constant, to_grid
from xai_bench.similarity import similarity

if TYPE_CHECKING:
    from xai_bench.running.run import Run

FILMS = 200  # the distributions show this many films at most
BINS = 40
WIDE = 10.5  # inches for the panels of a row
CELL, GAP = 0.48, 0.1  # inches of a pair of twins, where there are few, and between panels
FLOOR_COLOR = COLORS[1]
Limits = Mapping[tuple[str, str, str], float]  # (explainer, classifier, other) -> upper end of the null band


def stability_figures(run: Run) -> dict[str, Figure]:
    """`stability_pairs` and `stability_null`; none where the study has no summary that compares twins."""
    if not len(run.summaries):
        return {}
    controls = set(run.rows[run.rows.family == "control"].explainer)
    mine = run.summaries[(run.summaries.summary == STABILITY) & ~run.summaries.explainer.isin(controls)]
    if mine.empty:
        return {}
    rows = mine.assign(other=mine.other_classifier.fillna(""))
    figures = {"stability_pairs": pairs_figure(run, rows), "stability_null": null_figure(run, rows)}
    return {name: figure for name, figure in figures.items() if figure is not None}


def pairs_figure(run: Run, rows: pd.DataFrame) -> Figure | None:
    """A panel a method: mean SSIM of the maps of every two models, retrained twins and other classifiers.

    Colors run from the least upper end of the null bands to 1; a pair that is not above its own null band is gray.
    """
    pairs = rows[(rows.score_name == f"{SCORE}_pair") & rows.value.notna()]
    if not len(pairs):
        return None
    methods, twins = list(dict.fromkeys(pairs.explainer)), _twins(run, pairs)
    limits = _limits(rows)
    least = min([*limits.values(), 0.99]) if limits else 0.0
    names, cell = _names(twins), max(0.2, min(CELL, 4.0 / len(twins)))
    figure, panels = _grid_of_panels(len(methods), cell * len(twins), 0.08 * max(map(len, names)))
    for axes, method in zip(panels.flat, methods, strict=False):
        matrix = _matrix(pairs[pairs.explainer == method], twins, limits)
        image = _pairs_panel(axes, matrix, least, numbers=cell > 0.35)
        axes.set_title(readable(str(method)), fontsize=10, color=INK, loc="left")
    _name_twins(panels, names, [n for n in range(1, len(twins)) if twins[n][0] != twins[n - 1][0]])
    for axes in panels.flat[len(methods) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=panels, pad=0.02, aspect=14 * len(panels))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=INK)
    heading(figure, "How alike the maps of two trained models are: mean SSIM")
    _foot(figure, "gray: inside the null band of other patients' films, or below")
    return figure


def _limits(rows: pd.DataFrame) -> Limits:
    """The upper end of each null band."""
    nulls = rows[(rows.score_name == f"{SCORE}_null") & rows.high.notna()]
    found = nulls.set_index(["explainer", "classifier", "other"]).high.astype(float)
    return dict(zip(found.index.to_list(), found.to_list(), strict=True))


def _grid_of_panels(count: int, side: float, names: float) -> tuple[Figure, NDArray[Any]]:
    """A figure with `count` square panels or some more, of `side` inches, and room for names at the left and below."""
    across = max(1, min(count, int(WIDE / (side + GAP))))
    down = -(-count // across)
    width, height = names + (side + GAP) * across + 0.7, 0.5 + (side + names + 0.35) * down
    figure = Figure((max(4.6, width), height), layout="constrained")
    return figure, figure.subplots(down, across, squeeze=False, sharey=True)


def _foot(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=8.5, color=INK, x=0.01, ha="left")


def _twins(run: Run, pairs: pd.DataFrame) -> list[tuple[str, int]]:
    """Classifier and replicate of every model that is compared, in the study's order."""
    found = set()
    for row in pairs.itertuples():
        first, second = (int(n) for n in str(row.note).split("-"))
        found |= {(str(row.classifier), first), (str(row.other) or str(row.classifier), second)}
    names = list(dict.fromkeys(run.predictions.classifier))
    return sorted(found, key=lambda twin: (names.index(twin[0]), twin[1]))


@dataclass(frozen=True, eq=False)
class Matrix:
    """What a panel shows: each pair's value (NaN where there is none), and which are not above their null band."""

    values: NDArray[np.float64]
    within: NDArray[np.bool_]


def _matrix(pairs: pd.DataFrame, twins: Sequence[tuple[str, int]], limits: Limits) -> Matrix:
    values = np.full((len(twins), len(twins)), np.nan)
    within = np.zeros(values.shape, bool)
    row: Any
    for row in pairs.itertuples():
        a, b = (int(n) for n in str(row.note).split("-"))
        i, j = twins.index((row.classifier, a)), twins.index((row.other or row.classifier, b))
        values[[i, j], [j, i]] = row.value
        within[[i, j], [j, i]] = row.value <= limits.get((row.explainer, row.classifier, row.other), -np.inf)
    return Matrix(values, within)


def _pairs_panel(axes: Axes, matrix: Matrix, least: float, *, numbers: bool) -> Any:
    """Draws one method; gives the image whose colors the bar explains."""
    axes.imshow(np.where(matrix.within, 1.0, np.nan), cmap=ListedColormap([BAND]))
    image = axes.imshow(np.where(matrix.within, np.nan, matrix.values), cmap="Blues", vmin=least, vmax=1)
    for (i, j), value in np.ndenumerate(matrix.values):
        if numbers and np.isfinite(value):
            dark = not matrix.within[i, j] and value > least + 0.6 * (1 - least)
            axes.text(j, i, number(value), ha="center", va="center", fontsize=8, color="white" if dark else INK)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    return image


def _names(twins: Sequence[tuple[str, int]]) -> list[str]:
    several = len({name for name, _ in twins}) > 1
    return [f"{name} {n}" if several else f"twin {n}" for name, n in twins]


def _name_twins(panels: NDArray[Any], names: Sequence[str], borders: Sequence[int]) -> None:
    """Names at the left and below; a line between classifiers."""
    for axes in panels.flat:
        for border in borders:
            axes.axhline(border - 0.5, color="white", lw=4)
            axes.axvline(border - 0.5, color="white", lw=4)
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks(range(len(names)), names, rotation=90)


def null_figure(run: Run, rows: pd.DataFrame) -> Figure | None:
    """How alike single maps of twins are: a panel a classifier, a row a method; null band gray, noise floor a line.

    Every two twins on each of the first films on which both explain the same class.
    """
    if not run.maps:
        return None
    evidence = evidence_of(run.study, run.models, run.maps, run.rows, run.predictions)
    grid = next(s.grid for s in run.study.summaries if getattr(s, "xai_bench_name", "") == STABILITY)
    methods = list(dict.fromkeys(rows.explainer))
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name in dict.fromkeys(card.classifier for card in evidence.cards):
        cards = sorted((c for c in evidence.cards if c.classifier == name), key=lambda card: card.replicate)
        values = {str(m): single_comparisons(evidence, cards, str(m), grid) for m in methods}
        found |= {name: values} if any(map(len, values.values())) else {}
    if not found:
        return None
    shape = (max(5.0, 1.6 + 3.5 * len(found)), 1.9 + 0.62 * len(methods))
    figure = Figure(shape, layout="constrained")
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    twins = rows[rows.other == ""]
    edges = _edges([v for each in found.values() for v in each.values()], twins)
    for axes, (name, values) in zip(panels, found.items(), strict=True):
        _null_panel(axes, values, twins[twins.classifier == name], edges)
        axes.set_title(name, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("SSIM", fontsize=9, color=INK)
    panels[0].set_yticks(range(len(methods)), [readable(str(m)) for m in methods], fontsize=10)
    panels[0].set_ylim(len(methods) - 0.45, -0.75)
    _explain(figure, panels[0])
    first = f", the first {FILMS} films" * (run.predictions.picture.nunique() > FILMS)
    heading(figure, f"How alike the maps of twins are, film by film{first}")
    return figure


def single_comparisons(
    evidence: Evidence, cards: Sequence[ClassifierCard], method: str, grid: int
) -> NDArray[np.float64]:
    """SSIM of the maps of every two of the classifiers, film by film, as `retrain_stability` compares them.

    On their coarser native grid, at most `grid` cells a side; of films on which both explain the same class, and
    neither map is invalid or constant.
    """
    found = [evidence.maps(card.weights, method) for card in cards]
    ids = list(dict.fromkeys(picture for maps in found for picture in maps))[:FILMS]
    sides = zip(*(next(iter(maps.values()))[1].shape for maps in found if maps), strict=True)
    size = tuple(min(grid, *lengths) for lengths in sides)
    if not size:
        return np.zeros(0)
    content = _content(evidence, cards[0], ids, (size[0], size[1]))  # twins see a film alike
    coarse = [_usable(maps, content, (size[0], size[1])) for maps in found]
    span = 2.0 if Traits.of(evidence.explainers[method]).signed else 1.0
    pairs = [_alike(one, other, content, span) for one, other in combinations(coarse, 2)]
    return np.concatenate([np.zeros(0), *pairs])


def _content(
    evidence: Evidence, card: ClassifierCard, ids: Sequence[str], size: tuple[int, int]
) -> Mapping[str, Tensor]:
    """Cells of which at least half is content."""
    if evidence.content is None:
        return dict.fromkeys(ids, torch.ones(size, dtype=torch.bool))
    shown = to_grid(torch.stack(list(evidence.content(card.weights, ids))).float(), size) >= 0.5
    return dict(zip(ids, shown, strict=True))


def _usable(
    maps: Mapping[str, tuple[int, Tensor]], content: Mapping[str, Tensor], size: tuple[int, int]
) -> dict[str, tuple[int, Tensor]]:
    """Maps on the grid, without those that are invalid or constant."""
    found = {}
    for picture in (p for p in maps if p in content):
        target, native = maps[picture]
        if native.isfinite().all() and native.min() < native.max():
            coarse = to_grid(native[None].float(), size)
            if not constant(coarse, content[picture][None]).item():
                found[picture] = (target, coarse[0])
    return found


def _alike(
    one: Mapping[str, tuple[int, Tensor]],
    other: Mapping[str, tuple[int, Tensor]],
    content: Mapping[str, Tensor],
    span: float,
) -> NDArray[np.float64]:
    """SSIM of the films on which both explain the same class."""
    films = [p for p in one if p in other and one[p][0] == other[p][0]]
    if not films:
        return np.zeros(0)
    maps = torch.stack([torch.stack([side[p][1] for p in films]) for side in (one, other)])
    at = torch.arange(len(films), device=maps.device)
    shown = torch.stack([content[p] for p in films]).to(maps.device)
    return similarity(maps, shown, at, at + len(films), span=span, scores=(SCORE,))[0].cpu().numpy()


def _edges(values: Sequence[NDArray[np.float64]], rows: pd.DataFrame) -> NDArray[np.float64]:
    """Bins that hold all values and all null bands."""
    nulls = rows[(rows.score_name == f"{SCORE}_null") & rows.low.notna()].low
    least = min([0.0, *nulls, *(v.min() for v in values if len(v))])
    return np.linspace(np.floor(10 * least) / 10, 1.0, BINS + 1)


def _null_panel(
    axes: Axes, values: Mapping[str, NDArray[np.float64]], rows: pd.DataFrame, edges: NDArray[np.float64]
) -> None:
    beside: dict[tuple[str, str], Any] = {(str(r.explainer), str(r.score_name)): r for r in rows.itertuples()}
    for at, (method, mine) in enumerate(values.items()):
        null, floor, above = (beside.get((method, SCORE + end)) for end in ("_null", "_floor", "_passes"))
        base, top = at + 0.35, at - 0.45
        if null is not None and np.isfinite(float(null.high)):
            axes.fill_between([float(null.low), float(null.high)], base, top, color=BAND, lw=0, zorder=1)
        if len(mine):
            counts = np.histogram(mine, edges)[0]
            axes.stairs(base - 0.8 * counts / counts.max(), edges, baseline=base, fill=True, color=COLORS[0], zorder=2)
        if floor is not None and np.isfinite(floor.value):
            axes.plot([floor.value] * 2, [base, top], color=FLOOR_COLOR, lw=1.6, ls=(0, (3, 1.5)), zorder=3)
        if above is not None and np.isfinite(above.value):
            place = axes.get_yaxis_transform()
            axes.text(1.02, base, f"{100 * above.value:.0f}%", transform=place, fontsize=8.5, color=INK, va="bottom")
        axes.plot([edges[0], 1], [base] * 2, color="#bbbbbb", lw=0.8, zorder=2)
    axes.text(1.02, -0.6, "above null", transform=axes.get_yaxis_transform(), fontsize=8, color=INK)
    plain(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _explain(figure: Figure, axes: Axes) -> None:
    """The legend below."""
    shown = [
        axes.fill_between([], [], color=COLORS[0], label="two twins, one film"),
        axes.fill_between([], [], color=BAND, label="null band: other patients, middle 95%"),
        axes.plot([], [], color=FLOOR_COLOR, lw=1.6, ls=(0, (3, 1.5)), label="floor: same model explained twice")[0],
    ]
    columns = 3 if figure.get_figwidth() > 8 else 1
    figure.legend(handles=shown, loc="outside lower left", ncols=columns, frameon=False, fontsize=8.5)
