"""The pictures of docs/annotate.md: the page with the demo's phantom films, drawn on by this script, by no clinician.

python experiments/annotate_screenshots.py docs/pictures
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright
from skimage import measure
from xai_bench_annotations.demo import make_demo
from xai_bench_annotations.demo_films import DATASET
from xai_bench_annotations.server.app import create_app

from xai_bench.samples import RegionKey, Sample
from xai_bench.spec import build

SIZE = {"width": 1280, "height": 800}
SHORT = {"column": "R2", "apex": "R1"}
Points = NDArray[np.float64]


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """A server with the demo; yields the first reader's one-time link."""
    app = create_app(folder)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    line = next(line for line in make_demo(app.state.database) if "invite" in line)
    yield line.split(": ", 1)[1].replace("{url}", f"http://127.0.0.1:{port}")
    server.should_exit = True
    thread.join(10)


class Pen:
    """Draws on the open film; points are (x, y) in image pixels."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def at(self, point: Points) -> tuple[float, float]:
        """Where a point is on the screen."""
        stage = self.page.locator("#stage")
        scale, x, y = map(float, str(stage.get_attribute("data-view")).split())
        box = stage.bounding_box() or {"x": 0, "y": 0}
        return float(point[0] * scale + x + box["x"]), float(point[1] * scale + y + box["y"])

    def drag(self, points: Points) -> None:
        """Drag along points."""
        self.page.mouse.move(*self.at(points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(point))
        self.page.mouse.up()

    def click(self, points: Points) -> None:
        """Click at points."""
        for point in points:
            self.page.mouse.click(*self.at(point))


def outline(mask: NDArray[np.bool_], tolerance: float) -> Points:
    """The longest outline of a mask as a few (x, y)."""
    longest = max(measure.find_contours(np.pad(mask, 1).astype(float)), key=len) - 1
    return np.asarray(measure.approximate_polygon(longest, tolerance)[:-1, ::-1] + 0.5)


def endplate(mask: NDArray[np.bool_], rows: slice) -> Points:
    """A line across a column at one of its ends, at right angles to its middle line there."""
    every = np.flatnonzero(mask.any(1))[rows]
    middle = np.array([(np.flatnonzero(mask[row]).mean() + 0.5, row + 0.5) for row in every])
    down = np.polyfit(middle[:, 1], middle[:, 0], 1)[0]
    across = np.array([1.0, -down]) / np.hypot(1, down)
    end = middle[0] if rows.start is None else middle[-1]
    half = 0.75 * mask[every].sum(1).mean()
    return np.array([end - half * across, end + half * across])


def open_film(page: Page, samples: list[Sample]) -> dict[str, NDArray[np.bool_]]:
    """Opens the first film with a curve; returns its regions."""
    project = page.context.request.get(f"{page.url.split('/#')[0].rstrip('/')}/api/v1/projects").json()[0]["id"]
    found = page.context.request.get(
        f"{page.url.split('/#')[0].rstrip('/')}/api/v1/assignments?project={project}"
    ).json()
    for reading in found:
        regions = samples[reading["image"]["number"] - 1].read_regions()
        masks = {name: regions.get(RegionKey(f"scoliosis.{short}.largest", "derived")) for name, short in SHORT.items()}
        if all(region is not None and region.mask is not None and region.mask.any() for region in masks.values()):
            page.locator(f"[data-reading='{reading['id']}']").click()
            page.locator("#desk[data-ready]").wait_for()
            return {name: region.mask for name, region in masks.items()}
    raise SystemExit("no film of the demo has a curve")


def main(out: str) -> None:
    """Draw and take the pictures."""
    folder = Path(out)
    samples = list(build("dataset", DATASET).samples("test"))

    def shot(page: Page, name: str) -> None:
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"annotate_{name}.png")

    with tempfile.TemporaryDirectory() as place, demo(Path(place) / "demo") as link, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(link)
        page.get_by_role("button", name="Go in once").click()
        page.locator("#continue").wait_for()
        page.wait_for_load_state("networkidle")  # the small pictures
        shot(page, "worklist")
        regions, pen, press = open_film(page, samples), Pen(page), page.keyboard.press
        draw(page, pen, press, regions, shot)
        press("?")
        shot(page, "help")
        press("Escape")
        page.locator("#theme").click()
        shot(page, "light")
        browser.close()


def draw(page: Page, pen: Pen, press: Any, regions: dict[str, NDArray[np.bool_]], shot: Any) -> None:
    """A column by polygon, an apex freehand, painted end vertebrae, a Cobb angle."""
    column = outline(regions["column"], 14)
    press("p")
    pen.click(column[:-2])
    page.mouse.move(*pen.at(column[-2]))
    shot(page, "polygon")
    pen.click(column[-2:])
    press("Enter")
    page.locator("#done").click()
    page.locator("dialog.missing").wait_for()
    shot(page, "missing")
    press("Escape")
    press("2")
    press("f")
    ring = outline(regions["apex"], 0.5)
    pen.drag((ring - ring.mean(0)) * 1.12 + ring.mean(0))
    upper, lower = endplate(regions["column"], slice(None, 60)), endplate(regions["column"], slice(-60, None))
    press("3")
    press("b")
    for line, inward in ((upper, 45), (lower, -45)):
        pen.drag(line * 0.5 + line.mean(0) * 0.5 + (0, inward))
    press("5")
    pen.drag(upper)
    pen.drag(lower)
    shot(page, "cobb")
    press("v")
    pen.click(np.array([ring.mean(0)]))
    page.locator("#save[data-state='saved']").wait_for()
    shot(page, "edit")


if __name__ == "__main__":
    main(sys.argv[1])
