"""Four readers save at the same time: nothing is lost, nothing is twice, and nobody waits.

    python benchmarks/annotate/concurrent_saves.py

Each reader saves 200 times without a pause, freehand outlines of 200 points, four revisions a drawing, against a real
server over a folder on the disk (SQLite in WAL mode, synchronized at every commit). Afterwards the database is read.
Target: 0 lost, 0 twice, an intact audit chain, 95 % of the saves answered within 150 ms. Last output
(two cores, nothing else running):

    4 readers x 200 saves in 9.5 s: 0 lost, 0 twice, chain intact
    answered in 40 ms (median), 56 ms (95 %), 288 ms (slowest)
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from server import client, filled, machine, new_folder, new_id, polygon, readings, running
from xai_bench_annotations.server.audit import verify
from xai_bench_annotations.server.database import open_database
from xai_bench_annotations.server.tables import Annotation, Event

READERS, SAVES, REVISIONS = 4, 200, 4


def work(url: str, token: str) -> tuple[list[float], dict[str, int]]:
    """One reader's saves: seconds each took, and the last revision of each drawing that was acknowledged."""
    seconds, kept = [], {}
    with client(url, token) as browser:
        own = readings(browser)
        name = ""
        for number in range(SAVES):
            rev = number % REVISIONS
            name = name if rev else new_id()
            body = {"assignment": own[number // REVISIONS % len(own)], "label": "column", "geometry": polygon(200, rev)}
            start = time.perf_counter()
            answer = browser.put(f"/annotations/{name}", json=body, headers={"If-Match": str(rev)})
            seconds.append(time.perf_counter() - start)
            kept[name] = answer.raise_for_status().json()["rev"]
    return seconds, kept


def check(folder: Path, kept: dict[str, int]) -> tuple[int, int, tuple[str, ...]]:
    """How many saves are lost, how many are there that nobody made, and what is wrong with the chain."""
    with open_database(folder).reading() as session:
        there = {a.id: a.rev for a in session.query(Annotation)}
        events = session.query(Event).filter(Event.action.like("drawing.%")).count()
        lost = sum(max(0, rev - there.get(name, 0)) for name, rev in kept.items())
        twice = max(0, sum(there.values()) - sum(kept.values())) + abs(events - sum(kept.values()))
        return lost, twice, verify(session).problems


def main() -> None:
    """Measure and print."""
    with new_folder() as folder:
        tokens = filled(folder, READERS, films=10)
        with running(folder) as (url, _), ThreadPoolExecutor(READERS) as pool:
            start = time.perf_counter()
            found = list(pool.map(lambda token: work(url, token), tokens))
            wall = time.perf_counter() - start
        lost, twice, problems = check(folder, {name: rev for _, kept in found for name, rev in kept.items()})
    times = np.array([s for seconds, _ in found for s in seconds]) * 1000
    middle, slow, slowest = np.percentile(times, (50, 95, 100))
    print(machine())
    print(
        f"{READERS} readers x {SAVES} saves in {wall:.1f} s: {lost} lost, {twice} twice, chain {problems or 'intact'}"
    )
    print(f"answered in {middle:.0f} ms (median), {slow:.0f} ms (95 %), {slowest:.0f} ms (slowest)")


if __name__ == "__main__":
    main()
