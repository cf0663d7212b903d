"""What `evaluate` returns: tidy rows, tables, the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_bench.protocols import ScoreInfo, Traits
from xai_bench.saliency import upsample
from xai_bench.samples import Head

if TYPE_CHECKING:
    from xai_bench.running.cells import Maps
    from xai_bench.running.workbench import Model
    from xai_bench.study import Study


@dataclass(frozen=True)
class GalleryItem:
    """A film with its region's outline and, for each classifier, what it said and every method's map (h, w)."""

    picture_id: str
    image: NDArray[np.float32]
    outline: NDArray[np.bool_] | None
    label: str
    rows: Sequence[tuple[str, int, str, float, Mapping[str, NDArray[np.float32]]]]


@dataclass(frozen=True)
class Run:
    """A study's results. `rows` has one line a score; the columns are described in docs/schema.md."""

    study: Study
    rows: pd.DataFrame
    predictions: pd.DataFrame
    curves: pd.DataFrame
    costs: pd.DataFrame
    summaries: pd.DataFrame
    unsummarized: pd.DataFrame  # summaries that failed or do not fit: summary, status, reason
    models: tuple[Model, ...] = field(repr=False)
    maps: Mapping[tuple[str, str], Sequence[Maps]] = field(repr=False)
    modes: pd.DataFrame = field(repr=False)  # what the checks of faster numerical modes found
    order: tuple[str, ...] = field(repr=False)
    story: tuple[Any, ...] = ()  # paragraphs and tables that the report and the terminal show first

    @property
    def key(self) -> str:
        """The study's hash, printed under every table."""
        return self.study.key

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads of the classifiers."""
        return self.models[0].classifier.heads

    @property
    def score_info(self) -> dict[tuple[str, str], ScoreInfo]:
        """(metric, score name) -> what the score means."""
        return {(m.label, name): info for m in self.study.metrics for name, info in m.plugin.scores.items()}

    @property
    def failures(self) -> list[str]:
        """What failed, each cell and summary with its reason; what does not fit is no failure."""
        names = ["classifier", "replicate", "explainer", "metric", "reason"]
        cells = self.rows[self.rows.status == "failed"][names].drop_duplicates()
        lost = self.unsummarized[self.unsummarized.status == "failed"]
        return [
            *(f"{c.classifier}, {c.explainer}, {c.metric}: {c.reason}" for c in cells.itertuples()),
            *(f"summary {s.summary}: {s.reason}" for s in lost.itertuples()),
        ]

    @property
    def pictures(self) -> pd.DataFrame:
        """One line a film of the split: patient, view, site, native spacing in mm, and its label in each head."""
        lines = []
        for sample in self.models[0].pictures.samples.values():
            row, column = sample.spacing_mm or (float("nan"), float("nan"))
            known = {"view": sample.meta.get("view", ""), "site": sample.meta.get("site", "")}
            labels = {f"label_{head}": label for head, label in sample.labels.items()}
            spacing = {"spacing_row_mm": row, "spacing_column_mm": column}
            lines.append({"picture": sample.id, "patient": sample.patient, **known, **spacing, **labels})
        return pd.DataFrame(lines)

    def gallery(self, n: int = 4) -> list[GalleryItem]:
        """The first `n` explained films with every classifier's maps; films and regions are read again."""
        explained = [
            i
            for i in self.order
            if any(r.picture == i for blocks in self.maps.values() for b in blocks for r in b.requests)
        ]
        return [self._item(i) for i in explained[:n]]

    def _item(self, picture: str) -> GalleryItem:
        first = self.models[0]
        shown = first.pictures.readable([picture], regions=True)[0]
        outline = next(
            (
                m.numpy()
                for name in self.study.regions
                for k, (_, m) in shown.regions.items()
                if k.name == name and m is not None
            ),
            None,
        )
        rows = []
        for model in self.models:
            said = self.predictions[
                (self.predictions.weights == model.weights) & (self.predictions.picture == picture)
            ].iloc[0]
            rows.append(
                (
                    model.name,
                    model.replicate,
                    str(said.prediction),
                    float(said.confidence),
                    self._maps_of(model, picture),
                )
            )
        label = str(self.predictions[self.predictions.picture == picture].iloc[0].label)
        return GalleryItem(picture, shown.image.mean(0).numpy(), outline, label, rows)

    def _maps_of(self, model: Model, picture: str) -> dict[str, NDArray[np.float32]]:
        size = (model.pictures.reader.resize.height, model.pictures.reader.resize.width)
        found: dict[str, NDArray[np.float32]] = {}
        for chosen in (c for c in self.study.explainers if not c.repeat_of):
            for block in self.maps.get((model.weights, chosen.label), ()):
                for n, request in enumerate(block.requests):
                    if request.picture == picture and chosen.label not in found:
                        native = block.saliency[n : n + 1]
                        found[chosen.label] = upsample(native, size, Traits.of(chosen.plugin).upsampling)[0].numpy()
        return found

    def tables(self, *, full: bool = False) -> list[Any]:
        """Every table of the run: classifiers first, then explanation scores, comparisons, stability, cost."""
        from xai_bench.reporting.tables import run_tables

        return run_tables(self, full=full)

    def show(self, *, full: bool = False) -> None:
        """Print the story and the tables; `full` prints every score and comparison."""
        from xai_bench.reporting.terminal import SHORT, show

        shown = self.tables(full=full)
        show(shown if full else [t for t in shown if t.name.startswith(SHORT)], story=self.story)

    def write(self, folder: str | Path) -> Path:
        """Tables as CSV, Markdown and LaTeX, tidy rows as Parquet, and `report.html`; returns the report's path."""
        from xai_bench.reporting.output import write_run

        return write_run(self, Path(folder))

    def checkpoints(self, store: Path) -> list[Path]:
        """The folders of the classifiers that were trained for this run."""
        cells = store / "cells" / "train"
        cards = (
            {json.loads((c / "card.json").read_text())["weights"]: c for c in sorted(cells.iterdir())}
            if cells.is_dir()
            else {}
        )
        return [cards[m.weights] for m in self.models if m.weights in cards]
