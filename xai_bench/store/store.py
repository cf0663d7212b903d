"""Content-addressed cells on disk: what was computed once is never computed again; nothing half-written is ever seen.

A cell is a folder named by its key. It is written beside its place, synced, and renamed there in one step; the first
writer wins, and a second one must bring equal bytes. Its `receipt.json` holds the sha256 of every file in it and of
itself; all are checked at every read: a damaged cell is reported, removed and computed again. What failed is kept in
`failures/`, a sealed file for each cell, until it is forgotten or succeeds.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
from torch import Tensor

from xai_bench.errors import BadInput, NonDeterministicCell
from xai_bench.store.files import checksums, put, read_bytes, seal, sha256, sync, sync_all, unseal, writing, wrong_in
from xai_bench.store.scratch import Scratch, new_scratch

RECEIPT = "receipt.json"
MEASURED = ("train", "batch_size", "modes")
"""Kinds whose content rests on a training or on a clock: a second writer may bring other bytes, and the first stays."""


class StoreWarning(UserWarning):
    """A damaged cell that is computed again."""


@dataclass(frozen=True)
class Cell:
    """A committed cell: its folder and receipt."""

    folder: Path
    receipt: Mapping[str, Any]

    def frame(self, name: str) -> pd.DataFrame:
        """A table of the cell."""
        part = pq.ParquetFile(pa.BufferReader(self._read(f"{name}.parquet")))
        frame: pd.DataFrame = part.read(use_threads=False).to_pandas(use_threads=False)
        return frame

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of the cell by name."""
        found: dict[str, Tensor] = safetensors.torch.load(self._read(f"{name}.safetensors"))
        return found

    def has(self, file: str) -> bool:
        """Whether the cell holds a file of this name."""
        return file in self.receipt["files"]

    def _read(self, file: str) -> bytes:
        """The bytes that are checked are the bytes that are used."""
        try:
            data = read_bytes(self.folder / file)
        except FileNotFoundError:
            raise BadInput(
                f"{self.folder / file} vanished after it was checked; is another process deleting the store?"
            ) from None
        if sha256(data) != self.receipt["files"][file]:
            raise BadInput(f"{self.folder / file} changed after it was checked; run the same command again.")
        return data


