"""How long the page works on one frame while a film is drawn on, panned and windowed, at 3 and 12 megapixels.

    python benchmarks/annotate/drawing.py

Headless Chromium, a window of 1920 x 1080. Counted is the script's time in a frame and in the events before it,
from the first to the last move of the mouse; targets: 16 ms at 3 megapixels, 35 ms at 12. Last output (two cores,
nothing else running; met in 95 % of the frames but for the first brush on 12 megapixels, 45 ms):

    3 Mpx   whole film  window and level  median   3.4 ms, 95 %   7.7 ms, 62 frames
    3 Mpx   whole film  freehand          median   0.4 ms, 95 %   1.2 ms, 128 frames
    3 Mpx   whole film  brush             median   1.9 ms, 95 %  14.5 ms, 128 frames
    3 Mpx   whole film  brush, larger     median   2.1 ms, 95 %   7.0 ms, 128 frames
    3 Mpx   whole film  eraser            median   1.6 ms, 95 %   4.1 ms, 128 frames
    3 Mpx   whole film  pan               median   1.2 ms, 95 %   3.2 ms, 120 frames
    3 Mpx   whole film  zoom              median   2.0 ms, 95 %   5.2 ms, 80 frames
    3 Mpx   3 x zoomed  window and level  median   5.5 ms, 95 %   7.1 ms, 61 frames
    3 Mpx   3 x zoomed  freehand          median   0.4 ms, 95 %   1.2 ms, 126 frames
    3 Mpx   3 x zoomed  brush             median   1.3 ms, 95 %   4.0 ms, 128 frames
    3 Mpx   3 x zoomed  brush, larger     median   1.3 ms, 95 %   3.7 ms, 128 frames
    3 Mpx   3 x zoomed  eraser            median   0.7 ms, 95 %   3.4 ms, 128 frames
    3 Mpx   3 x zoomed  pan               median   2.1 ms, 95 %   3.2 ms, 120 frames
    3 Mpx   3 x zoomed  zoom              median   1.4 ms, 95 %   3.9 ms, 80 frames
    12 Mpx  whole film  window and level  median   3.2 ms, 95 %   4.6 ms, 62 frames
    12 Mpx  whole film  freehand          median   0.5 ms, 95 %   1.4 ms, 126 frames
    12 Mpx  whole film  brush             median   2.0 ms, 95 %  44.8 ms, 128 frames
    12 Mpx  whole film  brush, larger     median   2.3 ms, 95 %   9.7 ms, 128 frames
    12 Mpx  whole film  eraser            median   2.1 ms, 95 %   6.5 ms, 128 frames
    12 Mpx  whole film  pan               median   1.5 ms, 95 %   7.6 ms, 120 frames
    12 Mpx  whole film  zoom              median   3.5 ms, 95 %  16.3 ms, 80 frames
    12 Mpx  3 x zoomed  window and level  median  15.1 ms, 95 %  16.4 ms, 61 frames
    12 Mpx  3 x zoomed  freehand          median   0.4 ms, 95 %   0.8 ms, 126 frames
    12 Mpx  3 x zoomed  brush             median   0.8 ms, 95 %   6.8 ms, 128 frames
    12 Mpx  3 x zoomed  brush, larger     median   1.4 ms, 95 %   8.7 ms, 128 frames
    12 Mpx  3 x zoomed  eraser            median   1.8 ms, 95 %   8.3 ms, 128 frames
    12 Mpx  3 x zoomed  pan               median   6.7 ms, 95 %  19.0 ms, 120 frames
    12 Mpx  3 x zoomed  zoom              median   3.7 ms, 95 %  10.7 ms, 80 frames
"""

from __future__ import annotations

from typing import Any

import numpy as np
from browser import Shown, showing
from server import filled, new_folder, running

SIZES = {"3 Mpx": (2048, 1536), "12 Mpx": (4096, 3072)}
WATCH = """
(() => {
  const spent = (globalThis.spent = []);
  let now = 0;
  const timed = (act) => function (...all) {
    const start = performance.now();
    try { return act.apply(this, all); } finally { now += performance.now() - start; }
  };
  const frame = globalThis.requestAnimationFrame;
  globalThis.requestAnimationFrame = (act) => frame((time) => {
    timed(act)(time);
    spent.push(now);
    now = 0;
  });
  const listen = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (type, act, how) {
    return listen.call(this, type, /^(pointer|wheel)/.test(type) ? timed(act) : act, how);
  };
})();
"""


def moves(shown: Shown, shape: tuple[int, int], times: float) -> dict[str, Any]:
    """What is done with the mouse, by name, in the middle of a film that is shown so many times as large as fitted."""
    height, width = (length / times for length in shape)
    x, y = shape[1] / 2, shape[0] / 2
    ring = [(x + 0.2 * width * np.cos(t), y + 0.3 * height * np.sin(t)) for t in np.linspace(0, 6.2, 60)]
    line = [(x + 0.2 * width * t, y + 0.2 * height * t) for t in (*np.linspace(-1, 1, 30), *np.linspace(1, -1, 30))]

    def window() -> None:
        shown.drag(line, "right")

    def pan() -> None:
        shown.drag(line, "middle")

    def zoom() -> None:
        for step in range(40):
            shown.page.mouse.wheel(0, -60 if step < 20 else 60)

    def with_tool(key: str, label: str) -> Any:
        def act() -> None:
            shown.press(label, key)
            shown.drag(ring)

        return act

    return {
        "window and level": window, "freehand": with_tool("f", "1"), "brush": with_tool("b", "2"),
        "brush, larger": with_tool("b", "2"), "eraser": with_tool("e", "1"), "pan": pan, "zoom": zoom,
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    for name, shape in SIZES.items():
        with new_folder() as folder:
            (token,) = filled(folder, readers=1, films=1, shape=shape)
            with running(folder) as (url, _), showing(url, token, WATCH) as shown:
                for times in (1, 3):
                    shown.zoom((shape[1] / 2, shape[0] / 2), times)
                    for what, act in moves(shown, shape, times).items():
                        shown.page.evaluate("() => void (globalThis.spent.length = 0)")
                        act()
                        spent = frames(shown)
                        median, most = np.percentile(spent, [50, 95])
                        where = "whole film" if times == 1 else f"{times} x zoomed"
                        cost = f"median {median:5.1f} ms, 95 % {most:5.1f} ms, {len(spent)} frames"
                        print(f"{name:7} {where:11} {what:17} {cost}")


def frames(shown: Shown) -> list[float]:
    """The frames' costs, when no more come."""
    spent: list[float] = []
    while True:
        shown.page.wait_for_timeout(500)
        now = shown.page.evaluate("() => globalThis.spent")
        if now and len(now) == len(spent):
            return spent
        spent = now


if __name__ == "__main__":
    main()
