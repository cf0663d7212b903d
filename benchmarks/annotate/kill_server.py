"""kill -9 of the server while readers save, again and again: every save that was acknowledged is there.

    python benchmarks/annotate/kill_server.py

Three readers save without a pause; after a random number of saves the server's process is killed. The database is
then opened as the next start would, and every acknowledged revision is looked for; what had no answer may be there or
not. Target: 50 kills, 0 lost, an intact audit chain. (A killed process; what a power failure leaves rests on SQLite's
WAL with `synchronous = FULL`, which is set, and on the disk.) Last output, on a machine busy with other work:

    2 cores, load 12.8, Python 3.11.7
    50 kills during 748 acknowledged saves of 216 drawings: 0 lost, chain intact
"""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import httpx
from server import client, filled, machine, new_folder, new_id, polygon, readings, running
from xai_bench_annotations.server.audit import verify
from xai_bench_annotations.server.database import open_database
from xai_bench_annotations.server.tables import Annotation

KILLS, READERS = 50, 3


def work(url: str, token: str, acknowledged: dict[str, tuple[int, int]], ready: threading.Barrier) -> None:
    """Save until the server is gone; drawing -> (revision, confidence) of the last answer."""
    with client(url, token) as browser:
        own = readings(browser)
        ready.wait()
        try:
            while True:
                name = new_id()
                for rev in range(5):
                    body = {"assignment": random.choice(own), "label": "column", "geometry": polygon(200, rev)}
                    if rev:
                        body["assignment"] = kept["assignment"]
                    kept = body | {"confidence": rev + 1}
                    answer = browser.put(f"/annotations/{name}", json=kept, headers={"If-Match": str(rev)})
                    acknowledged[name] = (answer.raise_for_status().json()["rev"], rev + 1)
        except httpx.TransportError:
            return


def _saves(acknowledged: dict[str, tuple[int, int]]) -> int:
    return sum(rev for rev, _ in list(acknowledged.values()))


def one_kill(folder: Path, tokens: list[str], acknowledged: dict[str, tuple[int, int]]) -> None:
    """Kill a server in the midst of saves, after a random number of them."""
    ready = threading.Barrier(len(tokens) + 1)
    with running(folder) as (url, process):
        threads = [threading.Thread(target=work, args=(url, token, acknowledged, ready)) for token in tokens]
        for thread in threads:
            thread.start()
        ready.wait()
        enough = _saves(acknowledged) + random.randint(1, 30)
        while _saves(acknowledged) < enough:
            time.sleep(0.001)
        process.kill()
        for thread in threads:
            thread.join()


def check(folder: Path, acknowledged: dict[str, tuple[int, int]]) -> tuple[int, tuple[str, ...]]:
    """How many acknowledged saves are lost, and what is wrong with the chain."""
    database = open_database(folder)
    with database.reading() as session:
        there = {a.id: (a.rev, a.confidence) for a in session.query(Annotation)}
        problems = verify(session).problems
    database.close()
    return sum(there.get(name, (0, 0))[0] < rev for name, (rev, _) in acknowledged.items()), problems


def main() -> None:
    """Measure and print."""
    random.seed(0)
    acknowledged: dict[str, tuple[int, int]] = {}
    with new_folder() as folder:
        tokens = filled(folder, READERS, films=10)
        for kill in range(KILLS):
            one_kill(folder, tokens, acknowledged)
            lost, problems = check(folder, acknowledged)
            if lost or problems:
                raise SystemExit(f"after kill {kill + 1}: {lost} acknowledged saves are lost; chain: {problems}")
    saves, drawings = _saves(acknowledged), len(acknowledged)
    print(machine())
    print(f"{KILLS} kills during {saves} acknowledged saves of {drawings} drawings: 0 lost, chain intact")


if __name__ == "__main__":
    main()
