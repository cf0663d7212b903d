"""A fault at every call of the writer in turn: is anything corrupt ever read, and does the work go on afterwards?

    python benchmarks/reliability/faults.py

A cell with five files, the record of a failure and a file of the score cache are written. Before the 1st, 2nd, 3rd ...
call that makes, writes, syncs or renames something, the disk is full, or fails, or the process is killed (kill -9), the
last also in the middle of a write. Then a reader looks: it must find nothing or all of it, and a second, undisturbed
writer must leave what an undisturbed first would have left. Linux and macOS.

Last output:

    disk full: 28 faults, 0 times something corrupt was there to be read, 0 times the work did not go on
    EIO: 28 faults, 0 times something corrupt was there to be read, 0 times the work did not go on
    read-only: 28 faults, 0 times something corrupt was there to be read, 0 times the work did not go on
    kill -9: 28 faults, 0 times something corrupt was there to be read, 0 times the work did not go on
    kill -9 in a write: 28 faults, 0 times something corrupt was there to be read, 0 times the work did not go on
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xai_bench.errors import BadInput
from xai_bench.progress import Progress
from xai_bench.score_cache import ScoreCache
from xai_bench.store.files import write_frame, write_tensors
from xai_bench.store.store import Store
from xai_bench.store.verify import verify

QUIET = Progress(quiet=True)
CALLS = [(Path, "write_bytes"), (Path, "mkdir"), (Path, "rename"), (Path, "replace"), (os, "fsync"), (os, "fdopen")]


def work(root: Path) -> None:
    """All that a run writes into a store."""
    store = Store.at(root)
    with store.commit("scores", "k", {"label": "net: lime, deletion"}) as folder:
        write_frame(folder, "rows", pd.DataFrame({"score": np.arange(200.0)}))
        write_frame(folder, "curves", pd.DataFrame({"y": np.arange(500.0)}))
        write_tensors(folder, "maps", {"maps": torch.ones(4, 7, 7)})
        write_tensors(folder, "state_0", {"threshold": torch.ones(1)})
    store.fail("maps", "other", "net: lime", "failed", "ValueError: no")
    cache = ScoreCache(root / "cache")
    cache.put(["a"], np.ones((1, 2), np.uint8), np.ones((1, 3), np.float32))
    cache.flush()


@contextlib.contextmanager
def faulty(place: int, fault: Callable[..., None]) -> Iterator[list[str]]:
    """Within the block `fault` is called in place of the call number `place`; gives the calls so far."""
    seen: list[str] = []

    def one(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            seen.append(name)
            if len(seen) == place + 1:
                fault(name, *given)
            return real(*given, **named)

        return call

    old = [getattr(owner, name) for owner, name in CALLS]
    for (owner, name), real in zip(CALLS, old, strict=True):
        setattr(owner, name, one(name, real))
    try:
        yield seen
    finally:
        for (owner, name), real in zip(CALLS, old, strict=True):
            setattr(owner, name, real)


def failing(number: int) -> Callable[..., None]:
    """The call fails with this error number."""

    def fault(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fault


def killed(*_: Any) -> None:
    """The process dies here."""
    os.kill(os.getpid(), signal.SIGKILL)


def torn(name: str, *given: Any) -> None:
    """The process dies in the middle of a write."""
    if name == "write_bytes":
        with Path(given[0]).open("wb") as file:
            file.write(given[1][: len(given[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def disturbed(root: Path, place: int, fault: Callable[..., None]) -> bool:
    """Work with one fault, in a process of its own; False where there are fewer calls than that."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BadInput), faulty(place, fault) as seen:
            work(root)
            code = 0 if len(seen) <= place else 1
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return status != 0


def contents(root: Path) -> dict[str, bytes]:
    """Every file that a reader may find, receipts apart (they hold the time)."""
    files = [p for p in root.rglob("*") if p.is_file() and not any(q.startswith(".") for q in p.parts)]
    kept = [p for p in files if p.name != "receipt.json" and p.parent.parent.name != "failures"]
    return {str(p.relative_to(root)): p.read_bytes() for p in kept}


def main() -> None:
    """Print, for each kind of fault, how many were injected and what was found afterwards."""
    warnings.simplefilter("error")
    folder = Path(tempfile.mkdtemp())
    work(folder / "whole")
    whole = contents(folder / "whole")
    faults = {"disk full": failing(errno.ENOSPC), "EIO": failing(errno.EIO), "read-only": failing(errno.EROFS),
              "kill -9": killed, "kill -9 in a write": torn}  # fmt: skip
    for name, fault in faults.items():
        place = wrong = unfinished = 0
        while disturbed(root := folder / f"{name} {place}", place, fault):
            found = contents(root)
            sound = all(whole.get(file) == data for file, data in found.items())
            wrong += not sound or bool(verify(Store(root), QUIET).damaged)
            work(root)
            unfinished += contents(root) != whole or bool(verify(Store(root), QUIET).damaged)
            place += 1
        print(f"{name}: {place} faults, {wrong} times something corrupt was there to be read, {unfinished} times the "
              "work did not go on")  # fmt: skip
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
