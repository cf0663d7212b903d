"""Which vertebra mattered: bars of the relevance of each vertebra and disc, for methods whose players they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from xai_bench.anatomy import PARTS, needs_players
from xai_bench.protocols import Traits
from xai_bench.reporting.plot_style import COLORS, INK, heading, plain
from xai_bench.reporting.table import MINUS, readable
from xai_bench.running.targets import class_name
from xai_bench.saliency import upsample
from xai_bench.study import ALIGNMENT, Chosen

if TYPE_CHECKING:
    from xai_bench.running.run import Run
    from xai_bench.running.workbench import Model

FILMS = 200  # films of a classifier that are averaged at most
CLASSES = 3  # explained classes that are drawn at most, those of most films
REST = "rest of the film"
COLUMNS = ["classifier", "replicate", "target", "picture", "player", "value"]


def level_figures(run: Run) -> dict[str, Figure]:
    """`levels_<method>` of each method that explains by anatomical players."""
    figures = {}
    for chosen in (c for c in run.study.explainers if needs_players(c.plugin) and not c.repeat_of):
        values = relevance(run, chosen)
        if len(values):
            figures[f"levels_{chosen.label}"] = level_figure(chosen.label, values)
    return figures


def relevance(run: Run, chosen: Chosen) -> pd.DataFrame:
    """The mean of a method's map over each player's pixels, and over the rest, a row a classifier, film and player.

    The maps explain the film's label, on films that carry a finding, unless the study names another target.
    """
    rule = (run.study.target or ALIGNMENT).of
    lines = [line for model in run.models for line in _of_model(run, model, chosen, rule)]
    return pd.DataFrame(lines, columns=COLUMNS)


def _of_model(run: Run, model: Model, chosen: Chosen, rule: str) -> Iterator[tuple[Any, ...]]:
    blocks = run.maps.get((model.weights, chosen.label), ())
    made = [(r, m) for block in blocks for r, m in zip(block.requests, block.saliency, strict=True) if rule in r.rules]
    pictures = model.pictures.readable([r.picture for r, _ in made[:FILMS]], regions=False, players=True)
    for (request, native), picture in zip(made, pictures, strict=False):
        if picture.players is not None and native.isfinite().all():
            labels, players = picture.players
            mode = Traits.of(chosen.plugin).upsampling
            shown, known = upsample(native[None], (labels.shape[0], labels.shape[1]), mode)[0], {0: REST}
            known |= {label: player.name for label, player in players.items()}
            target = class_name(model.classifier.heads, request.target)
            for label, value in player_means(shown, labels).items():
                yield model.name, model.replicate, target, request.picture, known[label], value


def player_means(saliency: Float[Tensor, "h w"], labels: Int[Tensor, "h w"]) -> dict[int, float]:
    """The mean of a map over the pixels of each label.

    >>> player_means(torch.tensor([[5.0, 1.0, 3.0, 4.0]]), torch.tensor([[0, 1, 1, 3]]))
    {0: 5.0, 1: 2.0, 3: 4.0}
    """
    where = labels.flatten().long().cpu()
    sums = torch.bincount(where, saliency.flatten().double().cpu())
    return {n: float(sums[n] / count) for n, count in enumerate(where.bincount().tolist()) if count}


def level_order(players: Sequence[str]) -> list[str]:
    """Players from the top of the spine to its bottom, each disc below its upper vertebra; unknown names come last.

    >>> level_order(["L1", "T12", "T12-L1", "sacrum"])
    ['T12', 'T12-L1', 'L1', 'sacrum']
    """

    def place(name: str) -> tuple[int, int, bool]:
        known = re.match(rf"([{''.join(PARTS)}])(\d+)", name)
        return (list(PARTS).index(known[1]), int(known[2]), "-" in name) if known else (len(PARTS), 0, False)

    return sorted(dict.fromkeys(players), key=place)


def level_figure(method: str, values: pd.DataFrame) -> Figure:
    """Bars from the neck down, a column a classifier, a row an explained class: the mean over twins of their films.

    Discs are pale; an open dot is a twin's own mean. What lies outside the spine is a number above the bars, to whose
    scale it would not fit.
    """
    classifiers = list(dict.fromkeys(values.classifier))
    targets = list(values.groupby("target").picture.nunique().nlargest(CLASSES).index)
    counts = [values[values.target == target].player.nunique() for target in targets]
    heights = [0.7 + 0.14 * count for count in counts]
    figure = Figure((1.2 + 3.2 * len(classifiers), 0.9 + sum(heights)), layout="constrained")
    panels = figure.subplots(
        len(targets), len(classifiers), sharex="row", sharey="row", squeeze=False, height_ratios=heights
    )
    for row, target in zip(panels, targets, strict=True):
        own = values[values.target == target]
        players = level_order([player for player in own.player if player != REST])
        for n, (axes, classifier) in enumerate(zip(row, classifiers, strict=True)):
            mine = own[own.classifier == classifier]
            _level_panel(axes, mine, players, COLORS[n % 8])
            title = f"{classifier}, {target} (n {mine.picture.nunique()})"
            rest = mine[mine.player == REST].groupby("replicate").value.mean().mean()
            beside = f"\n{REST} {rest:.2g}".replace("-", MINUS) if np.isfinite(rest) else ""
            axes.set_title(title + beside, fontsize=10, loc="left", color=INK)
            axes.set_xlabel("mean relevance of its pixels", fontsize=9, color=INK)
        row[0].set_yticks(range(len(players)), ["" if "-" in p else p for p in players])
        row[0].set_ylim(len(players) - 0.4, -0.6)
    heading(figure, f"Which vertebra mattered: {readable(method)}")
    if values.groupby("classifier").replicate.nunique().max() > 1:
        figure.supxlabel("pale: discs; open dots: single twins", fontsize=8.5, color=INK, x=0.01, ha="left")
    return figure


def _level_panel(axes: Axes, values: pd.DataFrame, players: Sequence[str], color: str) -> None:
    table = values.pivot_table(index="player", columns="replicate", values="value", aggfunc="mean").reindex(
        list(players)
    )
    pale = [0.4 if "-" in player else 1.0 for player in players]
    for at, (mean, alpha) in enumerate(zip(table.mean(axis=1), pale, strict=True)):
        axes.barh(at, 0.0 if np.isnan(mean) else mean, height=0.8, color=color, alpha=alpha, lw=0, zorder=2)
    if table.shape[1] > 1:
        for twin in table:
            axes.plot(table[twin], range(len(players)), "o", mfc="white", mec=INK, ms=3, mew=0.6, zorder=3)
    axes.axvline(0, color="#bbbbbb", lw=0.8, zorder=1)
    plain(axes)
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.ticklabel_format(axis="x", scilimits=(-2, 3))
    axes.xaxis.get_offset_text().set_fontsize(8)
