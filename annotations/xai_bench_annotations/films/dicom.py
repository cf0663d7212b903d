"""One film from a DICOM file. Only the tags named here are read, so no name, date or identifier can come along."""

from __future__ import annotations

import math
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from xai_bench.errors import BadInput
from xai_bench_annotations.films.pixels import BITS, Film, FilmInfo, as_gray, film_digest

_PICTURE = ["SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
            "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "ExtendedOffsetTable",
            "ExtendedOffsetTableLengths"]  # fmt: skip
_VALUES = ["RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth",
           "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
           "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
           "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
           "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
           "SegmentedBluePaletteColorLookupTableData"]  # fmt: skip
_FILM = ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "BurnedInAnnotation", "ViewPosition"]
ALLOWED = (*_PICTURE, *_VALUES, *_FILM)
"""Keywords of all tags that are ever read."""

VIEWS = ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "RAO", "LAO", "RPO", "LPO", "LAT", "LATERAL")
_EXTRA = "xai-bench[dicom]"
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.8.1")
_COMPRESSED = {"1.2.840.10008.1.2.5": "RLE", "1.2.840.10008.1.2.4.50": "JPEG", "1.2.840.10008.1.2.4.51": "12-bit JPEG",
               "1.2.840.10008.1.2.4.57": "lossless JPEG", "1.2.840.10008.1.2.4.70": "lossless JPEG",
               "1.2.840.10008.1.2.4.80": "JPEG-LS", "1.2.840.10008.1.2.4.81": "JPEG-LS",
               "1.2.840.10008.1.2.4.90": "JPEG 2000", "1.2.840.10008.1.2.4.91": "JPEG 2000",
               "1.2.840.10008.1.2.4.201": "HTJ2K", "1.2.840.10008.1.2.4.202": "HTJ2K",
               "1.2.840.10008.1.2.4.203": "HTJ2K"}  # fmt: skip
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")


