"""COCO JSON: outlines as polygons, painted pixels and outlines with holes as run lengths, points as keypoints.

Coordinates are COCO's: pixel (column c, row r) covers [c, c+1) x [r, r+1), which is ours too. `attributes` hold the
reader, the reading and the kind of drawing; the key `readings`, which other tools ignore, holds states and the labels
with nothing to mark. Source of the format: cocodataset.org/#format-data and cocoapi.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from xai_bench.errors import BadInput
from xai_bench_annotations.drawings import Brush, Cobb, Landmark, Polygon, Rectangle
from xai_bench_annotations.films.raster import (
    Drawn,
    Mask,
    Shape,
    brush_of,
    geometry_of,
    mask_of,
    pack_runs,
    rectangle_ring,
    unpack_runs,
)
from xai_bench_annotations.formats.content import Content, DrawingRecord, FilmRecord, Found, ReadingRecord

FILE = "annotations.json"
_POINTS = {"landmark": ["point"], "cobb": ["upper left", "upper right", "lower left", "lower right"]}
_READING = {"film", "reader", "read", "state", "nothing_in", "flag_reason"}


# --- out ------------------------------------------------------------------------------------------------------------


def write(content: Content, notes: list[str]) -> Iterator[tuple[str, bytes]]:
    """The one file."""
    _note_losses(content, notes)
    places = {label.code: place for place, label in enumerate(content.labels.labels, start=1)}
    found = [
        {"id": number, "image_id": film.number, "category_id": places[drawing.label]}
        | _annotation(film, reading, drawing)
        for number, (film, reading, drawing) in enumerate(_flat(content), start=1)
    ]
    images = [{"id": f.number, "file_name": f"{f.name}.png", **f.model_dump(exclude={"number"})} for f in content.films]
    document = {
        "info": {"description": content.name, "pixels": "pixel (c, r) covers [c, c+1) x [r, r+1)"},
        "licenses": [],
        "images": images,
        "categories": _categories(content, places),
        "annotations": found,
        "readings": [r.model_dump(mode="json", include=_READING) for r in content.readings],
    }
    yield FILE, json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _flat(content: Content) -> Iterator[tuple[FilmRecord, ReadingRecord, DrawingRecord]]:
    return ((film, reading, drawing) for film, reading in content.with_films() for drawing in reading.drawings)


def _categories(content: Content, places: Mapping[str, int]) -> list[dict[str, Any]]:
    """The labels; one that may hold points has keypoints, of the kind with more of them."""
    return [
        {"id": places[label.code], "name": label.code, "supercategory": label.inside or ""}
        | next(({"keypoints": _POINTS[k], "skeleton": []} for k in ("cobb", "landmark") if k in label.kinds), {})
        for label in content.labels.labels
    ]


def _annotation(film: FilmRecord, reading: ReadingRecord, drawing: DrawingRecord) -> dict[str, Any]:
    attributes = {
        "id": drawing.id,
        "reader": reading.reader,
        "read": reading.read,
        "rev": drawing.rev,
        "kind": drawing.drawn.kind,
        "confidence": drawing.confidence,
        "note": drawing.note,
    }
    return {"iscrowd": 0, **_shape_of(drawing.drawn, film.shape), "attributes": attributes}


def _shape_of(drawn: Drawn, shape: Shape) -> dict[str, Any]:
    """Segmentation or keypoints, box (x, y, width, height) and area in pixels."""
    match drawn:
        case Landmark():
            return _keypoints([drawn.at])
        case Cobb():
            return _keypoints([*drawn.upper, *drawn.lower])
        case Polygon() if not drawn.holes:
            return _polygon(drawn.exterior)
        case Rectangle():
            return _polygon(rectangle_ring(drawn)) | {"bbox": [drawn.x, drawn.y, drawn.width, drawn.height]}
    mask = mask_of(drawn, shape)
    runs = {"size": list(shape), "counts": pack_runs(brush_of(mask).counts)}
    return {"segmentation": runs, "bbox": _mask_box(mask), "area": int(mask.sum())}


def _keypoints(points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    flat = [value for x, y in points for value in (x, y, 2)]  # 2: labeled and visible
    return {"keypoints": flat, "num_keypoints": len(points), "segmentation": [], "bbox": _box(points), "area": 0}


def _polygon(ring: Sequence[tuple[float, float]]) -> dict[str, Any]:
    x, y = np.asarray(ring, dtype=np.float64).T
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return {"segmentation": [[value for point in ring for value in point]], "bbox": _box(ring), "area": area}


def _box(points: Sequence[tuple[float, float]]) -> list[float]:
    x, y = zip(*points, strict=True)
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _mask_box(mask: Mask) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return [0, 0, 0, 0]
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


def _note_losses(content: Content, notes: list[str]) -> None:
    drawings = [drawing for _, _, drawing in _flat(content)]
    holes = sum(isinstance(d.drawn, Polygon) and bool(d.drawn.holes) for d in drawings)
    if holes:
        notes.append(f"{holes} outlines with holes become pixels (run lengths).")
    if drawings:
        notes.append("View states and times are left out.")


# --- in -------------------------------------------------------------------------------------------------------------


def read(folder: Path, films: list[FilmRecord], reader: str | None) -> Found:
    """The readings in the one JSON file of a folder; `reader` is whose the drawings are that do not say.

    Films are found by `sha256` where the file has it, else by the number that is their file name. Raises BadInput for
    a file that is no COCO JSON, and for drawings without a reader.
    """
    document, notes = _document(folder), Counter[str]()
    try:
        there = _films(document["images"], films, notes)
        names = {category["id"]: category["name"] for category in document["categories"]}
        drawings: dict[tuple[int, str, int], list[DrawingRecord]] = defaultdict(list)
        for entry in document["annotations"]:
            film = there.get(entry["image_id"])
            if film is not None:
                own = entry.get("attributes") or {}
                who = (film.number, _reader(own, reader), int(own.get("read", 1)))
                drawings[who] += _drawings(entry, own, names, film, notes)
        readings = _readings(document.get("readings") or [], there, drawings)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        what = error.errors(include_input=False)[0]["msg"] if isinstance(error, ValidationError) else repr(error)
        raise BadInput(f"the COCO file cannot be used: {what[:200]}; export it again.") from None
    return Found(readings, list(there.values()), [f"{note} ({count})" for note, count in sorted(notes.items())])


def _document(folder: Path) -> dict[str, Any]:
    files = sorted(folder.glob("*.json"))
    if len(files) != 1:
        raise BadInput(f"there are {len(files)} JSON files in what is imported; expected one COCO file.")
    try:
        document = json.loads(files[0].read_bytes())
    except (ValueError, RecursionError):
        raise BadInput("the COCO file is not JSON; export it again.") from None
    if not isinstance(document, dict) or not {"images", "categories", "annotations"} <= set(document):
        raise BadInput("the COCO file has no images, categories and annotations; is it another format?")
    return document


def _films(images: Sequence[Any], films: list[FilmRecord], notes: Counter[str]) -> dict[Any, FilmRecord]:
    """The file's image ids and the project's films that they are."""
    digests, numbers = {f.sha256: f for f in films}, {f.number: f for f in films}
    there: dict[Any, FilmRecord] = {}
    for image in images:
        stem = Path(str(image.get("file_name", ""))).stem
        number = numbers.get(int(stem)) if stem.isdecimal() and len(stem) < 10 else None
        film = digests.get(image["sha256"]) if image.get("sha256") else number
        if film is None:
            notes["films of the file that are not in the project, left out with their drawings"] += 1
        elif (image["height"], image["width"]) != film.shape:
            raise BadInput(f"film {film.number} is {film.shape} pixels, in the COCO file another size.")
        else:
            there[image["id"]] = film
    return there


def _reader(own: Mapping[str, Any], reader: str | None) -> str:
    name = own.get("reader") or reader
    if not name:
        raise BadInput("the COCO file does not say who drew (attributes.reader); name the reader of the import.")
    return str(name)


def _readings(
    said: Sequence[Mapping[str, Any]],
    there: Mapping[Any, FilmRecord],
    drawings: Mapping[tuple[int, str, int], list[DrawingRecord]],
) -> list[ReadingRecord]:
    """What the file says of readings, with their drawings; those it does not speak of are in progress."""
    found = {}
    for entry in said:
        film = there.get(entry["film"])
        if film is not None:
            reading = ReadingRecord.model_validate({**entry, "film": film.number})
            found[film.number, reading.reader, reading.read] = reading
    for film_number, name, number in drawings:
        found.setdefault(
            (film_number, name, number), ReadingRecord(film=film_number, reader=name, read=number, state="in_progress")
        )
    return [reading.model_copy(update={"drawings": drawings.get(key, [])}) for key, reading in found.items()]


def _drawings(
    entry: Mapping[str, Any],
    own: Mapping[str, Any],
    names: Mapping[Any, str],
    film: FilmRecord,
    notes: Counter[str],
) -> list[DrawingRecord]:
    geometries = _geometries(entry, str(own.get("kind", "")), film, notes)
    alone = len(geometries) == 1
    return [
        DrawingRecord(
            id=own.get("id") if alone else None,
            label=names[entry["category_id"]],
            geometry=geometry,
            confidence=own.get("confidence"),
            note=own.get("note") or "",
            rev=own.get("rev") or 1,
        )
        for geometry in geometries
    ]


def _geometries(entry: Mapping[str, Any], kind: str, film: FilmRecord, notes: Counter[str]) -> list[Drawn]:
    """What one annotation draws: several outlines where its segmentation has several parts."""
    parts, points = entry.get("segmentation"), entry.get("keypoints")
    if isinstance(parts, Mapping):
        counts = parts["counts"]
        runs = unpack_runs(counts) if isinstance(counts, str) else counts
        return [_brush(runs, parts["size"], film)]
    if parts:
        if len(parts) > 1:
            notes["outlines of several parts, taken over as several drawings"] += 1
        return [_outline(part, kind, entry.get("bbox")) for part in parts]
    if points:
        return _points(points, kind)
    x, y, width, height = entry["bbox"]
    notes["boxes without an outline, taken over as rectangles"] += 1
    return [Rectangle(kind="rectangle", x=x, y=y, width=width, height=height)]


def _brush(counts: Sequence[int], size: Sequence[int], film: FilmRecord) -> Brush:
    if tuple(size) != film.shape:
        raise BadInput(f"run lengths of a film of {tuple(size)} stand on film {film.number} of {film.shape} pixels.")
    return Brush(kind="mask", size=film.shape, counts=list(counts))


def _outline(flat: Sequence[float], kind: str, box: Any) -> Drawn:
    """A ring of x, y in turn; what was a rectangle is one again if its corners are still those of its box."""
    ring = list(zip(flat[::2], flat[1::2], strict=True))
    if kind == "rectangle" and isinstance(box, list) and len(box) == 4 and min(box[2:]) > 0:
        rectangle = Rectangle(kind="rectangle", x=box[0], y=box[1], width=box[2], height=box[3])
        if rectangle_ring(rectangle) == ring:
            return rectangle
    return geometry_of({"kind": "freehand" if kind == "freehand" else "polygon", "exterior": ring})


def _points(flat: Sequence[float], kind: str) -> list[Drawn]:
    """Cobb lines of four keypoints, else a landmark each; those that are not marked (visibility 0) are none."""
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    points = [(x, y) for x, y, visible in triples if visible]
    if kind == "cobb" and len(points) == 4:
        return [geometry_of({"kind": "cobb", "upper": points[:2], "lower": points[2:]})]
    return [Landmark(kind="landmark", at=point) for point in points]
