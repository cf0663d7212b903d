"""Films, heatmaps and outlines as small images that a page can lay over each other."""

import base64
import io
from dataclasses import dataclass

import matplotlib
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating]
POSITIVE = matplotlib.colormaps["inferno"]
# Bright at both ends, unlike the usual diverging maps: films are dark.
SIGNED = LinearSegmentedColormap.from_list("signed", ["#53b4ff", "#3a7fd0", "#808080", "#d9603a", "#ff5a36"])
FAINT = 0.85  # opacity of the largest value


@dataclass(frozen=True)
class Panel:
    """A method's map that lies over a film; no URI where the method made none."""

    method: str
    uri: str
    note: str


def panel(method: str, saliency: Float[Array, "h w"] | None, *, signed: bool) -> Panel:
    """The map as `heatmap` draws it, and what must be said of it."""
    if saliency is None:
        return Panel(method, "", "no map")
    note = "constant" if constant(saliency) else "signed" if signed else ""
    return Panel(method, heatmap(saliency, signed=signed), note)


def film(image: Float[Array, "h w"]) -> str:
    """A gray film in [0, 1] as a PNG data URI."""
    return _uri(Image.fromarray(_bytes(image)))


def heatmap(saliency: Float[Array, "h w"], *, signed: bool) -> str:
    """A map as a transparent PNG: divided by its largest absolute value, the film shows through where it is small.

    Positive parts only, unless `signed`: then red speaks for the class and blue against it. A constant map, which says
    nothing, is fully transparent.
    """
    levels = np.linspace(-1 if signed else 0, 1, 256)
    scaled = np.zeros_like(saliency) if constant(saliency) else normalized(saliency, signed=signed)
    picture = Image.fromarray(_bytes((scaled + 1) / 2 if signed else scaled), "P")
    picture.putpalette(_bytes(_color(levels, signed)).tobytes())
    return _uri(picture, transparency=_bytes(_opacity(levels)).tobytes())


def constant(saliency: Float[Array, "h w"]) -> bool:
    """Whether all pixels are equal, or none is a number: a map without information."""
    finite = saliency[np.isfinite(saliency)]
    return finite.size == 0 or float(np.ptp(finite)) == 0


def normalized(saliency: Float[Array, "h w"], *, signed: bool) -> Float[Array, "h w"]:
    """In [0, 1] or, if signed, [-1, 1]; NaN and infinite pixels count as 0.

    >>> normalized(np.array([[-2.0, 1.0]]), signed=True).tolist()
    [[-1.0, 0.5]]
    >>> normalized(np.array([[-2.0, 1.0]]), signed=False).tolist()
    [[0.0, 1.0]]
    """
    clean = np.where(np.isfinite(saliency), saliency, 0.0)
    clean = clean if signed else np.maximum(clean, 0)
    largest = np.abs(clean).max(initial=0)
    return clean / largest if largest > 0 else clean


def blend(image: Float[Array, "h w"], saliency: Float[Array, "h w"], *, signed: bool) -> Float[Array, "h w 3"]:
    """The film with the map laid over it as `heatmap` does, as colors in [0, 1]."""
    scaled = np.zeros_like(saliency) if constant(saliency) else normalized(saliency, signed=signed)
    opacity = _opacity(scaled.ravel())[:, None]
    mixed = opacity * _color(scaled.ravel(), signed) + (1 - opacity) * image.reshape(-1, 1)
    return mixed.reshape(*image.shape, 3)


def legend(*, signed: bool) -> str:
    """The colors of `heatmap` on mid gray, from its least to its largest value, as a PNG data URI."""
    values = np.linspace(-1 if signed else 0, 1, 160)
    opacity = _opacity(values)[:, None]
    strip = opacity * _color(values, signed) + (1 - opacity) * 0.35
    return _uri(Image.fromarray(_bytes(strip)[None].repeat(10, 0)))


def outline(region: Bool[NDArray[np.bool_], "h w"]) -> str:
    """The borders of a region as an SVG path along pixel edges.

    >>> outline(np.array([[True]]))
    'M0 0H1M0 1H1M0 0V1M1 0V1'
    """
    padded = np.pad(region, 1)
    level = padded[1:, 1:-1] != padded[:-1, 1:-1]  # an edge above pixel (row, column)
    upright = padded[1:-1, 1:] != padded[1:-1, :-1]
    across = [f"M{a} {y}H{b}" for y, row in enumerate(level) for a, b in _runs(row)]
    down = [f"M{x} {a}V{b}" for x, column in enumerate(upright.T) for a, b in _runs(column)]
    return "".join(across + down)


def _runs(line: Bool[NDArray[np.bool_], "n"]) -> list[tuple[int, int]]:
    """Begin and end of each run of True."""
    turns = np.flatnonzero(np.diff(np.pad(line, 1).astype(np.int8)))
    return [(int(a), int(b)) for a, b in turns.reshape(-1, 2)]


def _color(values: Float[Array, "n"], signed: bool) -> Float[Array, "n 3"]:
    """The least positive value is not black: on a dark film it could not be told from none."""
    return np.asarray((SIGNED(values / 2 + 0.5) if signed else POSITIVE(0.25 + 0.75 * values))[:, :3])


def _opacity(values: Float[Array, "n"]) -> Float[Array, "n"]:
    """In proportion to the root of the value: weak evidence stays visible; what rounds to nothing is not shown."""
    shown = np.where(np.abs(values) < 0.005, 0, np.abs(values))
    return np.asarray(FAINT * np.sqrt(shown))


def _bytes(values: Array) -> NDArray[np.uint8]:
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _uri(picture: Image.Image, transparency: bytes | None = None) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True, transparency=transparency)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
