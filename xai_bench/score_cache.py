"""Answers of a model that were computed before: by weights, mode, batch shape, picture, players, imputer, coalition.

Bounded in memory and on disk, the oldest leaves first. Safe to delete at any moment: it only saves time. A file ends
with the sha256 of what is before it, because safetensors has no checksum; a damaged one counts as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from safetensors.numpy import load, save

LENGTH = 16
"""Bytes of a coalition's key: short coalitions stand as they are, longer ones by a hash."""

OVERHEAD = 300
"""Bytes that an answer takes in memory beside its key and values: a dictionary's place, two Python objects."""

SUFFIX, TAIL = ".answers", 32

Answers = dict[bytes, NDArray[np.float32]]


@dataclass
class ScoreCache:
    """A folder of answers; None: in memory only. `limit` bounds the bytes in memory, and those on disk."""

    root: Path | None = None
    limit: int = 256_000_000
    _kept: OrderedDict[str, Answers] = field(default_factory=OrderedDict, repr=False)
    _changed: set[str] = field(default_factory=set, repr=False)
    _bytes: int = 0

    def get(
        self, names: Sequence[str], bits: UInt8[NDArray[np.uint8], "n bytes"]
    ) -> tuple[Bool[NDArray[np.bool_], "n"], Float[NDArray[np.float32], "n k"] | None]:
        """Which coalitions are known, and the answers (undefined where not known; None where none is)."""
        found = [self._answers(name).get(key) for name, key in zip(names, _keys(bits), strict=True)]
        known = np.array([answer is not None for answer in found], dtype=bool)
        if not known.any():
            return known, None
        blank = np.zeros_like(next(answer for answer in found if answer is not None))
        return known, np.stack([blank if answer is None else answer for answer in found])

    def put(
        self,
        names: Sequence[str],
        bits: UInt8[NDArray[np.uint8], "n bytes"],
        values: Float[NDArray[np.float32], "n k"],
    ) -> None:
        """Remember answers."""
        for name, key, value in zip(names, _keys(bits), values, strict=True):
            answers = self._answers(name)
            if key not in answers:
                answers[key] = value.copy()
                self._changed.add(name)
                self._bytes += _size(key, value)
        while self._bytes > self.limit and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))

    def flush(self) -> None:
        """Write what is new, and remove the oldest files beyond the limit. A folder that cannot be written costs only
        time."""
        for name in [name for name in self._kept if name in self._changed]:  # the last used is written last
            self._write(name)
        self._trim()

    def _answers(self, name: str) -> Answers:
        if name in self._kept:
            self._kept.move_to_end(name)
        else:
            self._kept[name] = self._read(name)
            self._bytes += sum(_size(k, v) for k, v in self._kept[name].items())
        return self._kept[name]

    def _forget(self, name: str) -> None:
        if name in self._changed:
            self._write(name)
        self._bytes -= sum(_size(k, v) for k, v in self._kept.pop(name).items())

    def _file(self, name: str) -> Path | None:
        key = hashlib.sha256(name.encode()).hexdigest()[:32]
        return None if self.root is None else self.root / f"{key}{SUFFIX}"

    def _read(self, name: str) -> Answers:
        file = self._file(name)
        if file is None:
            return {}
        try:
            found = load(_checked(file.read_bytes()))
            keys, values = found["keys"], found["values"]
        except (OSError, ValueError, KeyError, safetensors.SafetensorError):  # absent or damaged: it is computed again
            return {}
        return {bytes(key): value.copy() for key, value in zip(keys, values, strict=False)}

    def _write(self, name: str) -> None:
        self._changed.discard(name)
        file, answers = self._file(name), self._kept[name]
        if file is None or not answers:
            return
        keys = np.frombuffer(b"".join(answers), np.uint8).reshape(len(answers), -1)
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=".")
            try:
                with os.fdopen(handle, "wb") as stream:
                    data = save({"keys": keys, "values": np.stack(list(answers.values()))})
                    stream.write(data + hashlib.sha256(data).digest())
                os.utime(scratch, ns=(time.time_ns(),) * 2)  # a file system's own clock may be too coarse to tell ages
                Path(scratch).replace(file)
            finally:
                Path(scratch).unlink(missing_ok=True)

    def _trim(self) -> None:
        if self.root is None:
            return
        with contextlib.suppress(OSError):  # another process may remove the same files
            files = sorted((p.stat().st_mtime_ns, p.stat().st_size, p) for p in self.root.glob(f"*{SUFFIX}"))
            total = sum(size for _, size, _ in files)
            for _, size, path in files:
                if total <= self.limit:
                    break
                path.unlink(missing_ok=True)
                total -= size


def intact(file: Path) -> bool:
    """Whether a file of answers is as it was written."""
    try:
        _checked(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _checked(data: bytes) -> bytes:
    """The data before the sha256. Raises ValueError where it does not fit."""
    if hashlib.sha256(data[:-TAIL]).digest() != data[-TAIL:]:
        raise ValueError("its sha256 does not fit")
    return data[:-TAIL]


def _size(key: bytes, value: NDArray[np.float32]) -> int:
    return len(key) + value.nbytes + OVERHEAD


def _keys(bits: UInt8[NDArray[np.uint8], "n bytes"]) -> list[bytes]:
    """A key of one length for each coalition.

    Players hidden at its end do not count: they pad the coalitions of a picture beside others with more players.
    """
    rows = (row.tobytes().rstrip(b"\0") for row in bits)
    return [
        row.ljust(LENGTH, b"\0") if len(row) <= LENGTH else hashlib.blake2b(row, digest_size=LENGTH).digest()
        for row in rows
    ]
