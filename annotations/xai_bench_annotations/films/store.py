"""The films of an annotation folder: added once, stored as gzipped 16-bit pixels, found again by their digest."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from xai_bench.errors import BadInput
from xai_bench_annotations.films.pixels import Film, film_digest, film_of
from xai_bench_annotations.server.tables import Image, Project, new_id

__all__ = ["AlreadyThere", "add_pixels", "film_digest", "film_path", "read_pixels", "store_film"]


class AlreadyThere(BadInput):
    """A film that the project has; `image` is the one it has."""

    def __init__(self, image: Image) -> None:
        super().__init__(f"this film is in the project as film {image.number}; it is not added twice.")
        self.image = image


def add_pixels(
    session: Session,
    folder: Path,
    project: Project,
    array: NDArray[Any],
    spacing: tuple[float, float] | None = None,
) -> Image:
    """Add a dataset's film: (h, w) or (h, w, 3) of uint8, uint16 or floats in [0, 1]; `spacing` is mm (row, column)."""
    return store_film(session, folder, project, film_of(array, spacing))


def store_film(session: Session, folder: Path, project: Project, film: Film) -> Image:
    """Write a decoded film to the folder and its row to the session. Raises AlreadyThere, BadInput for a full disk.

    Films are decoded first (`decode.decode`), so that no transaction waits for it.
    """
    info = film.info
    mine = Image.project_id == project.id
    there = session.scalar(select(Image).where(mine, Image.sha256 == info.digest))
    if there is not None:
        raise AlreadyThere(there)
    last = session.scalar(select(func.max(Image.number)).where(mine))
    image = Image(
        id=new_id(),
        project_id=project.id,
        number=(last or 0) + 1,
        sha256=info.digest,
        pixels=_write(folder, film.pixels),
        width=info.width,
        height=info.height,
        bits=info.bits,
        photometric=info.photometric,
        slope=info.slope,
        intercept=info.intercept,
        window_center=info.window_center,
        window_width=info.window_width,
        spacing_row=info.spacing_row,
        spacing_column=info.spacing_column,
        spacing_source=info.spacing_source,
        view=info.view,
    )
    session.add(image)
    session.flush()
    return image


def film_path(folder: Path, image: Image) -> Path:
    """Where a film's gzipped pixels lie; a server may send the file as it is."""
    return folder / "films" / f"{image.pixels}.u16.gz"


def read_pixels(folder: Path, image: Image) -> NDArray[np.uint16]:
    """A film's stored pixels, (height, width). Raises BadInput where the file is missing or another."""
    expected = 2 * image.width * image.height
    try:
        with gzip.open(film_path(folder, image)) as file:
            data = file.read(expected + 1)
    except (OSError, EOFError, ValueError):
        data = b""
    if len(data) != expected or hashlib.sha256(data).hexdigest() != image.pixels:
        raise BadInput(f"the pixels of film {image.number} are missing or damaged; restore the folder from a backup.")
    return np.frombuffer(data, dtype="<u2").reshape(image.height, image.width).astype(np.uint16, copy=False)


def _write(folder: Path, pixels: NDArray[np.uint16]) -> str:
    """Store pixels under their digest, whole or not at all; returns the digest."""
    data = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    digest = hashlib.sha256(data).hexdigest()
    films = folder / "films"
    path = films / f"{digest}.u16.gz"
    try:
        films.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _put(path, gzip.compress(data, compresslevel=4, mtime=0))
    except OSError as error:
        raise BadInput(f"the film cannot be kept in {str(films)!r} ({error.strerror}); free space there.") from None
    return digest


def _put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all (`xai_bench.store.files.put` would load torch into the server)."""
    scratch = path.with_name(f"{path.name}.{new_id()}.part")
    try:
        with os.fdopen(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
