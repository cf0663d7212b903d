"""The page with a film open in headless Chromium, and a mouse on it, for the benchmarks beside it."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import sync_playwright

Point = Sequence[float]
CHROMIUM = os.environ.get("XAI_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@dataclass(frozen=True)
class Shown:
    """A page that shows a film; points are the film's pixels."""

    page: Any

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def drag(self, points: Sequence[Point], button: str = "left") -> None:
        """Drag along points, one event for each."""
        first, *others = self._places(points)
        self.page.mouse.move(*first)
        self.page.mouse.down(button=button)
        for place in others:
            self.page.mouse.move(*place)
        self.page.mouse.up(button=button)

    def zoom(self, point: Point, times: float) -> None:
        """Turn the wheel at a point until the film is so many times as large."""
        self.page.mouse.move(*self._places([point])[0])
        while times > 1:
            before, step = self._view(), min(times, 1.8)
            self.page.mouse.wheel(0, -math.log(step) / 0.0016)
            while self._view() == before:
                self.page.wait_for_timeout(20)
            times /= step

    def _places(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        scale, x, y = map(float, self._view().split())
        box = self.page.locator("#stage").bounding_box()
        return [(p[0] * scale + x + box["x"], p[1] * scale + y + box["y"]) for p in points]

    def _view(self) -> str:
        return str(self.page.locator("#stage").get_attribute("data-view"))


@contextmanager
def showing(url: str, token: str, script: str) -> Iterator[Shown]:
    """A reader's browser with the first film open, in a window of 1920 x 1080; `script` runs before the page's own."""
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1920, "height": 1080})
        assert context.request.post(f"{url}/api/v1/session", data={"token": token}).ok
        page = context.new_page()
        page.add_init_script(script)
        page.goto(url)
        page.locator("#continue").click()
        page.locator("#desk[data-ready]").wait_for()
        yield Shown(page)
        browser.close()