@dataclass(frozen=True)
class Store:
    """A folder of cells."""

    root: Path

    @classmethod
    def at(cls, folder: str | Path) -> Store:
        """Open or make a store. Raises BadInput where the folder cannot be written."""
        root = Path(folder)
        with writing(root):
            (root / "cells").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root / "cells"):
                pass
        return cls(root)

    @classmethod
    def existing(cls, folder: str | Path) -> Store:
        """A store that is only read. Raises BadInput where there is none."""
        if not (Path(folder) / "cells").is_dir():
            raise BadInput(f"{str(folder)!r} holds no results; name the folder of a run, or run the study first.")
        return cls(Path(folder))

    def folder(self, kind: str, key: str) -> Path:
        """Where a cell of this key is or will be."""
        return self.root / "cells" / kind / key

    def look(self, kind: str, key: str, *, contents: bool = True) -> tuple[Cell | None, list[str]]:
        """The cell, or None where it is missing or damaged; and its damage, each a file and what is wrong with it.

        Nothing is changed. `contents` False: only the receipt is read. Raises BadInput where the disk cannot be read.
        """
        folder = self.folder(kind, key)
        if not folder.is_dir():
            return None, []
        try:
            receipt = unseal(read_bytes(folder / RECEIPT))
            files: Mapping[str, str] = receipt["files"]
        except FileNotFoundError:
            return None, [f"{RECEIPT} is missing"] if folder.is_dir() else []  # it may be removed at this moment
        except (ValueError, KeyError):
            return None, [f"{RECEIPT} is damaged"]
        if (receipt.get("kind"), receipt.get("key")) != (kind, key):
            return None, [f"{RECEIPT} is that of another cell"]
        damage = [f"{name} {wrong}" for name, h in files.items() if contents and (wrong := wrong_in(folder / name, h))]
        return (None if damage else Cell(folder, receipt)), damage

    def get(self, kind: str, key: str) -> Cell | None:
        """The cell, or None where it is missing. A damaged cell is removed with a warning."""
        cell, damage = self.look(kind, key)
        if damage:
            warnings.warn(
                f"cell {kind}/{key} is damaged ({', '.join(damage)}); it is removed and computed again.",
                StoreWarning,
                stacklevel=2,
            )
            self.delete(kind, key)
        return cell

    @contextlib.contextmanager
    def commit(self, kind: str, key: str, receipt: Mapping[str, Any]) -> Iterator[Path]:
        """A scratch folder to fill; at the end of the block it becomes the cell, or vanishes if the block raised.

        Raises NonDeterministicCell where another process committed other bytes under this key in the same environment.
        """
        place = self.folder(kind, key)
        with writing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = new_scratch(place)
        try:
            yield scratch
            with writing(place):
                written = {"key": key, "kind": kind, "written": time.time(), **receipt, **checksums(scratch)}
                (scratch / RECEIPT).write_bytes(seal(written))
                sync_all([*scratch.iterdir(), scratch])
                first = self._take_place(kind, key, scratch)
                sync(place.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if first is not None:
            self._compare(first, written)

    def _take_place(self, kind: str, key: str, scratch: Path) -> Cell | None:
        """Rename the folder to its place; the cell that was there already, if there is one that is sound."""
        place = self.folder(kind, key)
        while True:  # what was in the way may be gone again
            try:
                scratch.rename(place)
                return None
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            first, damage = self.look(kind, key)
            if first is not None:
                return first
            if damage:
                self.delete(kind, key)

    def _compare(self, first: Cell, second: Mapping[str, Any]) -> None:
        """Equal bytes are required where nothing that may change them differs; else the first's receipt says so."""
        if first.receipt["files"] == second["files"]:
            return
        either = (first.receipt, second)
        same = first.receipt.get("environment") == second.get("environment")
        if same and second["kind"] not in MEASURED and not any(r.get("halved") for r in either):
            names = [n for n, h in second["files"].items() if first.receipt["files"].get(n) != h]
            raise NonDeterministicCell(
                f"cell {second['kind']}/{second['key']} ({second.get('label', '')}) was computed by two processes with "
                f"different results ({', '.join(names)}); the plugin is not deterministic: give it a field `seed`, or "
                "set torch.use_deterministic_algorithms(True)."
            )
        note = {k: second.get(k) for k in ("files", "environment", "host", "written", "halved")}
        with contextlib.suppress(FileNotFoundError):  # the cell may be removed at this moment
            others = [*first.receipt.get("others", ()), note]
            put(first.folder / RECEIPT, seal({**first.receipt, "others": others}))

    def delete(self, kind: str, key: str) -> None:
        """Remove a cell, in one step; it will be computed again when a study asks for it."""
        place = self.folder(kind, key)
        with writing(place), contextlib.suppress(FileNotFoundError):
            grave = new_scratch(place)
            try:
                place.rename(grave)
            finally:
                shutil.rmtree(grave, ignore_errors=True)

    def kinds(self) -> list[str]:
        """The kinds of cell in the store."""
        return sorted(p.name for p in (self.root / "cells").glob("*") if p.is_dir())

    def cells(self, kind: str) -> list[str]:
        """The keys of all committed cells of a kind."""
        folder = self.root / "cells" / kind
        return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []

    def scratches(self) -> list[Scratch]:
        """The folders in which cells are being filled, or were when their process died."""
        found = []
        for folder in sorted((self.root / "cells").glob("*/.*")):
            parts = folder.name[1:].split(".")
            machine, _, pid = (parts[1] if len(parts) == 3 else "").partition("-")
            if pid.isdigit():
                found.append(Scratch(folder, folder.parent.name, parts[0], machine, int(pid)))
        return found

    def fail(self, kind: str, key: str, label: str, status: str, reason: str) -> None:
        """Remember that a cell failed (`status` failed) or does not fit (skipped), and why."""
        record = {"kind": kind, "key": key, "label": label, "status": status, "reason": reason, "written": time.time()}
        path = self._failure(kind, key)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, seal(record))

    def failure(self, kind: str, key: str) -> Mapping[str, Any] | None:
        """What is remembered of a cell that failed; a damaged record counts as none."""
        try:
            return unseal(read_bytes(self._failure(kind, key)))
        except (FileNotFoundError, ValueError):
            return None

    def failures(self) -> list[tuple[str, str]]:
        """Kind and key of every cell of which a failure is remembered."""
        found = (self.root / "failures").glob("*/*.json")
        return sorted((p.parent.name, p.stem) for p in found if not p.name.startswith("."))

    def forget_failures(self) -> int:
        """Whatever failed will be tried again; gives how many were remembered."""
        known = self.failures()
        for kind, key in known:
            self.forget(kind, key)
        return len(known)

    def forget(self, kind: str, key: str) -> None:
        """Forget the failure of one cell."""
        path = self._failure(kind, key)
        with writing(path):
            path.unlink(missing_ok=True)

    def _failure(self, kind: str, key: str) -> Path:
        return self.root / "failures" / kind / f"{key}.json"