def read_dicom(path: str, max_megapixels: float) -> Film:
    """The film in a DICOM file, one frame, 8 to 16 bits. Raises BadInput with the reason for any other.

    Signed pixels are shifted to begin at 0 and the intercept with them; color becomes gray. Bits above those stored,
    where old files keep drawings, are cut off.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        syntax = _syntax(path)
        header = _read(path)
        _check(header, max_megapixels)
        array = _pixels(header, syntax)
        return _film(array, header)


def _syntax(path: str) -> str:
    """The transfer syntax, from the file meta information alone: a deflated file grows when its tags are read."""
    try:
        meta = read_file_meta_info(path)
        syntax = str(meta.get("TransferSyntaxUID") or "")
    except Exception as error:  # a damaged file makes the parser fail in any way
        raise BadInput(
            f"this DICOM file has damaged file meta information ({type(error).__name__}); export it again."
        ) from None
    if syntax in _DEFLATED:
        raise BadInput("this DICOM file is deflated, so that its size is unknown; export it in another syntax.")
    if not syntax:
        raise BadInput("this DICOM file does not say its transfer syntax; export it again.")
    if syntax not in (*_NATIVE, *_COMPRESSED):
        name = known if (known := UID(syntax).name) != syntax else "an unknown one"
        raise BadInput(f"this DICOM file has transfer syntax {name!r}, which holds no film that can be read.")
    return syntax


def _read(path: str) -> Dataset:
    try:
        return pydicom.dcmread(path, specific_tags=list(ALLOWED))
    except Exception as error:  # the same
        raise BadInput(f"this DICOM file is damaged ({type(error).__name__}); export it again.") from None


def _check(header: Dataset, max_megapixels: float) -> None:
    """Raises BadInput for what is no single gray or color picture of a size that may be decoded."""
    if "PixelData" not in header:
        raise BadInput("this DICOM file holds no picture (no Pixel Data); leave it out.")
    rows, columns = _whole(header, "Rows"), _whole(header, "Columns")
    frames = _whole(header, "NumberOfFrames", 1) or 1
    if rows * columns * frames > max_megapixels * 1e6:
        raise BadInput(
            f"this DICOM file has {frames} x {columns} x {rows} pixels, over {max_megapixels:g} megapixels; shrink it."
        )
    if frames != 1:
        raise BadInput(f"this DICOM file has {frames} frames; expected one: export the frame that is meant.")
    if rows < 1 or columns < 1:
        raise BadInput(f"this DICOM file has {columns} x {rows} pixels; expected a picture.")
    _check_values(header)


def _check_values(header: Dataset) -> None:
    allocated, stored = _whole(header, "BitsAllocated"), _whole(header, "BitsStored")
    kind, samples = _text(header, "PhotometricInterpretation"), _whole(header, "SamplesPerPixel", 1)
    if kind not in ("MONOCHROME1", "MONOCHROME2", *_COLORS):
        raise BadInput("this DICOM file has no photometric interpretation that can be shown; expected gray or RGB.")
    if samples != (3 if kind in _COLORS[:-1] else 1):
        raise BadInput(f"this DICOM file has {samples} samples a pixel, which does not fit {kind}; export it again.")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise BadInput(f"this DICOM file has {stored} of {allocated} bits a pixel; expected up to 16: it is no film.")
    if _whole(header, "HighBit", stored - 1) != stored - 1:
        raise BadInput("this DICOM file keeps its pixels in the upper bits; export it again with right-aligned ones.")
    if _whole(header, "PixelRepresentation", 0) not in (0, 1):
        raise BadInput("this DICOM file does not say whether its pixels are signed; export it again.")


def _pixels(header: Dataset, syntax: str) -> NDArray[Any]:
    """(h, w) as stored or (h, w, 3) in RGB."""
    name = _COMPRESSED.get(syntax)
    if name and not get_decoder(UID(syntax)).is_available:
        raise BadInput(f"this DICOM file is compressed as {name}; pip install '{_EXTRA}' to read it.")
    try:
        array: NDArray[Any] = pixel_array(header)
        palette = _text(header, "PhotometricInterpretation") == "PALETTE COLOR"
        return apply_color_lut(array, header) if palette else array
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes a decoder fail in any way
        what = f"{type(error).__name__}, {name or 'uncompressed'}"
        helps = name not in (None, "RLE", "12-bit JPEG") and find_spec("gdcm") is None
        export = "export it without compression" if name else "export it again"
        remedy = f"pip install '{_EXTRA}' or convert it" if helps else export
        raise BadInput(f"the pixels of this DICOM file cannot be decoded ({what}); {remedy}.") from None


def _film(array: NDArray[Any], header: Dataset) -> Film:
    pixels, bits, slope, intercept = _stored(array, header)
    row, column, source = _spacing(header)
    center, width = _window(header)
    inverted = _text(header, "PhotometricInterpretation") == "MONOCHROME1"
    view = _text(header, "ViewPosition").upper()
    info = FilmInfo(
        width=pixels.shape[1],
        height=pixels.shape[0],
        bits=bits,
        digest=film_digest(array if array.ndim == 3 else pixels),
        photometric="MONOCHROME1" if inverted else "MONOCHROME2",
        slope=slope,
        intercept=intercept,
        window_center=center,
        window_width=width,
        spacing_row=row,
        spacing_column=column,
        spacing_source=source,
        view=view if view in VIEWS else "",
        notes=_notes(header, array.ndim == 3),
    )
    return Film(pixels, info)


def _stored(array: NDArray[Any], header: Dataset) -> tuple[NDArray[np.uint16], int, float, float]:
    """Pixels from 0, how many bits they use, and the slope and intercept that make shown values of them."""
    if array.ndim == 3:
        gray = as_gray(array)
        return gray, _bits(8 * array.dtype.itemsize), 1.0, 0.0
    if "ModalityLUTSequence" in header:
        table = apply_modality_lut(array, header)
        if table.dtype.kind == "u":
            return table.astype(np.uint16), _bits(int(table.max()).bit_length()), 1.0, 0.0
    stored = _whole(header, "BitsStored")
    slope, intercept = _number(header, "RescaleSlope", 1.0), _number(header, "RescaleIntercept", 0.0)
    pixels = array.astype(np.uint16) & np.uint16((1 << stored) - 1)
    if _whole(header, "PixelRepresentation", 0) == 1:
        half = 1 << (stored - 1)
        pixels ^= np.uint16(half)  # two's complement to offset binary
        intercept -= slope * half
    return pixels, _bits(stored), slope, intercept


def _spacing(header: Dataset) -> tuple[float | None, float | None, Any]:
    """mm between rows and columns, and the tag they stand in.

    Pixel Spacing that differs from the detector's is calibrated and counts first (DICOM PS3.3 section 10.7.1.3).
    """
    plane = _pair(header, "ImagerPixelSpacing")
    calibrated = _pair(header, "PixelSpacing")
    if calibrated and calibrated != plane:
        return *calibrated, "PixelSpacing"
    if plane:
        return *plane, "ImagerPixelSpacing"
    scanned = _pair(header, "NominalScannedPixelSpacing")
    return (*scanned, "NominalScannedPixelSpacing") if scanned else (None, None, None)


def _window(header: Dataset) -> tuple[float | None, float | None]:
    center, width = _number(header, "WindowCenter", math.nan), _number(header, "WindowWidth", math.nan)
    good = math.isfinite(center) and math.isfinite(width) and width > 0
    return (center, width) if good else (None, None)


def _notes(header: Dataset, color: bool) -> tuple[str, ...]:
    burned = _text(header, "BurnedInAnnotation").upper()
    notes = ["The film is in color and is shown in gray."] if color else []
    if burned == "YES":
        notes.append("The header says that text is burned into the picture; look for names before use.")
    elif burned != "NO":
        notes.append("The header does not say that no text is burned into the picture; look for names before use.")
    return tuple(notes)


def _bits(used: int) -> int:
    return next(bits for bits in BITS if used <= bits)


def _whole(header: Dataset, keyword: str, default: int = 0) -> int:
    """A tag as a whole number, its default where it is missing, empty or no number."""
    number = _number(header, keyword, float(default))
    return int(number) if math.isfinite(number) else default


def _number(header: Dataset, keyword: str, default: float) -> float:
    """A tag's first number, its default where it is missing, empty or no number."""
    try:
        value = header.get(keyword)
        first = value if isinstance(value, int | float | str) else value[0]
        return float(first)
    except Exception:  # values are converted when they are asked for, and any can be damaged
        return default


def _pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    """Two positive lengths in mm, row and column."""
    try:
        row, column = (float(v) for v in header[keyword].value)
    except Exception:  # the same
        return None
    return (row, column) if 0 < row < 100 and 0 < column < 100 else None


def _text(header: Dataset, keyword: str) -> str:
    try:
        return str(header.get(keyword) or "").strip()
    except Exception:  # the same
        return ""
