"""Files that are whole or not there: sealed records, checked bytes, Parquet and safetensors parts, all synced."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
from torch import Tensor

from xai_bench.errors import BadInput


@contextlib.contextmanager
def writing(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn a full disk, a read-only folder or a file in the way into one clear sentence. `size`: bytes to write."""
    try:
        yield
    except OSError as error:
        asked = "" if size is None else f", {size:,} bytes were to be written"
        raise BadInput(
            f"{path} cannot be written ({error.strerror or error}{asked}, {_free(path)}); free space or make it "
            "writable, or name another folder with --store; the same command then goes on."
        ) from None


def _free(path: Path) -> str:
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(folder).free:,} bytes are free there"
    return "how much is free is unknown"


def seal(record: Mapping[str, Any]) -> bytes:
    """One line of JSON whose last value is the sha256 of the rest: every byte counts.

    >>> seal({"a": 1})[:20]
    b'{"a": 1, "sha256": "'
    >>> unseal(seal({"a": 1}))
    {'a': 1}
    """
    body = json.dumps(record, sort_keys=True).encode()
    return body[:-1] + _tail(body)


def unseal(data: bytes) -> dict[str, Any]:
    """What was sealed. Raises ValueError where any byte changed."""
    body = data[: -len(_tail(b""))] + b"}"
    if data[len(body) - 1 :] != _tail(body):
        raise ValueError("its sha256 does not fit")
    record: dict[str, Any] = json.loads(body)
    return record


def _tail(body: bytes) -> bytes:
    return f', "sha256": "{sha256(body)}"}}\n'.encode()


def put(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a restarted machine, finds the old one or the new one."""
    with writing(path, len(data)):
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            scratch.write_bytes(data)
            sync(scratch)
            scratch.replace(path)
            sync(path.parent)
        finally:
            scratch.unlink(missing_ok=True)


def write_frame(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """A table as an immutable Parquet part, without timestamps, so that equal tables are equal bytes."""
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), buffer, compression="zstd")
    _write(folder / f"{name}.parquet", buffer.getvalue().to_pybytes())


def write_tensors(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as safetensors."""
    data = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in sorted(tensors.items())})
    _write(folder / f"{name}.safetensors", data)


def _write(path: Path, data: bytes) -> None:
    with writing(path, len(data)):
        path.write_bytes(data)


def checksums(folder: Path) -> dict[str, Any]:
    """The sha256 of every file of a folder, and their bytes in all."""
    paths = sorted(folder.iterdir())
    return {"files": {p.name: sha256(read_bytes(p)) for p in paths}, "bytes": sum(p.stat().st_size for p in paths)}


def wrong_in(path: Path, expected: str) -> str:
    try:
        return "" if sha256(read_bytes(path)) == expected else "is damaged"
    except FileNotFoundError:
        return "is missing"


def read_bytes(path: Path) -> bytes:
    """A file's bytes. A disk that fails is not a damaged file: it may work again, so that nothing is removed."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror or error}); repair the disk or the permissions and run the same "
            "command again, or remove that cell by hand."
        ) from None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(paths: list[Path]) -> None:
    """Side by side: the file system then writes its journal once, which is several times as fast."""
    list(_threads(os.getpid()).map(sync, paths))


@functools.cache
def _threads(_: int) -> ThreadPoolExecutor:
    """Of this process: a forked one has none of its parent's threads."""
    return ThreadPoolExecutor(4, thread_name_prefix="sync")
