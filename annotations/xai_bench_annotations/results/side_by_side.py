"""What all readers said of one film, for who looks at the results: outlines, points, lines and measures by label."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from xai_bench.consensus import Mask
from xai_bench_annotations.drawings import AREAS, Cobb, Label, LabelSchema
from xai_bench_annotations.results.measuring import observations
from xai_bench_annotations.results.readings import Film, Reading, cobb_degrees, film_of, find_image, schema_of

LONGEST = 1200
"""Pixels along the longer side of the picture on which outlines are shown."""


def scale_of(shape: tuple[int, int]) -> float:
    """Shown pixels for one pixel of the film."""
    return min(1.0, LONGEST / max(shape))


def side_by_side(session: Session, image: str) -> dict[str, Any]:
    """All first readings of a film, and the measures of every pair. Raises Refusal: 404, and 423 while one is open."""
    found = find_image(session, image)
    film, schema = film_of(session, found), schema_of(found.project)
    height, width = film.shape
    return {
        "image": film.id,
        "number": film.number,
        "width": width,
        "height": height,
        "scale": scale_of(film.shape),
        "spacing_mm": film.spacing_mm,
        "readers": list(film.first),
        "labels": [_label(film, label) for label in schema.labels],
        "measures": measures(film, schema),
    }


def _label(film: Film, label: Label) -> dict[str, Any]:
    return {
        "code": label.code,
        "name": label.name,
        "area": bool(set(label.kinds) & set(AREAS)),
        "readers": {who: _said(reading, label.code) for who, reading in film.first.items()},
    }


def _said(reading: Reading, label: str) -> dict[str, Any]:
    """What one reader said: the state, and what there is to show in pixels of the film; outlines in shown pixels."""
    mine = [d.geometry for d in reading.drawings if d.label == label]
    state = "drawn" if mine else "nothing" if label in reading.nothing_in else "open"
    area = reading.area(label)
    cobbs = [g for g in mine if isinstance(g, Cobb)]
    return {
        "state": state,
        "outline": outline_of(area) if area is not None and area.any() else "",
        "percent": None if area is None else 100 * float(area.mean()),
        "points": [list(xy) for xy in reading.points(label) or ()],
        "lines": [{"upper": g.upper, "lower": g.lower, "degrees": cobb_degrees(g)} for g in cobbs],
    }


def outline_of(mask: Mask) -> str:
    """The outline of a mask as an SVG path in shown pixels."""
    from xai_bench.reporting.overlay import outline  # with matplotlib, which only this needs

    scale = scale_of((mask.shape[0], mask.shape[1]))
    rows, columns = (_shown(n, scale) for n in mask.shape)
    return outline(mask[np.ix_(rows, columns)])


def _shown(size: int, scale: float) -> Any:
    """Which rows (or columns) of a film are shown: those at the centers of the shown pixels."""
    count = max(1, round(size * scale))
    return np.minimum(((np.arange(count) + 0.5) * size / count).astype(int), size - 1)


def measures(film: Film, schema: LabelSchema) -> list[dict[str, Any]]:
    """Every measure of a film; a value that is undefined is None and has its reason."""
    return [
        {
            "measure": one.measure,
            "label": one.label,
            "readers": list(one.who),
            "value": None if math.isnan(one.value) else one.value,
            "reason": one.reason,
        }
        for one in observations(film, schema)
    ]
