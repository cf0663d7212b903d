"""Films from files of unknown origin: each is decoded in a process of its own that can be killed.

The process may write nothing but its answer, has 1 GiB of memory and little time, and reads sizes before pixels. Only
PNG, JPEG and DICOM are looked at; SVG, TIFF and all others are refused by their first bytes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from xai_bench.errors import BadInput
from xai_bench_annotations.films.pixels import Film, FilmInfo

MAX_BYTES = 200_000_000
MAX_MEGAPIXELS = 64.0
MEMORY = 1 << 30
CPU_SECONDS = 20
SECONDS = 30.0
HEADER = 132
"""How many of the first bytes tell a film's kind."""

_AT_ONCE = threading.BoundedSemaphore(2)  # films that are decoded at one time, whoever asks
_INFO: TypeAdapter[FilmInfo] = TypeAdapter(FilmInfo)


def kind_of(start: bytes) -> str:
    """`png`, `jpeg` or `dicom` by the first 132 bytes. Raises BadInput for anything else.

    >>> kind_of(b"\\x89PNG\\r\\n\\x1a\\n")
    'png'
    """
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start[128:HEADER] == b"DICM":
        return "dicom"
    raise BadInput("this file is no PNG, JPEG or DICOM film by its first bytes; convert it to one of these.")


def decode(data: bytes, *, seconds: float = SECONDS) -> Film:
    """The film in a file's bytes. Raises BadInput with the reason for whatever cannot be shown.

    Takes up to `seconds`, so call it before a transaction is begun and not in an event loop.
    """
    if len(data) > MAX_BYTES:
        raise BadInput(f"this file has {len(data) / 1e6:.0f} MB; expected at most {MAX_BYTES / 1e6:.0f}: shrink it.")
    kind_of(data[:HEADER])
    with _AT_ONCE, tempfile.TemporaryFile() as film, tempfile.TemporaryFile() as answer:  # neither has a name on disk
        film.write(data)
        film.flush()
        film.seek(0)
        code = _run(film, answer, seconds)
        answer.seek(0)
        return _read(answer, code)


def _run(film: IO[bytes], answer: IO[bytes], seconds: float) -> int:
    """The exit code of the process that decodes; below zero where a signal ended it."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each thread takes address space
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "xai_bench_annotations.films.child"],
        stdin=film,
        stdout=answer,
        stderr=subprocess.DEVNULL,
        cwd="/",  # a folder of the user's could hide a library behind its name
        env=os.environ | one_thread,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise BadInput(f"this film takes longer than {seconds:g} s to decode; convert it or leave it out.") from None
    finally:
        process.kill()
        process.wait()


def _read(answer: IO[bytes], code: int) -> Film:
    """The film that the process answered, checked: a damaged file may have made it say anything."""
    if code == -signal.SIGXCPU:
        raise BadInput(f"this film takes more than {CPU_SECONDS} s of computing to decode; convert it or leave it out.")
    if code != 0:
        raise BadInput(f"this film stops the decoder (exit code {code}); it is damaged: copy it again or leave it out.")
    try:
        found: dict[str, Any] = json.loads(answer.readline(20_000))
        if "refused" in found:
            raise BadInput(str(found["refused"]))
        info = _INFO.validate_python(found)
        pixels = np.frombuffer(answer.read(2 * info.width * info.height + 1), dtype="<u2")
        return Film(pixels.reshape(info.height, info.width).astype(np.uint16, copy=False), info)
    except (ValueError, ValidationError, AttributeError, TypeError):
        raise BadInput("this film makes the decoder answer nonsense; it is damaged: leave it out.") from None
