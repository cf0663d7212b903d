"""A decoded film: 16-bit gray pixels for display, what is known of them, and the digest by which it is found."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xai_bench.errors import BadInput

BITS = (8, 10, 12, 14, 16)
_RED, _GREEN, _BLUE = 19595, 38470, 7471  # ITU-R 601 weights in 65536ths, as Pillow has them


@dataclass(frozen=True)
class FilmInfo:
    """What is kept of a film beside its pixels; nothing else of a file is.

    A shown value is `pixel * slope + intercept`, and the window is in shown values. Spacings are mm. `notes` are
    sentences for who added the film.
    """

    width: int
    height: int
    bits: int
    digest: str
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2"
    slope: float = 1.0
    intercept: float = 0.0
    window_center: float | None = None
    window_width: float | None = None
    spacing_row: float | None = None
    spacing_column: float | None = None
    spacing_source: Literal["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "dataset"] | None = None
    view: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers = [v for v in (self.slope, self.intercept, self.window_center, self.window_width) if v is not None]
        if not all(map(math.isfinite, numbers)) or self.slope == 0:
            raise BadInput("the film's rescale slope, intercept or window is not a usable number; correct its header.")
        if self.bits not in BITS or self.width < 1 or self.height < 1:
            raise BadInput(f"a film of {self.width} x {self.height} pixels of {self.bits} bits cannot be used.")


@dataclass(frozen=True, eq=False)
class Film:
    """Pixels as they are stored, (height, width) of uint16, and what is known of them."""

    pixels: NDArray[np.uint16] = field(repr=False)
    info: FilmInfo


def film_digest(array: NDArray[Any]) -> str:
    """SHA-256 of a decoded picture: of its size and values, whatever type holds them. (h, w) or (h, w, 3).

    A film that `xai_bench.images.read_image` decodes and the same film in a project have one digest. Color of three
    equal channels counts as gray.

    >>> gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    >>> film_digest(gray) == film_digest(gray.astype(np.uint16)) == film_digest(np.stack([gray] * 3, axis=2))
    True
    >>> film_digest(gray) == film_digest(gray.reshape(3, 2))
    False
    """
    values = _checked(array)
    kind = "<f8" if values.dtype.kind == "f" else "<u2"
    total = hashlib.sha256(f"{values.shape} {kind}".encode())
    total.update(np.ascontiguousarray(values, dtype=kind).data)
    return total.hexdigest()


def film_of(array: NDArray[Any], spacing: tuple[float, float] | None = None) -> Film:
    """A film from a decoded picture: (h, w) or (h, w, 3) of uint8, uint16 or floats in [0, 1].

    Color becomes gray for display; its digest is still that of the colors. Floats take the whole 16 bits.
    `spacing` is mm between rows and between columns.
    """
    values = _checked(array)
    notes = ("The film is in color and is shown in gray.",) if values.ndim == 3 else ()
    gray, narrow = as_gray(values), array.dtype.itemsize == 1
    row, column = spacing if spacing else (None, None)
    info = FilmInfo(
        width=gray.shape[1],
        height=gray.shape[0],
        bits=8 if narrow else bits_of(int(gray.max(initial=0))),
        digest=film_digest(values),
        spacing_row=row,
        spacing_column=column,
        spacing_source="dataset" if spacing else None,
        notes=notes,
    )
    return Film(gray, info)


def bits_of(highest: int) -> int:
    """The fewest of 8, 10, 12, 14, 16 bits that hold a value.

    >>> [bits_of(v) for v in (0, 255, 256, 4095, 65535)]
    [8, 8, 10, 12, 16]
    """
    return next(bits for bits in BITS if highest < 1 << bits)


def as_gray(values: NDArray[Any]) -> NDArray[np.uint16]:
    """(h, w) of uint16; floats times 65535, colors by the weights of ITU-R 601, rounded. A band of rows at a time."""
    gray = np.empty(values.shape[:2], np.uint16)
    for top in range(0, len(values), 256):
        band = values[top : top + 256]
        if band.dtype.kind == "f":
            band = np.round(band * 65535).astype(np.uint16)
        if band.ndim == 3:
            wide = band.astype(np.uint32)
            band = (wide[..., 0] * _RED + wide[..., 1] * _GREEN + wide[..., 2] * _BLUE + 32768) >> 16
        gray[top : top + 256] = band
    return gray


def _checked(array: NDArray[Any]) -> NDArray[Any]:
    """The picture, without channels where all three are equal. Raises BadInput for what is no picture."""
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise BadInput(f"a picture has shape {array.shape}; expected (height, width) or (height, width, 3).")
    if array.ndim == 3 and all(np.array_equal(array[..., 0], array[..., c]) for c in (1, 2)):
        array = array[..., 0]
    low, high = array.min(), array.max()
    limit = 1 if array.dtype.kind == "f" else 65535
    if array.dtype.kind not in "uif" or not (low >= 0 and high <= limit):
        raise BadInput(f"a picture of {array.dtype} has values {low} to {high}; expected 0 to {limit}.")
    return array
