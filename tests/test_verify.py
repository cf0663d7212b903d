"""verify reads every byte: whatever is flipped, lost or added in any kind of file is named, and nothing is touched."""

import errno
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from store_cases import QUIET

from xai_bench.score_cache import ScoreCache
from xai_bench.store.files import write_frame, write_tensors
from xai_bench.store.store import Store
from xai_bench.store.verify import repair, verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A cell of every kind of file, a remembered failure, and answers in the cache."""
    found = Store.at(tmp_path)
    for kind in ("maps", "scores"):
        with found.commit(kind, "k", {"label": "net: lime"}) as folder:
            write_frame(folder, "rows", pd.DataFrame({"score": [1.0, 2.0]}))
            write_tensors(folder, "maps", {"maps": torch.ones(2, 3)})
            (folder / "card.json").write_text('{"seed": 0}')
    found.fail("scores", "other", "net: lime, iou", "failed", "ValueError: no")
    cache = ScoreCache(tmp_path / "cache")
    cache.put(["a"], np.ones((1, 2), np.uint8), np.ones((1, 3), np.float32))
    cache.flush()
    return found


def test_a_sound_store_is_said_to_be_sound(store: Store) -> None:
    found = verify(store, QUIET)
    assert (found.files, found.damaged) == (2 * 4 + 1 + 1, ())
    every = [p for p in store.root.rglob("*") if p.is_file()]
    assert found.files == len(every) and found.bytes == sum(p.stat().st_size for p in every)
    assert verify(Store(store.root / "none"), QUIET).files == 0


def test_every_kind_of_file_is_covered_and_repair_removes_only_what_is_damaged(store: Store) -> None:
    every = sorted(p for p in store.root.rglob("*") if p.is_file())
    for file in every:
        data = file.read_bytes()
        for place in (0, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            (damage,) = verify(store, QUIET).damaged
            assert damage.path in (file, file.parent) and f"{file.name} is damaged" in str(damage)
        file.write_bytes(data)
    assert verify(store, QUIET).damaged == ()
    (store.folder("maps", "k") / "rows.parquet").unlink()
    (store.folder("scores", "k") / "stray").write_text("")
    for file in (*store.root.glob("failures/*/*"), *store.root.glob("cache/*")):
        file.write_bytes(b"")
    found = verify(store, QUIET)
    assert [d.wrong[0] for d in found.damaged[:2]] == ["rows.parquet is missing", "stray is not in the receipt"]
    assert len(found.damaged) == 4 and store.cells("maps") == ["k"]
    repair(store, found)
    assert verify(store, QUIET).files == 0 and store.failures() == []


def test_a_file_that_cannot_be_read_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def broken(self: Path) -> bytes:
        if self.parent.parent.name == "maps" and self.name == "rows.parquet":
            raise OSError(errno.EIO, "Input/output error")
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", broken)
    (damage,) = verify(store, QUIET).damaged
    assert damage.path == store.folder("maps", "k") and "Input/output error" in str(damage)


def test_a_run_that_writes_meanwhile_is_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (store.folder("maps", "k") / ".receipt.json.1a2b3c4d").write_text("being written")
    listed = {"cells": Store.cells, "failures": Store.failures}

    def cells(self: Store, kind: str) -> list[str]:
        return [*listed["cells"](self, kind), "gone"]

    monkeypatch.setattr(Store, "cells", cells)
    monkeypatch.setattr(Store, "failures", lambda self: [*listed["failures"](self), ("scores", "gone")])
    found = verify(store, QUIET)
    assert (found.files, found.damaged) == (2 * 4 + 1 + 1, ())
