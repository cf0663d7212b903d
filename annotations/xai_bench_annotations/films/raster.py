"""From drawn geometries to pixels, and run lengths as COCO has them.

A pixel belongs to an area if its center does, and a center on the outline is inside, as `xai_bench.polygons` has it;
so a region is the same in an export, in a consensus and in the benchmark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from xai_bench.errors import BadInput
from xai_bench.polygons import polygon_mask
from xai_bench_annotations.drawings import AREAS, Brush, Cobb, Geometry, Landmark, Point, Polygon, Rectangle

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Shape = tuple[int, int]
Drawn = Polygon | Rectangle | Brush | Landmark | Cobb

_GEOMETRY: TypeAdapter[Drawn] = TypeAdapter(Geometry)


class _Row(Protocol):
    """What is needed of an `Annotation`."""

    label: Any
    geometry: Any
    deleted: Any


def geometry_of(stored: Drawn | Mapping[str, Any]) -> Drawn:
    """A geometry from its JSON. Raises BadInput for one that is none.

    >>> geometry_of({"kind": "landmark", "at": [3, 4.5]})
    Landmark(kind='landmark', at=(3.0, 4.5))
    """
    if not isinstance(stored, Mapping):
        return stored
    try:
        return _GEOMETRY.validate_python(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"a geometry cannot be used: {where}: {first['msg']}; draw it again.") from None


def mask_of(geometry: Drawn | Mapping[str, Any], shape: Shape) -> Mask:
    """Pixels of a film of `shape` (height, width) that an area covers; what lies outside the film is cut off.

    Raises BadInput for a landmark or Cobb lines, which cover none, and for painted pixels of another film's size.

    >>> mask_of({"kind": "rectangle", "x": 1, "y": 0, "width": 2, "height": 1}, (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    drawn = geometry_of(geometry)
    match drawn:
        case Polygon():
            mask = polygon_mask(np.array(drawn.exterior), shape)
            for hole in drawn.holes:
                mask &= ~polygon_mask(np.array(hole), shape)
            return mask
        case Rectangle():
            return polygon_mask(np.array(rectangle_ring(drawn)), shape)
        case Brush():
            if drawn.size != tuple(shape):
                raise BadInput(f"painted pixels of a film of {drawn.size} stand on one of {tuple(shape)}.")
            return decode_runs(drawn.counts, drawn.size)
    raise BadInput(f"a {drawn.kind} covers no pixels; expected one of {', '.join(AREAS)}.")


def rectangle_ring(rectangle: Rectangle) -> list[Point]:
    """The four corners, clockwise on the screen from the upper left one."""
    left, top = rectangle.x, rectangle.y
    right, bottom = left + rectangle.width, top + rectangle.height
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def region_of(annotations: Iterable[_Row], shape: Shape) -> dict[str, Mask]:
    """Label -> its areas united, of one reading's drawings; what is deleted or no area does not count."""
    regions: dict[str, Mask] = {}
    for row in annotations:
        geometry = geometry_of(row.geometry)
        if row.deleted or geometry.kind not in AREAS:
            continue
        mask = mask_of(geometry, shape)
        regions[row.label] = regions[row.label] | mask if row.label in regions else mask
    return regions


# --- run lengths ----------------------------------------------------------------------------------------------------


def encode_runs(mask: Mask) -> list[int]:
    """Run lengths of 0s and 1s in turn, column after column, the first of 0s; COCO's uncompressed counts.

    >>> encode_runs(np.array([[0, 1], [1, 1]], bool))
    [1, 3]
    >>> encode_runs(np.array([[1, 0]], bool))
    [0, 1, 1]
    """
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def decode_runs(counts: Sequence[int], shape: Shape) -> Mask:
    """The pixels of run lengths. Raises BadInput unless they cover the film of `shape` (height, width) exactly."""
    runs = np.asarray(counts, dtype=np.int64)
    if (runs < 0).any() or runs.sum() != shape[0] * shape[1]:
        raise BadInput(f"run lengths cover {int(runs.sum())} pixels; expected {shape[0] * shape[1]}.")
    values = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape((shape[1], shape[0])).T)


def brush_of(mask: Mask) -> Brush:
    """Painted pixels as a geometry."""
    return Brush(kind="mask", size=(mask.shape[0], mask.shape[1]), counts=encode_runs(mask))


def pack_runs(counts: Sequence[int]) -> str:
    """COCO's text of run lengths: from the fourth on the difference to the last but one, six bits a character.

    Source: rleToString in cocoapi/common/maskApi.c.

    >>> pack_runs([1, 3])
    '13'
    """
    text = []
    for place, count in enumerate(counts):
        rest = count - counts[place - 2] if place > 2 else count
        while True:
            low, rest = rest & 31, rest >> 5
            more = rest != (-1 if low & 16 else 0)
            text.append(chr((low | 32 if more else low) + 48))
            if not more:
                break
    return "".join(text)


def unpack_runs(text: str) -> list[int]:
    """Run lengths from COCO's text. Raises BadInput for text that is none.

    >>> unpack_runs("13")
    [1, 3]
    """
    counts: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 60:
            raise BadInput("a run length text holds other characters than COCO's; export the masks again.")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value |= -1 << bits
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = bits = 0
    if bits or any(count < 0 for count in counts):
        raise BadInput("a run length text is cut off or holds a negative length; export the masks again.")
    return counts
