"""Content-addressed cells on disk: what was computed once is never computed again; nothing half-written is ever seen.

A cell is a folder named by its key. It is written beside its place, synced, and renamed there in one step; the first
writer wins. Its `receipt.json` holds the sha256 of every file in it, which is checked at every read: a damaged cell is
reported, removed and computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
from torch import Tensor

from xai_bench.errors import BadInput


class StoreWarning(UserWarning):
    """A damaged cell that is computed again."""


@dataclass(frozen=True)
class Cell:
    """A committed cell: its folder and receipt."""

    folder: Path
    receipt: Mapping[str, Any]

    def frame(self, name: str) -> pd.DataFrame:
        """A table of the cell."""
        return pd.read_parquet(self.folder / f"{name}.parquet")

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of the cell by name."""
        found: dict[str, Tensor] = safetensors.torch.load_file(self.folder / f"{name}.safetensors")
        return found


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

    def folder(self, kind: str, key: str) -> Path:
        """Where a cell of this key is or will be."""
        return self.root / "cells" / kind / key

    def get(self, kind: str, key: str) -> Cell | None:
        """The cell, or None where it is missing. A damaged cell is removed with a warning."""
        folder = self.folder(kind, key)
        if not folder.is_dir():
            return None
        try:
            receipt = json.loads((folder / "receipt.json").read_text())
            damaged = [n for n, h in receipt["files"].items() if _sha256(folder / n) != h]
        except (OSError, ValueError, KeyError) as error:
            damaged = [f"receipt.json ({type(error).__name__})"]
        if damaged:
            warnings.warn(
                f"cell {kind}/{key} is damaged ({', '.join(damaged)}); it is removed and computed again.",
                StoreWarning,
                stacklevel=2,
            )
            self.delete(kind, key)
            return None
        return Cell(folder, receipt)

    @contextlib.contextmanager
    def commit(self, kind: str, key: str, receipt: Mapping[str, Any]) -> Iterator[Path]:
        """A scratch folder to fill; at the end of the block it becomes the cell, or vanishes if the block raised."""
        place = self.folder(kind, key)
        with writing(self.root):
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=place.parent))
        try:
            yield scratch
            with writing(self.root):
                files = {p.name: _sha256(p) for p in sorted(scratch.iterdir())}
                written = {"key": key, "kind": kind, "files": files, "written": time.time(), **receipt}
                (scratch / "receipt.json").write_text(json.dumps(written, indent=1))
                for path in scratch.iterdir():
                    _sync(path)
                _sync(scratch)
                try:
                    scratch.rename(place)
                except OSError:
                    if not place.is_dir():  # where it is one, another writer was first: its cell stays
                        raise
                _sync(place.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def delete(self, kind: str, key: str) -> None:
        """Remove a cell; it will be computed again when a study asks for it."""
        shutil.rmtree(self.folder(kind, key), ignore_errors=True)

    def cells(self, kind: str) -> list[str]:
        """The keys of all committed cells of a kind."""
        folder = self.root / "cells" / kind
        return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full disk, a read-only folder or a file in the way into one clear sentence."""
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written ({error.strerror or error}); free space, or name another folder with --store."
        ) from None


def write_frame(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """A table as an immutable Parquet part, without timestamps, so that equal tables are equal bytes."""
    with writing(folder.parent):
        frame.to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")


def write_tensors(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as safetensors."""
    with writing(folder.parent):
        data = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in sorted(tensors.items())})
        (folder / f"{name}.safetensors").write_bytes(data)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
