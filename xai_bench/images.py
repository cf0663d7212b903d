"""Pictures and masks from files, safely: an allow-list of formats, a size cap before decoding, no silent repair."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from xai_bench.errors import BadInput

FORMATS = ("PNG", "JPEG")
MAX_MEGAPIXELS = 64.0
ROWS = 512
"""So many are laid on black at once."""
_GRAY16 = ("I;16", "I;16L", "I;16B", "I")


def read_image(path: Path | str, *, name: str, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[Any]:
    """A PNG or JPEG as (h, w) or (h, w, 3) of uint8, or (h, w) of uint16; turned upright where the file says so.

    Color whose three channels are equal becomes (h, w). Transparency is laid on black, as the background of a film is.
    Raises BadInput, naming the picture `name`, for a file that is missing, empty, damaged, too large or another kind.
    """
    with _opened(path, name, max_megapixels, FORMATS) as picture:
        return _to_array(picture, name)


def image_size(path: Path | str, *, name: str, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[int, int]:
    """(height, width) in pixels as `read_image` would give them, from the header alone. Raises BadInput as it does."""
    with _opened(path, name, max_megapixels, FORMATS) as picture:
        width, height = picture.size
        lies = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (width, height) if lies else (height, width)


def read_mask(path: Path | str, *, name: str, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.bool_]:
    """A PNG mask as (h, w) booleans: what is not black (and not transparent) is inside.

    Gray, color, palette and 1-bit masks of any depth will do, with one value or color value besides black. Raises
    BadInput, naming the mask `name`, as `read_image` does, and for a mask with more values, such as a smoothed one.
    """
    with _opened(path, name, max_megapixels, ("PNG",)) as picture:
        values = _to_array(picture, name)
    values = values.max(axis=2) if values.ndim == 3 else values
    inside = np.unique(values[values > 0])
    if len(inside) > 1:
        raise BadInput(
            f"{name} holds {len(inside)} different values besides black; expected one, such as 0/1 or 0/255: "
            "save the mask without smoothing, one region a file."
        )
    found: NDArray[np.bool_] = values > 0
    return found


@contextmanager
def _opened(path: Path | str, name: str, max_megapixels: float, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """The opened, not yet decoded picture; whatever goes wrong with it, then or later, becomes one BadInput."""
    kinds = " or ".join(formats)
    try:
        if Path(path).stat().st_size == 0:
            raise BadInput(f"{name} is an empty file; expected a {kinds} picture: copy it again or remove it.")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning of Pillow means a file that it had to guess at
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own cap is stricter or chosen
            with Image.open(path, formats=formats) as picture:
                _check_size(picture, name, max_megapixels)
                yield picture
    except BadInput:
        raise
    except FileNotFoundError:
        raise BadInput(f"{name} does not exist; restore the file or take it out of the list.") from None
    except UnidentifiedImageError:
        raise BadInput(f"{name} is not a readable {kinds} picture; convert it, copy it again or remove it.") from None
    except Exception as error:  # a damaged file makes a decoder fail in any way
        reason = type(error).__name__ if str(path) in str(error) else f"{type(error).__name__}: {error}"
        raise BadInput(f"{name} is damaged ({reason}); copy it again or remove it.") from None


def _check_size(picture: Image.Image, name: str, max_megapixels: float) -> None:
    width, height = picture.size
    if width * height > max_megapixels * 1e6:
        raise BadInput(
            f"{name} has {width} x {height} pixels, over {max_megapixels:g} megapixels; shrink it or raise the cap."
        )
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise BadInput(f"{name} holds {frames} frames; expected one picture: save the frame that is meant.")


def _to_array(picture: Image.Image, name: str) -> NDArray[Any]:
    _refuse_lossy(picture, name)
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)  # every copy of a large film takes hundreds of megabytes
    if picture.mode in _GRAY16:
        return np.asarray(picture).astype(np.uint16)
    if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
        colors = _on_black(picture)
    elif picture.mode in ("1", "L"):
        return np.array(picture.convert("L"))
    else:
        colors = np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    return np.ascontiguousarray(colors[..., 0]) if _is_gray(colors) else colors


def _on_black(picture: Image.Image) -> NDArray[np.uint8]:
    """Some rows at a time, because laying it takes four copies of them."""
    found = np.empty((picture.height, picture.width, 3), np.uint8)
    for top in range(0, picture.height, ROWS):
        part = picture.crop((0, top, picture.width, min(top + ROWS, picture.height))).convert("RGBA")
        black = Image.new("RGBA", part.size, (0, 0, 0, 255))
        found[top : top + ROWS] = np.asarray(Image.alpha_composite(black, part).convert("RGB"))
    return found


def _refuse_lossy(picture: Image.Image, name: str) -> None:
    """Refuse what Pillow could only decode with a loss, or to colors that depend on a press."""
    raw = str(picture.tile[0]) if isinstance(picture, ImageFile.ImageFile) and picture.tile else ""
    if picture.mode not in (*_GRAY16, "1", "L", "LA", "P", "RGB", "RGBA"):
        raise BadInput(f"{name} has color mode {picture.mode}; expected gray, RGB or a palette: convert it to gray.")
    if ";16" in raw and picture.mode not in _GRAY16:
        raise BadInput(
            f"{name} has 16 bits a color channel; expected 8, or 16 bits of gray: convert it to 16-bit gray."
        )


def _is_gray(colors: NDArray[np.uint8]) -> bool:
    return np.array_equal(colors[..., 0], colors[..., 1]) and np.array_equal(colors[..., 0], colors[..., 2])
