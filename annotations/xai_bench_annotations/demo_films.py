"""Draws the demo's films into a file: `python -m xai_bench_annotations.demo_films FILE.npz`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

FILMS = 20
DATASET: dict[str, Any] = {"name": "phantom", "view": "both", "height": 1400, "width": 1100, "films": {"test": FILMS}}
"""What a study's `dataset` says to find these films again; more films in a split change none of them."""


def draw(file: Path) -> None:
    """Write the pixels and spacings of the test films."""
    from xai_bench.spec import build

    samples = build("dataset", DATASET).samples("test")
    pixels = {f"film_{n}": sample.read_image() for n, sample in enumerate(samples)}
    np.savez(file, spacing=np.array([sample.spacing_mm for sample in samples]), **pixels)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
