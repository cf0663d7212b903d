"""One self-contained page: findings, tables, figures, gallery, definitions. Nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from xai_bench.environment import environment
from xai_bench.registry import EXPLAINERS, METRICS, REGISTRIES
from xai_bench.reporting import overlay
from xai_bench.reporting.estimates import ARROWS, estimates
from xai_bench.reporting.figures import png, run_figures
from xai_bench.reporting.sheets import Sheet, sheets
from xai_bench.reporting.table import Table, readable
from xai_bench.reporting.tables import family_tables, run_tables
from xai_bench.reporting.twin_gallery import explained_class, twin_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xai_bench.running.run import GalleryItem, Run

FILMS = 4
OPEN = 3  # tables of a kind that stand open; more are folded
PLOTS = 6  # plots of a section that stand open
PLOTS_ABOUT = {
    "scores": "Headline scores beside the band of the controls, and the curves behind them.",
    "stability": "Which twins agree, and how alike their maps are film by film, beside maps of unrelated films.",
}
SECTIONS = (
    ("classifiers", "The classifiers", ("classifiers", "confusion")),
    ("scores", "Do the heatmaps show what the model uses?", ("scores",)),
    ("comparisons", "Comparisons on the same films", ("against_chance", "between_classifiers")),
    ("readers", "How well do readers do?", ("human_ceiling",)),
    (
        "stability",
        "Do retrained twins agree?",
        ("stability", "retrain", "variance", "mege", "model_recognition", "randomization"),
    ),
    ("sets", "About sets of films", ()),
    ("cost", "What it cost, and in which numerical mode", ("modes", "cost")),
    ("left-out", "What could not be scored", ("left_out",)),
)


@dataclass(frozen=True)
class Said:
    """A row of the gallery: one classifier on one film."""

    classifier: str
    prediction: str
    confidence: float
    right: bool
    panels: tuple[overlay.Panel, ...]


@dataclass(frozen=True)
class Film:
    """A film of the gallery."""

    picture: str
    label: str
    width: int
    height: int
    uri: str
    outline: str
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Definition:
    """What a name means, in a sentence, with its parameters and source."""

    name: str
    meaning: str
    details: str


def page(run: Run, figures: Mapping[str, Figure] | None = None) -> str:
    """The report as HTML; `figures` if they are drawn already."""
    drawn = run_figures(run) if figures is None else figures
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("xai_bench.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    items = run.gallery(FILMS)
    films, polarities = gallery(run, items)
    twins = twin_tables(run, items, polarity(run, items))
    families = family_tables(run, {"": estimates(run, full=True)})
    return templates.get_template("report.html.j2").render(
        title=readable(run.study.name),
        key=run.key,
        facts=facts(run),
        story=[(part, isinstance(part, Table)) for part in run.story],
        sections=sections([*run_tables(run), *families], {"stability"} if twins else set()),
        open_tables=OPEN,
        open_plots=PLOTS,
        plots=plots(drawn),
        plots_about=PLOTS_ABOUT,
        figures={name: (_figure(png(f)), round(96 * f.get_figwidth())) for name, f in drawn.items()},
        films=films,
        twins=twins,
        explained=explained_class(run),
        legends=[(signed, overlay.legend(signed=signed)) for signed in polarities],
        definitions=definitions(run),
        versions=environment(),
    )


def facts(run: Run) -> list[tuple[str, str]]:
    """The size of the study in a few words."""
    seen = run.predictions.drop_duplicates("picture")
    twins = run.predictions.groupby("classifier").replicate.nunique()
    methods = run.rows[run.rows.family != "control"].explainer.nunique()
    return [
        (f"{len(seen)}", "test films"),
        (f"{seen.patient.nunique()}", "patients"),
        (f"{len(twins)}", f"classifiers, {int(twins.sum())} trained models"),
        (f"{methods}", f"methods, {run.rows.explainer.nunique() - methods} controls"),
    ]


def plots(names: Iterable[str]) -> dict[str, list[str]]:
    """The figures of each section."""
    found: dict[str, list[str]] = {anchor: [] for anchor in PLOTS_ABOUT}
    for name in names:
        found["stability" if name.startswith("stability_") else "scores"].append(name)
    return found


def sections(tables: Iterable[Table], also: Collection[str] = ()) -> list[tuple[str, str, list[Sheet]]]:
    """Tables under their headings, and headings that hold something else (`also`).

    A table that no heading claims belongs to the sets (a stranger's summary).
    """
    found: dict[str, list[Table]] = {anchor: [] for anchor, *_ in SECTIONS}
    for table in tables:
        claims = [anchor for anchor, _, names in SECTIONS if table.name.startswith(names)]
        found[claims[0] if claims else "sets"].append(table)
    shown = [section for section in SECTIONS if found[section[0]] or section[0] in also]
    return [(anchor, heading, sheets(found[anchor])) for anchor, heading, _ in shown]


def gallery(run: Run, items: Sequence[GalleryItem]) -> tuple[list[Film], list[bool]]:
    """Films with the maps of every method but the controls, of each classifier's first twin; the color scales used."""
    signed = polarity(run, items)
    return [_film(item, signed) for item in items], sorted(set(signed.values()))


def polarity(run: Run, items: Sequence[GalleryItem]) -> dict[str, bool]:
    """The methods to show, which are all but the controls, and whether any map of each speaks against a class."""
    controls = set(run.rows[run.rows.family == "control"].explainer)
    shown = [row for item in items for row in item.rows]
    methods = [m for m in dict.fromkeys(m for *_, maps in shown for m in maps) if m not in controls]
    return {m: any((maps[m] < 0).any() for *_, maps in shown if m in maps) for m in methods}


def _film(item: GalleryItem, signed: dict[str, bool]) -> Film:
    first: dict[str, Said] = {}
    for classifier, _, prediction, confidence, maps in item.rows:
        panels = [overlay.panel(method, maps.get(method), signed=two) for method, two in signed.items()]
        first.setdefault(classifier, Said(classifier, prediction, confidence, prediction == item.label, tuple(panels)))
    height, width = item.image.shape
    path = "" if item.outline is None else overlay.outline(item.outline)
    return Film(item.picture_id, item.label, width, height, overlay.film(item.image), path, tuple(first.values()))


def definitions(run: Run) -> dict[str, list[Definition]]:
    """What each metric, summary and method of the run is: the first sentence of its own documentation."""
    scores: dict[str, list[str]] = {}
    for (metric, name), info in run.score_info.items():
        scores.setdefault(metric, []).append(f"{readable(name)} {ARROWS[info.better]}".strip())
    study = run.study
    metrics = {c.label: c.plugin for c in study.metrics} or {m: METRICS[m].factory for m in scores if m in METRICS}
    methods = {c.label: c.plugin for c in study.explainers if not c.repeat_of}
    methods = methods or {m: EXPLAINERS[m].factory for m in dict.fromkeys(run.rows.explainer) if m in EXPLAINERS}
    return {
        "Scores": [_definition(name, plugin, ", ".join(scores.get(name, []))) for name, plugin in metrics.items()],
        "Sets": [_definition(getattr(s, "xai_bench_name", ""), s, "") for s in study.summaries],
        "Methods": [_definition(name, plugin, "") for name, plugin in methods.items()],
    }


def _definition(name: str, plugin: Any, scores: str) -> Definition:
    text = (inspect.getdoc(plugin) or "").split("\n\n")[0].replace("\n", " ").replace("`", "")
    cls: Any = plugin if isinstance(plugin, type) else type(plugin)
    entry = REGISTRIES[cls.xai_bench_kind][cls.xai_bench_name] if hasattr(cls, "xai_bench_name") else None
    cite = f"Source: {entry.cite}." if entry and entry.cite else ""
    made = "" if isinstance(plugin, type) else f"Run as {plugin!r}."
    return Definition(
        readable(name), text, " ".join(filter(None, [f"Scores: {scores}." if scores else "", cite, made]))
    )


def _figure(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()
