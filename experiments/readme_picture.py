"""The README's picture: drawn films with the maps of the demo's honest classifier and of the cheat.

python experiments/readme_picture.py runs/demo docs/pictures/gallery.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from xai_bench.cli.demo import Demo
from xai_bench.progress import Progress
from xai_bench.reporting.figures import png
from xai_bench.reporting.overlay import blend
from xai_bench.reporting.table import readable
from xai_bench.running.benchmark import evaluate

METHODS = ("grad_cam", "occlusion", "lime", "shap_partition")


def main(store: str, out: str, films: int = 2) -> None:
    """Two films side by side, a row for each classifier."""
    run = evaluate(Demo().study(), store=store, progress=Progress(quiet=True))
    items = run.gallery(films)
    height, width = items[0].image.shape
    columns = films * (1 + len(METHODS))
    figure = Figure(figsize=(1.15 * columns, 2 * 1.15 * height / width + 0.6), layout="constrained")
    panels = figure.subplots(2, columns)
    for n, item in enumerate(items):
        first = {name: (prediction, confidence, maps) for name, _, prediction, confidence, maps in reversed(item.rows)}
        for row, name in enumerate(("honest", "cheat")):
            prediction, confidence, maps = first[name]
            shown = {"film": np.repeat(item.image[..., None], 3, 2)}
            shown |= {m: blend(item.image, maps[m], signed=bool((maps[m] < 0).any())) for m in METHODS}
            for axes, (method, picture) in zip(panels[row, n * (1 + len(METHODS)) :], shown.items(), strict=False):
                axes.imshow(picture, vmin=0, vmax=1)
                if item.outline is not None:
                    axes.contour(item.outline, [0.5], colors="white", linewidths=0.6)
                axes.set(xticks=[], yticks=[])
                if row == 0:
                    axes.set_title(readable(method), fontsize=8)
                if method == "film":
                    axes.set_ylabel(name, fontsize=10, weight="bold")
                    axes.set_xlabel(f"says {prediction}, {confidence:.0%}", fontsize=7)
    Path(out).write_bytes(png(figure, dpi=110))


if __name__ == "__main__":
    main(*sys.argv[1:3])
