"""How long one phantom film takes: at most 30 ms from the front at 224 pixels on one core.

    taskset -c 0 python benchmarks/phantom.py

Median of 5 repeats of 20 films each; width = 11/14 of the height.

Last output (one core of a 2-core machine; below 140 pixels bones are drawn 4 x finer than the film, else 2 x):

    height   AP   lateral   (ms a film)
        96   8.3     5.2
       128  11.6     7.9
       160   7.5     4.7
       224  10.9     7.5
"""

import time

import cv2
import numpy as np

from xai_bench.phantom import draw_ap, draw_lateral

FILMS, REPEATS = 20, 5


def main() -> None:
    """Print milliseconds a film."""
    cv2.setNumThreads(1)
    print("height   AP   lateral   (ms a film)")
    for height in (96, 128, 160, 224):
        shape = (height, round(height * 11 / 14))
        times = [
            [seconds(draw, amount, shape) for _ in range(REPEATS)]
            for draw, amount in ((draw_ap, 30.0), (draw_lateral, 20.0))
        ]
        front, side = (1000 * float(np.median(t)) for t in times)
        print(f"{height:6d} {front:5.1f} {side:7.1f}")


def seconds(draw, amount: float, shape: tuple[int, int]) -> float:
    """Mean seconds of one film."""
    start = time.perf_counter()
    for i in range(FILMS):
        draw(f"phantom-{10 * i:06d}", amount, shape=shape)
    return (time.perf_counter() - start) / FILMS


if __name__ == "__main__":
    main()
