"""Every sha256 of a store computed again: what was damaged since it was written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xai_bench.errors import BadInput
from xai_bench.progress import Progress
from xai_bench.score_cache import SUFFIX, intact
from xai_bench.store.store import RECEIPT, Store


@dataclass(frozen=True)
class Damage:
    """A cell, a record of a failure or a cache file, and what is wrong with it."""

    what: str
    path: Path
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what}: {', '.join(self.wrong)} ({self.path})"


@dataclass(frozen=True)
class Verified:
    """How many files were checked, their bytes, and what is damaged."""

    files: int
    bytes: int
    damaged: tuple[Damage, ...]


def verify(store: Store, progress: Progress) -> Verified:
    """Read every file of the store and compare; nothing is changed."""
    checks: list[Callable[[], Checked]] = [
        *(partial(_cell, store, kind, key) for kind in store.kinds() for key in store.cells(kind)),
        *(partial(_failure, store, kind, key) for kind, key in store.failures()),
        *(partial(_cache, path) for path in sorted((store.root / "cache").glob(f"*{SUFFIX}"))),
    ]
    files, size, damaged = 0, 0, []
    with progress.task("checking", len(checks)) as advance:
        for check in checks:
            with suppress(FileNotFoundError):  # a run has removed it since
                number, count, found = check()
                files, size = files + number, size + count
                damaged += [found] if found else []
            advance(1)
    return Verified(files, size, tuple(damaged))


def repair(store: Store, verified: Verified) -> None:
    """Remove what is damaged; what a study needs of it is computed again."""
    for damage in verified.damaged:
        path = damage.path
        if path.parent.parent == store.root / "cells":
            store.delete(path.parent.name, path.name)
        elif path.parent.parent == store.root / "failures":
            store.forget(path.parent.name, path.stem)
        else:
            path.unlink(missing_ok=True)


Checked = tuple[int, int, Damage | None]


def _cell(store: Store, kind: str, key: str) -> Checked:
    folder = store.folder(kind, key)
    # A hidden file is a receipt that is being written again, or was when its process died.
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    try:
        cell, wrong = store.look(kind, key)
    except BadInput as error:  # the disk cannot be read there
        cell, wrong = None, [str(error)]
    listed = {RECEIPT, *cell.receipt["files"]} if cell else set(names)
    wrong += [f"{name} is not in the receipt" for name in names if name not in listed]
    size = sum((folder / n).stat().st_size for n in names)
    return len(names), size, Damage(f"{kind}/{key}", folder, tuple(wrong)) if wrong else None


def _failure(store: Store, kind: str, key: str) -> Checked:
    path = store.root / "failures" / kind / f"{key}.json"
    sound = store.failure(kind, key) is not None
    wrong = None if sound else Damage(f"failure of {kind}/{key}", path, (f"{path.name} is damaged",))
    return 1, path.stat().st_size, wrong


def _cache(path: Path) -> Checked:
    wrong = None if intact(path) else Damage("cache", path, (f"{path.name} is damaged",))
    return 1, path.stat().st_size, wrong
