"""Folders in which cells are being filled, each with the name of who fills it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

OLD = 86_400.0
"""Seconds after which a scratch folder of another machine counts as left behind."""


@dataclass(frozen=True)
class Scratch:
    """A folder in which a process fills, or filled, a cell."""

    folder: Path
    kind: str
    key: str
    host: str
    pid: int

    @property
    def left_behind(self) -> bool:
        """Whether its process is gone; of another machine's process only the folder's age tells."""
        if self.host == host():
            return not _alive(self.pid)
        with contextlib.suppress(OSError):
            return time.time() - self.folder.stat().st_mtime > OLD
        return False


def host() -> str:
    """Tells machines apart without naming them.

    >>> len(host())
    8
    """
    return hashlib.sha256(f"xai-bench {socket.gethostname()}".encode()).hexdigest()[:8]


def new_scratch(place: Path) -> Path:
    """A new hidden folder beside a cell's place, that others may read if the umask lets them."""
    folder = place.with_name(f".{place.name}.{host()}-{os.getpid()}.{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    return folder


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
