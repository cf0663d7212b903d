"""Masks as PNG files `<reader>/<region>/<film>.png`, as the dataset `image_folder` reads them.

All black says that the reader marked nothing; no file, that the reader did not read the film or finish it. A repeat
reading is the reader `<name>#2`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from pydantic import ValidationError

from xai_bench.datasets._folder import File, find_masks
from xai_bench.errors import BadInput
from xai_bench.images import image_size, read_image, read_mask
from xai_bench_annotations.drawings import AREAS
from xai_bench_annotations.films.pixels import film_digest
from xai_bench_annotations.films.raster import Mask, brush_of, mask_of
from xai_bench_annotations.formats.content import Content, DrawingRecord, FilmRecord, Found, ReadingRecord


@dataclass(frozen=True)
class Names:
    """What films are called in a folder of class folders, by their digest; the number where a film is not there."""

    of: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, film: FilmRecord) -> str:
        """Without suffix, such as `Normal/a` or `0007`."""
        return self.of.get(film.sha256 or "", film.name)

    @staticmethod
    def from_folder(root: Path) -> Names:
        """Of all PNG and JPEG films in a folder, except its `masks`; reads every one that can be read."""
        names = {}
        for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg")):
            name = path.relative_to(root).as_posix()
            if not name.startswith("masks/"):
                with contextlib.suppress(BadInput):  # such a film is in no project
                    names[film_digest(read_image(path, name=name))] = name.removesuffix(path.suffix)
        return Names(names)


def write(content: Content, notes: list[str], names: Names | None = None) -> Iterator[tuple[str, bytes]]:
    """One mask for each label that a finished reading answers."""
    names = names or Names()
    _note_losses(content, notes)
    for film, reading in content.with_films():
        if reading.state != "done":
            continue
        empty: Mask = np.zeros(film.shape, np.bool_)
        regions = dict.fromkeys(reading.nothing_in, empty)
        for drawing in reading.drawings:
            if drawing.drawn.kind in AREAS:
                mask = mask_of(drawing.drawn, film.shape)
                regions[drawing.label] = regions.get(drawing.label, empty) | mask
        for code, mask in regions.items():
            if code not in reading.nothing_in and not mask.any():
                notes.append(f"Film {film.number}, {reading.who}, {code}: drawn, but no pixel lies in it; it is black.")
            yield f"{reading.who}/{code}/{names(film)}.png", png_bytes(mask)


def png_bytes(mask: Mask) -> bytes:
    """A mask as an 8-bit gray PNG of 0 and 255."""
    stream = io.BytesIO()
    Picture.fromarray(mask.astype(np.uint8) * 255).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _note_losses(content: Content, notes: list[str]) -> None:
    open_readings = [r for r in content.readings if r.state != "done" and (r.drawings or r.nothing_in)]
    drawings = [d for r in content.readings if r.state == "done" for d in r.drawings]
    points = [d for d in drawings if d.drawn.kind not in AREAS]
    lost = {
        f"{len(open_readings)} readings with drawings are not done and are left out.": open_readings,
        f"{len(points)} landmarks and Cobb lines are left out: masks cannot hold them.": points,
        f"{len(drawings) - len(points)} outlines become pixels; areas of one label are united.": drawings,
        "Confidence, notes, revisions, view states and times are left out.": drawings,
    }
    notes += [note for note, found in lost.items() if found]


def read(folder: Path, films: list[FilmRecord], names: Names | None = None) -> Found:
    """Masks as painted pixels, one drawing a region.

    Raises BadInput for a mask of another size than its film, and for a reader or region that has no possible name.
    """
    names = names or Names()
    files = {f"{names(film)}.png": film for film in films}
    masks = find_masks(folder, [File(name, name, "", None) for name in files])
    readings = [
        _reading(film, who, {key.name: path for key, path in sorted(own.items()) if key.reference == who})
        for name, film in files.items()
        for own in [masks.of.get(name, {})]
        for who in sorted({key.reference for key in own})
    ]
    notes = [f"{masks.stray} masks belong to no film of the project and are left out."] if masks.stray else []
    return Found(readings, films, notes, whole=True)


def _reading(film: FilmRecord, who: str, masks: Mapping[str, Path]) -> ReadingRecord:
    """What one reader, `<name>` or `<name>#2`, says of a film."""
    reader, repeat = who.removesuffix("#2"), who.endswith("#2")
    found = {region: _mask(path, film, f"mask {who}/{region}/{film.name}.png") for region, path in masks.items()}
    try:
        return ReadingRecord(
            film=film.number,
            reader=reader,
            read=2 if repeat else 1,
            state="done",
            drawings=[DrawingRecord(label=r, geometry=brush_of(mask)) for r, mask in found.items() if mask.any()],
            nothing_in=[region for region, mask in found.items() if not mask.any()],
        )
    except ValidationError:
        regions = ", ".join(map(repr, masks))
        raise BadInput(
            f"masks of reader {who!r}, {regions}: expected <reader>/<region>/<film>.png with a label's code as region."
        ) from None


def _mask(path: Path, film: FilmRecord, name: str) -> Mask:
    """Its size is checked before it is decoded."""
    if (size := image_size(path, name=name)) != film.shape:
        raise BadInput(f"{name} is {size} pixels, the film {film.shape}; export the mask in the film's own size.")
    return read_mask(path, name=name)
