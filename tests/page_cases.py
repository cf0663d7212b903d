"""The page in headless Chromium over a server of its own, with films made for the test."""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

CHROMIUM = os.environ.get("XAI_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
WAIT = 10_000  # ms that a browser may take for one thing

if CHROMIUM is None:
    pytest.skip("needs Chromium (or XAI_CHROMIUM, the path of a browser of its kind)", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which drives the browser")
pytest.importorskip("fastapi", reason="needs the annotation server")
import uvicorn  # noqa: E402 - only where it is installed
from xai_bench_annotations.drawings import SPINE, LabelSchema  # noqa: E402 - as above
from xai_bench_annotations.films.pixels import film_of  # noqa: E402 - as above
from xai_bench_annotations.server import projects, protocol, readers  # noqa: E402 - as above
from xai_bench_annotations.server.app import create_app  # noqa: E402 - as above
from xai_bench_annotations.server.shapes import NewProject  # noqa: E402 - as above


def film(height: int, width: int, seed: int = 0) -> NDArray[np.uint16]:
    """A 12-bit film with a bright column that leans a little."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    off = (columns - width * (0.5 + 0.1 * np.sin(rows / height * 3))) / (0.09 * width)
    bright = 900 + 2200 * np.exp(-(off**2)) + 300 * np.sin(rows / 25) * np.exp(-(off**2))
    return (bright + rng.normal(0, 40, bright.shape)).clip(0, 4095).astype(np.uint16)


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """None: it runs in a thread."""


@dataclass
class Site:
    """A running server and its folder."""

    url: str
    database: Any
    count: int = 0

    def project(self, films: Sequence[NDArray[Any]], labels: LabelSchema = SPINE, **more: Any) -> str:
        """A new project with films; returns its name."""
        self.count += 1
        name = more.pop("name", f"project {self.count}")
        with self.database.writing() as session:
            found = projects.add_project(session, NewProject(name=name, labels=labels, **more))
            for pixels in films:
                projects.add_image(session, self.database.folder, found, film_of(pixels, (0.2, 0.2)))
        return name

    def reader(self, project: str) -> str:
        """A new reader of all films of a project; returns an invite."""
        self.count += 1
        with self.database.writing() as session:
            found = projects.project_named(session, project)
            reader = readers.add_reader(session, f"reader_{self.count}")
            protocol.assign(session, found, [reader.name])
            return readers.invite(session, reader)


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """The server in a thread, on a free port."""
    app = create_app(folder)
    server = _Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Site(f"http://127.0.0.1:{port}", app.state.database)
    server.should_exit = True
    thread.join(10)


@contextmanager
def browsing() -> Iterator[Any]:
    """A browser."""
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Film:
    """A page that shows a film, and how one draws on it: coordinates are image pixels."""

    page: Any
    url: str
    said: list[str] = field(default_factory=list)  # errors in the console

    def api(self, path: str) -> Any:
        """What the server answers this browser."""
        answer = self.page.context.request.get(f"{self.url}/api/v1{path}")
        assert answer.ok, answer.text()
        return answer.json()

    @property
    def reading(self) -> str:
        """The id of the reading that is open."""
        return str(self.page.url.split("#film/")[1])

    def rows(self, deleted: bool = False) -> list[dict[str, Any]]:
        """The saved drawings of the open reading."""
        return [row for row in self.api(f"/assignments/{self.reading}/annotations") if deleted or not row["deleted"]]

    def geometry(self, label: str) -> dict[str, Any]:
        """The one saved drawing of a label."""
        (found,) = [row["geometry"] for row in self.rows() if row["label"] == label]
        return dict(found)

    def ready(self) -> None:
        """Wait until a film is shown."""
        self.page.locator("#desk[data-ready]").wait_for(timeout=WAIT)

    def saved(self, state: str = "saved") -> None:
        """Wait until the word beside the film says so."""
        self.page.wait_for_timeout(30)
        self.page.locator(f"#save[data-state='{state}']").wait_for(timeout=WAIT)

    def at(self, point: Sequence[float]) -> tuple[float, float]:
        """Where a point of the film is on the screen now."""
        return self.places([point])[0]

    def places(self, points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        """Where points of the film are on the screen now."""
        stage = self.page.locator("#stage")
        scale, x, y = map(float, stage.get_attribute("data-view").split())
        box = stage.bounding_box()
        return [(p[0] * scale + x + box["x"], p[1] * scale + y + box["y"]) for p in points]

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def tool(self, name: str) -> None:
        """Take a tool from the toolbar."""
        self.page.locator(f"[data-tool='{name}'].tool").click()

    def label(self, code: str) -> None:
        """Take a label from the palette."""
        self.page.locator(f"[data-label='{code}']").click()

    def click(self, *points: Sequence[float]) -> None:
        """Click at points."""
        for place in self.places(points):
            self.page.mouse.click(*place)

    def drag(self, *points: Sequence[float], button: str = "left", steps: int = 4) -> None:
        """Drag along points."""
        first, *others = self.places(points)
        self.page.mouse.move(*first)
        self.page.mouse.down(button=button)
        for place in others:
            self.page.mouse.move(*place, steps=steps)
        self.page.mouse.up(button=button)

    def zoom(self, point: Sequence[float], times: float) -> None:
        """Turn the wheel at a point until the film is so many times as large."""
        self.page.mouse.move(*self.at(point))
        stage = self.page.locator("#stage")
        while times > 1:
            before = stage.get_attribute("data-view")
            step = min(times, 1.8)
            self.page.mouse.wheel(0, -math.log(step) / 0.0016)
            while stage.get_attribute("data-view") == before:
                self.page.wait_for_timeout(20)
            times /= step


@contextmanager
def reading(browser: Any, site: Site, project: str, script: str = "", **options: Any) -> Iterator[Film]:
    """A new reader's browser with the first film open. `script` runs before the page's own."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(WAIT)
    enter(context, site, site.reader(project))
    page = context.new_page()
    page.add_init_script(script)
    shown = Film(page, site.url)
    watch(page, shown.said)
    page.goto(site.url)
    page.locator("#continue").click()
    shown.ready()
    yield shown
    context.close()


def enter(context: Any, site: Site, invite: str) -> None:
    """Log a browser in without the login page."""
    answer = context.request.post(f"{site.url}/api/v1/session", data={"invite": invite})
    assert answer.ok, answer.text()


def watch(page: Any, said: list[str]) -> None:
    """Collect errors and warnings of a page, and what its policy blocked."""
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
