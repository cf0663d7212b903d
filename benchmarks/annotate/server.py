"""A real server in a process of its own, over a new folder with films and readers, for the benchmarks beside it."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from xai_bench_annotations.films.pixels import film_of
from xai_bench_annotations.server.app import create_app
from xai_bench_annotations.server.auth import new_token
from xai_bench_annotations.server.database import Database
from xai_bench_annotations.server.projects import add_image, add_project
from xai_bench_annotations.server.protocol import assign
from xai_bench_annotations.server.readers import add_reader
from xai_bench_annotations.server.serve import Address, serve
from xai_bench_annotations.server.shapes import NewProject

FORK = multiprocessing.get_context("fork")  # the modules are loaded once


def filled(folder: Path, readers: int, films: int, shape: tuple[int, int] = (64, 48)) -> list[str]:
    """A project of films of `shape` (height, width) that readers are to read; returns their tokens."""
    database: Database = create_app(folder).state.database  # which also loads what every server needs
    rng = np.random.default_rng(0)
    names = [f"reader{n}" for n in range(readers)]
    with database.writing() as session:
        project = add_project(session, NewProject(name="films"))
        for _ in range(films):
            add_image(session, folder, project, film_of(rng.integers(0, 4096, shape, dtype=np.uint16)))
        people = [add_reader(session, name) for name in names]
        assign(session, project, names)
        tokens = [new_token(session, reader) for reader in people]
    database.close()
    return tokens


def _serve(folder: Path, told: Connection) -> None:
    serve(folder, Address(port=0), told.send, lambda _: ())


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, Any]]:
    """A server's address and process, which is killed with SIGKILL at the end."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=_serve, args=(folder, there))
    process.start()
    try:
        found = re.search(r"http://[\d.:]+", here.recv())
        assert found
        _wait(found.group())
        yield found.group(), process
    finally:
        process.kill()
        process.join()


def _wait(url: str) -> None:
    while True:
        try:
            httpx.get(f"{url}/api/v1/healthz")
            return
        except httpx.TransportError:
            time.sleep(0.01)


@contextmanager
def client(url: str, token: str) -> Iterator[httpx.Client]:
    """A browser that is logged in."""
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as found:
        found.headers["X-CSRF"] = found.post("/session", json={"token": token}).raise_for_status().json()["csrf"]
        yield found


def readings(browser: httpx.Client) -> list[str]:
    """The ids of a reader's readings."""
    project = browser.get("/projects").json()[0]["id"]
    return [r["id"] for r in browser.get("/assignments", params={"project": project}).json()]


def polygon(points: int, turn: float) -> dict[str, Any]:
    """An outline such as a freehand stroke leaves."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False) + turn
    ring = np.stack([24 + 20 * np.cos(angles), 32 + 28 * np.sin(angles)], 1).round(3)
    return {"kind": "freehand", "exterior": ring.tolist(), "holes": []}


def new_id() -> str:
    """As the browser makes one."""
    return uuid.uuid4().hex


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder on the disk, not in memory."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_FOLDER", ".")) as name:
        yield Path(name)


def machine() -> str:
    """What the numbers were measured on."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
