"""A contact sheet of drawn films: normal and scoliosis from the front, normal and slipped from the side.

    python experiments/phantom_gallery.py sheet.png

The title of each film says what was measured on its corners; markers are as in the default data set.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt

from xai_bench.datasets.phantom import Films, Phantom
from xai_bench.samples import Sample


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the PNG to write")
    parser.add_argument("--columns", type=int, default=7, help="films in each row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = Phantom(films=Films(4 * arguments.columns, 0, 0), films_per_patient=(1, 1), seed=arguments.seed)
    rows = []
    for view in ("ap", "lateral"):
        samples = replace(source, view=view).samples("train")
        for normal in (True, False):
            wanted = [s for s in samples if (s.labels["diagnosis"] == "normal") == normal]
            rows.append(wanted[: arguments.columns])
    save(rows, arguments.path)


def save(rows: list[list[Sample]], path: Path) -> None:
    """One picture of all films, a row for each list."""
    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=(1.9 * len(rows[0]), 2.55 * len(rows)), squeeze=False)
    for places, samples in zip(axes, rows, strict=True):
        for place, sample in zip(places, samples, strict=True):
            place.imshow(sample.read_image(), cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
            place.set_title(caption(sample), fontsize=7)
            place.axis("off")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def caption(sample: Sample) -> str:
    """What was measured on the film."""
    if "cobb" in sample.meta:
        return f"{sample.labels['diagnosis']}, Cobb {sample.meta['cobb']:.0f}°"
    return f"{sample.labels['diagnosis']}, slip {abs(sample.meta['slip']):.0f} % of {sample.meta['level']}"


if __name__ == "__main__":
    main()
