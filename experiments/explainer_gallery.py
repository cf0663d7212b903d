"""Every explainer on the same three drawn films: docs/gallery.md and its pictures.

    python experiments/explainer_gallery.py --store runs/demo

The classifier is the demo's honest one, which a store of the demo holds already; budgets are small, seeds fixed. An
explainer that has no map to show is listed with the reason.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from xai_bench.cli.demo import HONEST, Demo
from xai_bench.inputs import Input, Resize
from xai_bench.progress import Progress
from xai_bench.registry import EXPLAINERS
from xai_bench.reporting.overlay import blend
from xai_bench.reporting.table import readable
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import GalleryItem, Run
from xai_bench.spec import build
from xai_bench.study import Study, Target, Trained

ROOT = Path(__file__).parents[1]
COLUMNS = 8
SMALL = {"samples": 200, "evaluations": 200, "films": 4}
"""Fields that are cut down where an explainer has them and asks for more."""

HEADER = """\
# Gallery

Made by `experiments/explainer_gallery.py`; every film is drawn. Each method explains the same small classifier, which
tells scoliosis from a straight spine, for the class that it predicts, with its default fields but at most {samples}
samples. A map is divided by its largest absolute value; red speaks for the class and, in signed maps, blue against it.
A pretty map is no evidence: look at the scores, and at what the controls look like. docs/explainers.md says what each
method needs and costs.
"""


def main() -> None:
    """Explain the films, and write the page with its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("runs/gallery"), help="where results are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder of gallery.md and pictures/")
    parser.add_argument("--only", nargs="*", default=(), help="these explainers only; default all")
    parser.add_argument("--films", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="train for one epoch on few films, to try the script")
    arguments = parser.parse_args()
    wanted = study(arguments.only or list(EXPLAINERS), arguments.films, _quick() if arguments.quick else Demo())
    write(evaluate(wanted, store=arguments.store, progress=Progress()), arguments.out)


def study(names: Sequence[str], films: int, demo: Demo) -> Study:
    """The first films with scoliosis of the demo's test split, by these explainers."""
    honest = Trained(HONEST, build("classifier", "small_cnn"), demo.honest, demo.seeds[:1],
                     demo.films("random", demo.honest_films))  # fmt: skip
    return Study(
        name="gallery", dataset=demo.films("random", demo.honest_films), classifiers=(honest,),
        explainers=[{"plugin": small(name), "label": name} for name in names], metrics=("complexity",),
        regions=("scoliosis.R2",), reader=Input(Resize(demo.height, demo.width)), limit=films, batch_size=16,
        target=Target("predicted"),
    )  # fmt: skip


def small(name: str) -> Any:
    """An explainer with its default fields, but a small budget."""
    made = EXPLAINERS[name].factory()
    values = {f.name: getattr(made, f.name) for f in dataclasses.fields(made) if f.name in SMALL}
    cut = {name: min(value, SMALL[name]) for name, value in values.items() if isinstance(value, int)}
    return dataclasses.replace(made, **cut)


def write(run: Run, out: Path) -> None:
    """gallery.md, and a picture for each film."""
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    parts = [HEADER.format(**SMALL)]
    for n, item in enumerate(run.gallery(run.study.limit or 3), 1):
        name = f"explainers_film_{n}.jpg"
        sheet(item).savefig(out / "pictures" / name, dpi=100, pil_kwargs={"quality": 85})
        _, _, said, confidence, _ = item.rows[0]
        parts.append(f"## Film {n}: {item.label}\n\nThe classifier says {said}, {confidence:.0%}.\n")
        parts.append(f"![Maps of {len(item.rows[0][4])} explainers on film {n}](pictures/{name})\n")
    missing = reasons(run)
    if missing:
        parts.append("## Not shown\n\n| explainer | why |\n|---|---|")
        parts += [f"| `{name}` | {why} |" for name, why in missing.items()]
    (out / "gallery.md").write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")


def sheet(item: GalleryItem) -> Figure:
    """The film with its region's outline, then every method's map on it."""
    shown = {"film": np.repeat(item.image[..., None], 3, 2)}
    maps = {name: m for name, m in item.rows[0][4].items() if np.isfinite(m).any()}
    shown |= {name: blend(item.image, m, signed=bool((m < 0).any())) for name, m in maps.items()}
    rows = -(-len(shown) // COLUMNS)
    height, width = item.image.shape
    figure = Figure(figsize=(1.5 * COLUMNS, rows * (1.5 * height / width + 0.25)), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, (name, picture) in zip(panels, shown.items(), strict=False):
        axes.imshow(picture, vmin=0, vmax=1)
        blank = name in maps and not np.nan_to_num(maps[name]).any()
        axes.set_title(readable(name) + " (all zero)" * blank, fontsize=7)
    if item.outline is not None:
        panels[0].contour(item.outline, [0.5], colors="white", linewidths=0.6)
    return figure


def reasons(run: Run) -> dict[str, str]:
    """Why an explainer has no usable map of any film."""
    found = {}
    for chosen in run.study.explainers:
        rows = run.rows[run.rows.explainer == chosen.label]
        if not (rows.status == "ok").any():
            found[chosen.label] = "; ".join(dict.fromkeys(rows.reason)) or "no film asked for it"
    return found


def _quick() -> Demo:
    """A demo that ends in seconds, and whose classifier has learned nothing."""
    demo = Demo()
    return dataclasses.replace(demo, honest_films=40, test_films=12, honest=dataclasses.replace(demo.honest, epochs=1))


if __name__ == "__main__":
    main()
