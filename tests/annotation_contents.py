"""Contents of annotation projects for tests: everything that a reader can draw and answer, by chance."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from xai_bench_annotations.drawings import LabelSchema
from xai_bench_annotations.films.raster import brush_of
from xai_bench_annotations.formats.content import Content, FilmRecord

SHAPE = (8, 9)
AREA = ["polygon", "freehand", "rectangle", "mask"]
LABELS = LabelSchema.model_validate({"labels": [
    {"code": "column", "name": "Column", "color": "#2a9d8f", "hotkey": "1"},
    {"code": "apex", "name": "Apex", "color": "#e76f51", "inside": "column"},
    {"code": "level", "name": "Level", "color": "#e76f52", "required": False},
    {"code": "cobb", "name": "Cobb", "color": "#4895ef", "kinds": ["cobb"], "required": False},
    {"code": "corner", "name": "Corner", "color": "#b5179e", "kinds": ["landmark"], "required": False},
]})  # fmt: skip
FILMS = [FilmRecord(number=n, sha256=f"{n:064x}", width=SHAPE[1], height=SHAPE[0]) for n in (1, 2)]

_numbers = st.floats(-5, 20, allow_subnormal=False)
_points = st.tuples(_numbers, _numbers)
_rings = st.lists(_points, min_size=3, max_size=6)
_times = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
_notes = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cf"]), max_size=20)


def _brush(mask: np.ndarray) -> dict:
    return brush_of(mask).model_dump(mode="json")


AREAS = st.one_of(
    st.builds(lambda k, e, h: {"kind": k, "exterior": e, "holes": h},
              st.sampled_from(["polygon", "freehand"]), _rings, st.just([]) | st.lists(_rings, max_size=2)),
    st.builds(lambda x, y, w, h: {"kind": "rectangle", "x": x, "y": y, "width": w, "height": h},
              _numbers, _numbers, st.floats(0.01, 9), st.floats(0.01, 9)),
    hnp.arrays(np.bool_, SHAPE).map(_brush),
)  # fmt: skip
MARKS = st.builds(lambda p: {"kind": "landmark", "at": p}, _points)
LINES = st.builds(
    lambda a, b: {"kind": "cobb", "upper": [a, (a[0] + 1, a[1])], "lower": [b, (b[0] + 2, b[1] + 1)]}, _points, _points
)


@st.composite
def drawings(draw, label: str) -> dict:
    """One drawing of a label."""
    geometry = draw({"cobb": LINES, "corner": MARKS}.get(label, AREAS))
    return {
        "id": draw(st.uuids(version=4)).hex, "label": label, "geometry": geometry, "note": draw(_notes),
        "confidence": draw(st.none() | st.integers(1, 5)), "rev": draw(st.integers(1, 9)),
        "view_state": draw(st.just({}) | st.just({"window": 300.5, "level": 40, "zoom": 1.5, "invert": True})),
        "created": draw(_times), "updated": draw(_times),
    }  # fmt: skip


@st.composite
def readings(draw, film: int, reader: str, read: int) -> dict:
    """One reading: of every label nothing, an answer of nothing, or some drawings."""
    found, nothing = [], []
    done = draw(st.booleans())
    for label in LABELS.labels:
        answers = ["nothing", "drawn"] if done and label.required else ["open", "nothing", "drawn"]
        answer = draw(st.sampled_from(answers))
        if answer == "drawn":
            found += draw(st.lists(drawings(label.code), min_size=1, max_size=2))
        elif answer == "nothing":
            nothing.append(label.code)
    touched = bool(found or nothing)
    return {
        "film": film, "reader": reader, "read": read, "position": draw(st.integers(1, 99)), "drawings": found,
        "nothing_in": sorted(nothing), "flag_reason": draw(_notes), "active_seconds": draw(st.floats(0, 1e5)),
        "state": "done" if done else draw(st.sampled_from(["in_progress", "flagged"])) if touched else "not_started",
        "opened": draw(_times), "done": datetime(2024, 5, 6, tzinfo=UTC) if done else None,
    }  # fmt: skip


@st.composite
def contents(draw) -> Content:
    """Two films; anna reads both, the first one twice, ben the second one."""
    who = [(1, "anna", 1), (1, "anna", 2), (2, "anna", 1), (2, "ben", 1)]
    return Content.model_validate({
        "name": "spine", "labels": LABELS, "films": FILMS, "readings": [draw(readings(*w)) for w in who],
    })  # fmt: skip
