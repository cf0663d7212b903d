"""Twins side by side: the same films, explained for each retrained twin of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from xai_bench.reporting import overlay
from xai_bench.reporting.overlay import Panel
from xai_bench.reporting.table import number
from xai_bench.saliency import to_grid

if TYPE_CHECKING:
    from xai_bench.running.run import GalleryItem, Run

FILMS, TWINS = 3, 8  # shown at most
SIDE = 128  # pixels of a map's longer side: the page stays small, however many twins there are


@dataclass(frozen=True)
class TwinColumn:
    """One twin and what it says of the film."""

    replicate: int
    accuracy: str
    prediction: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class TwinTable:
    """The twins of one classifier on one film: a column a twin, a row a method; `more` twins are not shown."""

    classifier: str
    columns: tuple[TwinColumn, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    more: int


def twin_tables(run: Run, items: Sequence[GalleryItem], signed: Mapping[str, bool]) -> list[tuple[TwinTable, ...]]:
    """For each of the first films the table of each classifier that has twins; none where no classifier has any.

    `signed`: the methods to show, and which of them are drawn in two colors.
    """
    accuracy = _accuracies(run.predictions)
    names = {name for item in items for name, replicate, *_ in item.rows if _twins(item, name)}
    ordered = [name for name in dict.fromkeys(run.predictions.classifier) if name in names]
    return [tuple(_table(item, name, signed, accuracy) for name in ordered) for item in items[:FILMS] if ordered]


def explained_class(run: Run) -> str:
    """Which class the maps explain, in words."""
    if run.study.target is None:
        return "the film's label where that is a finding, else what the twin predicts"
    of = run.study.target.of
    return {"predicted": "what the twin predicts", "label": "the film's label"}.get(of, of)


def _twins(item: GalleryItem, name: str) -> bool:
    return sum(classifier == name for classifier, *_ in item.rows) > 1


def _accuracies(predictions: pd.DataFrame) -> dict[tuple[str, int], float]:
    """Each model's share of readable, labeled films that it gets right."""
    known = predictions[(predictions.status == "ok") & predictions.label.notna()]
    right = (known.label == known.prediction).groupby([known.classifier, known.replicate]).mean()
    return dict(zip(right.index.to_list(), right.to_list(), strict=True))


def _table(
    item: GalleryItem, name: str, signed: Mapping[str, bool], accuracy: Mapping[tuple[str, int], float]
) -> TwinTable:
    mine = sorted((row for row in item.rows if row[0] == name), key=lambda row: row[1])
    shown = mine[:TWINS]
    columns = tuple(
        TwinColumn(n, number(accuracy.get((name, n))), prediction, confidence, prediction == item.label)
        for _, n, prediction, confidence, _ in shown
    )
    rows = tuple(
        (method, tuple(overlay.panel(method, _small(maps.get(method)), signed=two) for *_, maps in shown))
        for method, two in signed.items()
        if any(method in maps for *_, maps in shown)
    )
    return TwinTable(name, columns, rows, len(mine) - len(shown))


def _small(saliency: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """The map at the size at which it is shown; one without information stays as it is, to the last bit."""
    if saliency is None or max(saliency.shape) <= SIDE or overlay.constant(saliency):
        return saliency
    scale = SIDE / max(saliency.shape)
    height, width = (max(1, round(scale * side)) for side in saliency.shape)
    return to_grid(torch.from_numpy(saliency)[None], (height, width))[0].numpy()
