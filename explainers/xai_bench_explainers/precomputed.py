"""Maps that were made elsewhere, read from a folder."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench.saliency import upsample

SUFFIXES = (".npy", ".npz", ".png", ".safetensors")
ALL = ("maps.npz", "maps.safetensors")
"""Files that hold the maps of many pictures, by picture id."""


@explainer("precomputed")
@dataclass(frozen=True)
class Precomputed:
    """Maps from a folder: a file `<picture id>.npy`, `.npz`, `.png` or `.safetensors` for each, or all in `maps.npz`.

    `maps.npz` and `maps.safetensors` hold a map for each picture id; another `.npz` or `.safetensors` holds one map. A
    map is (h, w) or (1, h, w), gray if it is a PNG, and shows the picture as the classifier sees it, resized and
    padded, at any size of that shape; it is brought to the picture's size. An id with `..`, a backslash or a leading
    slash is percent-encoded in file names, others may be so. Arrays of Python objects are refused. A picture without a
    map gets a map of NaN, which is reported as invalid.

    All classifiers and classes of a study get the same maps, so give each its own study or its own folder. `contents`
    is filled in: a hash of the folder's maps, so that results follow when they change. Raises BadInput for a folder
    that does not exist and for a file that is no map, Unfit where no folder is named or it has none of these pictures.
    """

    folder: str = ""
    contents: str = field(default="", repr=False)
    family: ClassVar[str] = "other"
    class_specific: ClassVar[bool] = False
    works_with: ClassVar[str] = "the classifier that the maps were made for"
    needs_files: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.folder and not Path(self.folder).is_dir():
            raise BadInput(f"precomputed: {self.folder!r} is no folder; name the folder that holds the maps.")
        object.__setattr__(self, "contents", self._hash() if self.folder else "")  # a frozen dataclass looks once

    @property
    def label(self) -> str:
        """What a study calls it: by its folder."""
        return f"precomputed:{Path(self.folder).name}" if self.folder else "precomputed"

    def _hash(self) -> str:
        files = sorted(p for p in Path(self.folder).rglob("*") if p.suffix in SUFFIXES and p.is_file())
        stamps = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        lines = [f"{p.relative_to(self.folder)} {_hashed(*stamp)}" for p, stamp in zip(files, stamps, strict=True)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        if not self.folder:
            raise Unfit("precomputed has no maps; name their folder, as in 'precomputed:my_maps'.")
        size = (batch.images.shape[2], batch.images.shape[3])
        made = {name: self._map(name, size) for name in dict.fromkeys(batch.ids)}
        if all(found is None for found in made.values()):
            raise Unfit(
                f"folder {self.folder!r} has no map of {batch.ids[0]!r} or of another picture of its batch; "
                "name the files after the picture ids."
            )
        missing = torch.full(size, torch.nan)
        maps = [missing if (found := made[name]) is None else found for name in batch.ids]
        return torch.stack(maps).to(batch.images.device)

    def _map(self, name: str, size: tuple[int, int]) -> Float[Tensor, "h w"] | None:
        files = [p for stem in stems(name) for s in SUFFIXES if (p := Path(self.folder, stem + s)).is_file()]
        if len(files) > 1:
            raise BadInput(f"precomputed: picture {name!r} has several maps, {_names(files)}; keep one.")
        archives = [p for one in ALL if (p := Path(self.folder, one)).is_file()]
        for file, key in [*((file, None) for file in files), *((archive, name) for archive in archives)]:
            values = _read(file, key)
            if values is not None:
                return checked(values, file, size)
        return None


def stems(name: str) -> list[str]:
    """The file names that a picture's map may have, without suffix; never one outside the folder.

    >>> stems("film 1"), stems("../film")
    (['film 1', 'film%201'], ['..%2Ffilm'])
    """
    encoded = quote(name, safe="")
    inside = ".." not in PurePosixPath(name).parts and not name.startswith("/") and not set(name) & set("\\\0")
    return list(dict.fromkeys([name, encoded] if inside and name else [encoded]))


def checked(values: Tensor, file: Path, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """A map at the picture's size. Raises BadInput where it is no map, or one of another shape."""
    found = (values[0] if values.ndim == 3 and len(values) == 1 else values).float()
    if found.ndim != 2 or not found.numel():
        raise BadInput(f"precomputed: {file.name!r} has shape {tuple(found.shape)}; expected one map, (h, w).")
    (rows, columns), (h, w) = found.shape, size
    if abs(rows * w - columns * h) >= max(h, w):  # half a cell more or less is a matter of rounding
        raise BadInput(
            f"precomputed: {file.name!r} is a map of {rows} x {columns}, and the picture that the classifier sees has "
            f"{h} x {w}; make maps of the resized and padded picture."
        )
    return upsample(found[None], size)[0]


def _read(file: Path, name: str | None) -> Tensor | None:
    """The one array of a file, or that of the picture `name`; None where it has none of this name."""
    try:
        found = _READERS[file.suffix](file, name)
        return found if found is None or isinstance(found, Tensor) else torch.as_tensor(np.asarray(found, np.float64))
    except (OSError, ValueError, TypeError, RuntimeError, UnidentifiedImageError, zipfile.BadZipFile) as error:
        raise BadInput(f"precomputed: {file.name!r} cannot be read as a map: {error}.") from None


def _npz(file: Path, name: str | None) -> Any:
    with np.load(file, allow_pickle=False) as found:
        key = _only(found.files, name)
        return None if key is None else found[key]


def _png(file: Path, _: str | None) -> Any:
    with Image.open(file) as picture:
        if picture.mode not in ("L", "I", "I;16", "1"):
            raise ValueError(f"it is a picture in {picture.mode}, write gray")
        return np.asarray(picture)


def _safetensors(file: Path, name: str | None) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as found:
            key = _only(list(found.keys()), name)
            return None if key is None else found.get_tensor(key)
    except SafetensorError as error:
        raise ValueError(error) from None


def _only(keys: list[str], name: str | None) -> str | None:
    if name is not None:
        return name if name in keys else None
    if len(keys) != 1:
        raise ValueError(f"it holds {len(keys)} arrays, expected one")
    return keys[0]


_READERS: dict[str, Callable[[Path, str | None], Any]] = {
    ".npy": lambda file, _: np.load(file, allow_pickle=False),
    ".npz": _npz,
    ".png": _png,
    ".safetensors": _safetensors,
}


@functools.lru_cache(maxsize=100_000)
def _hashed(path: str, size: int, changed: int) -> str:
    """A file's content, read again when its size or time of change is another."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(files: list[Path]) -> str:
    return " and ".join(repr(p.name) for p in files)
