"""A project to try the page on: phantom films, two readers with one-time links. No patient, nothing to install."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xai_bench.errors import BadInput
from xai_bench_annotations.demo_films import FILMS
from xai_bench_annotations.drawings import SPINE
from xai_bench_annotations.films.pixels import Film, film_of
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.projects import add_image, add_project, project_named
from xai_bench_annotations.server.protocol import assign
from xai_bench_annotations.server.readers import add_reader, invite, reader_named
from xai_bench_annotations.server.shapes import NewProject

PROJECT = "demo"
READERS = ("anna", "ben")
INSTRUCTIONS = """\
These films are drawn by a program; they show nobody. On each film mark the column from end vertebra to end vertebra,
and the apex of the curve. If there is no curve, say "nothing to mark" for the apex. On a film from the side mark the
slipped level, where there is one. Press ? for all keys.
"""


def make_demo(database: Database) -> Sequence[str]:
    """Fill the folder, unless it holds the demo already; gives the lines to print, with new one-time links.

    The films are the first of `phantom` as `demo_films.DATASET` says, so that a study can use what is drawn on them.
    """
    with database.reading() as session:
        there = project_named(session, PROJECT)
    films = [] if there else draw_films()
    with database.writing() as session:
        if there is None:
            project = add_project(
                session, NewProject(name=PROJECT, labels=SPINE, instructions=INSTRUCTIONS, repeats=0.1)
            )
            for film in films:
                add_image(session, database.folder, project, film)
            for name in READERS:
                if reader_named(session, name) is None:
                    add_reader(session, name)
            assign(session, project, READERS)
        known = [reader for name in READERS if (reader := reader_named(session, name))]
        links = [f"reader {r.name}: {{url}}/?invite={invite(session, r)}" for r in known]
    return [f"project {PROJECT!r}: {FILMS} phantom films, {len(links)} readers; each link works once", *links]


def draw_films() -> list[Film]:
    """The films. Another process draws them, as what draws also loads torch, which a server must not."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "films.npz"
        made = subprocess.run(
            [sys.executable, "-m", "xai_bench_annotations.demo_films", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode or not file.is_file():
            raise BadInput(f"the demo's films could not be drawn: {made.stderr.strip().splitlines()[-1:]}.")
        with np.load(file) as found:
            spacing = found["spacing"].tolist()
            return [film_of(found[f"film_{n}"], (row, column)) for n, (row, column) in enumerate(spacing)]
