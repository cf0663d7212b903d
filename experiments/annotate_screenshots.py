"""The pictures of docs/annotate.md: the page with the demo's phantom films, drawn on by this script, by no clinician.

The two readers of the results page are the phantom's own regions, moved, widened and narrowed by a few pixels.

python experiments/annotate_screenshots.py docs/pictures
"""

from __future__ import annotations

import secrets
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
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright
from skimage import measure
from xai_bench_annotations.demo import make_demo
from xai_bench_annotations.demo_films import DATASET
from xai_bench_annotations.server.app import create_app
from xai_bench_annotations.server.readers import admin_invite

from xai_bench.samples import RegionKey, Sample
from xai_bench.spec import build

SIZE: ViewportSize = {"width": 1280, "height": 800}
SHORT = {"column": "R2", "apex": "R1"}
READERS = {
    "anna": (1.1, 4.0),
    "ben": (0.92, -5.0),
}  # how a reader's outlines differ: times as wide, pixels to the right
Points = NDArray[np.float64]
Regions = dict[str, NDArray[np.bool_]]


@contextmanager
def demo(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A server with the demo; yields its address and the invites of the readers and of an admin."""
    app = create_app(folder)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    invites = [line.split("invite=")[1] for line in make_demo(app.state.database) if "invite=" in line]
    with app.state.database.writing() as session:
        invites.append(admin_invite(session))
    yield f"http://127.0.0.1:{port}", invites
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


def regions_of(sample: Sample) -> Regions | None:
    """The column and the apex of a film with a curve."""
    found = sample.read_regions()
    masks = {name: found.get(RegionKey(f"scoliosis.{short}.largest", "derived")) for name, short in SHORT.items()}
    regions = {name: region.mask for name, region in masks.items() if region is not None and region.mask is not None}
    return regions if len(regions) == len(SHORT) and all(mask.any() for mask in regions.values()) else None


def readings(context: BrowserContext, url: str) -> list[dict[str, Any]]:
    """A reader's readings."""
    project = context.request.get(f"{url}/api/v1/projects").json()[0]["id"]
    found: list[dict[str, Any]] = context.request.get(f"{url}/api/v1/assignments?project={project}").json()
    return found


def open_film(page: Page, url: str, curved: dict[int, Regions]) -> Regions:
    """Opens the first film with a curve; returns its regions."""
    reading = next(one for one in readings(page.context, url) if one["image"]["number"] in curved)
    page.locator(f"[data-reading='{reading['id']}']").click()
    page.locator("#desk[data-ready]").wait_for()
    return curved.pop(reading["image"]["number"])


def entered(browser: Browser, url: str, invite: str) -> tuple[BrowserContext, dict[str, str]]:
    """A browser that is logged in, and the headers of its writes."""
    context = browser.new_context(viewport=SIZE)
    me = context.request.post(f"{url}/api/v1/session", data={"invite": invite}).json()
    return context, {"X-CSRF": me["csrf"]}


def read(context: BrowserContext, headers: dict[str, str], url: str, reader: str, curved: dict[int, Regions]) -> None:
    """One reader's drawings of all films with a curve."""
    wider, right = READERS[reader]
    for reading in readings(context, url):
        regions = curved.get(reading["image"]["number"])
        if regions is None or reading["read"] != 1:
            continue
        drawn = {name: outline(mask, 3) for name, mask in regions.items()}
        drawn = {name: (ring - ring.mean(0)) * (wider, 1) + ring.mean(0) + (right, 0) for name, ring in drawn.items()}
        shapes: list[tuple[str, dict[str, Any]]] = [
            (name, {"kind": "polygon", "exterior": ring.tolist(), "holes": []}) for name, ring in drawn.items()
        ]
        ends = [endplate(regions["column"], rows) for rows in (slice(None, 60), slice(-60, None))]
        upper, lower = ((line + np.array([(0, 0), (0, right)])).tolist() for line in ends)
        shapes.append(("cobb", {"kind": "cobb", "upper": upper, "lower": lower}))
        for label, geometry in shapes:
            body = {"assignment": reading["id"], "label": label, "geometry": geometry}
            place = f"{url}/api/v1/annotations/{secrets.token_hex(16)}"
            answer = context.request.put(place, data=body, headers={**headers, "If-Match": "0"})
            assert answer.ok, answer.text()
        done = context.request.patch(
            f"{url}/api/v1/assignments/{reading['id']}", data={"state": "done"}, headers=headers
        )
        assert done.ok, done.text()


def main(out: str) -> None:
    """Draw and take the pictures."""
    folder = Path(out)
    samples = enumerate(build("dataset", DATASET).samples("test"), start=1)
    curved = {number: found for number, sample in samples if (found := regions_of(sample))}

    def shot(page: Page, name: str) -> None:
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"annotate_{name}.png")

    with (
        tempfile.TemporaryDirectory() as place,
        demo(Path(place) / "demo") as (url, (anna, ben, admin)),
        sync_playwright() as p,
    ):
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context, headers = entered(browser, url, anna)
        page = context.new_page()
        page.goto(url)
        page.locator("#continue").wait_for()
        page.wait_for_load_state("networkidle")  # the small pictures
        shot(page, "worklist")
        regions, pen, press = open_film(page, url, curved), Pen(page), page.keyboard.press
        draw(page, pen, press, regions, shot)
        press("?")
        shot(page, "help")
        press("Escape")
        page.locator("#theme").click()
        shot(page, "light")
        read(context, headers, url, "anna", curved)
        read(*entered(browser, url, ben), url, "ben", curved)
        results(entered(browser, url, admin)[0].new_page(), url, shot)
        browser.close()


def results(page: Page, url: str, shot: Any) -> None:
    """Both readers and their consensus on a film, and the first tables."""
    page.goto(f"{url}/page/results.html")
    page.get_by_role("link", name="demo").click()
    page.locator("figure.table").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="STAPLE").click()
    page.get_by_text("STAPLE's own estimates").wait_for()
    page.set_viewport_size({**SIZE, "height": 1060})
    shot(page, "results")


def draw(page: Page, pen: Pen, press: Any, regions: Regions, shot: Any) -> None:
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
