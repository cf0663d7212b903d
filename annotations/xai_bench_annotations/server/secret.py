"""The folder's secret, with which passwords are mixed before they are hashed: a stolen backup alone opens none.

Keep a copy of the file apart from the backups of the database. Without it nothing drawn is lost, but every reader needs
a new invite.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from xai_bench.errors import BadInput


def folder_secret(folder: Path) -> bytes:
    """The 32 bytes in `FOLDER/secret`, made when there are none. Raises BadInput if others may read the file."""
    file = folder / "secret"
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _read(file)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(32))
    return _read(file)


def _read(file: Path) -> bytes:
    if os.name == "posix" and file.stat().st_mode & 0o077:
        raise BadInput(f"{str(file)!r} can be read by others on this machine; run: chmod 600 {file}")
    text = file.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise BadInput(f"{str(file)!r} does not hold 64 hex digits; restore it, or delete it and invite readers anew.")
    return bytes.fromhex(text)
