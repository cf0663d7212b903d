"""What a store holds and no run can use again: cells of other code, earlier versions, what killed runs left behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xai_bench.planning.plan import KINDS, Lookup, Plan
from xai_bench.store.files import writing
from xai_bench.store.key_parts import other_environment, outdated
from xai_bench.store.scratch import OLD
from xai_bench.store.store import Store

_RESTS_ON = ("maps", "state", "tuned")
"""Parts of a key that are another cell's key."""


@dataclass(frozen=True)
class Garbage:
    """A folder or file that may go, what it is, why, and its bytes."""

    path: Path
    what: str
    why: str
    bytes: int


def garbage(planned: Plan, *, environment: bool = False) -> list[Garbage]:
    """What may be removed; never a cell that the study asks for, but with `environment` those of other versions.

    A cell of another study in the same store is garbage only where the code that made it has changed, or where it has
    the label and the pictures of a cell of this study and differs from it.
    """
    return [*_cells(planned, environment), *_scratch(planned.store)]


def remove(store: Store, found: list[Garbage]) -> None:
    """Remove it. Raises BadInput where the folder cannot be written."""
    for one in found:
        if one.path.parent.parent == store.root / "cells" and not one.path.name.startswith("."):
            store.delete(one.path.parent.name, one.path.name)
            continue
        with writing(one.path), suppress(FileNotFoundError):
            shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink()


def _cells(planned: Plan, environment: bool) -> Iterator[Garbage]:
    store = planned.store
    wanted = {(x.kind, x.key) for x in planned.lookups}
    replaced = {(x.kind, x.old): "; ".join(x.why) for x in planned.lookups if x.old}
    gone: dict[str, str] = {}  # key of a cell that goes -> its label
    kinds = sorted(store.kinds(), key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS))
    for kind in kinds:  # a cell comes after those it rests on
        for key in store.cells(kind):
            cell, _ = store.look(kind, key, contents=False)
            if cell is None:
                continue  # `verify` names what is damaged
            if (kind, key) in wanted:
                why = "; ".join(other_environment(cell.receipt)) if environment else ""
            else:
                parts = cell.receipt.get("parts", {})
                below = next((gone[str(parts[p])] for p in _RESTS_ON if str(parts.get(p)) in gone), "")
                why = "; ".join(outdated(cell.receipt)) or replaced.get((kind, key), "")
                why = why or (f"rests on {below}" if below else "")
            if why:
                label = str(cell.receipt.get("label", key))
                gone[key] = label
                method = Lookup(kind, label, "done").method
                yield Garbage(cell.folder, f"{kind} ({method})" if method else kind, why, _size(cell.folder))


def _scratch(store: Store) -> Iterator[Garbage]:
    """Unfinished folders and files; those of a process that still runs stay, and so does what is young."""
    known = {s.folder: s.left_behind for s in store.scratches()}
    hidden = [*store.root.glob("cells/*/.*"), *store.root.glob("cells/*/*/.*"), *store.root.glob("failures/*/.*")]
    for path in sorted([*hidden, *store.root.glob("cache/.*"), *store.root.glob(".report.*")]):
        if known.get(path, _age(path) > OLD):
            yield Garbage(path, "unfinished", "its process is gone", _size(path))
    for folder in sorted(store.root.glob("training/*")):
        if _age(folder) > OLD:
            yield Garbage(folder, "unfinished training", "not touched for a day", _size(folder))


def _age(path: Path) -> float:
    """Seconds since anything in it was written."""
    with suppress(OSError):
        return time.time() - max(p.stat().st_mtime for p in (path, *path.rglob("*")))
    return 0.0


def _size(path: Path) -> int:
    """Bytes of all files in it; 0 where another process removes it at this moment."""
    with suppress(OSError):
        return sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())
    return 0
