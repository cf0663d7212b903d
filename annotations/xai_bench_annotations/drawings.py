"""What a reader can draw: geometries in image pixels, and the labels that a project asks for.

Coordinates are continuous: pixel (column c, row r) covers [c, c+1) x [r, r+1), its center is at (c + 0.5, r + 0.5); x
goes right, y goes down. This holds for everything that is stored, sent, imported and exported.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Point = tuple[
    Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)],
    Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)],
]
Ring = Annotated[list[Point], Field(min_length=3, max_length=20_000)]
Kind = Literal["polygon", "freehand", "rectangle", "mask", "landmark", "cobb"]
AREAS: tuple[Kind, ...] = ("polygon", "freehand", "rectangle", "mask")
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Polygon(_Strict):
    """An area within a closed ring, less its holes; `freehand` is the same, drawn in one stroke."""

    kind: Literal["polygon", "freehand"]
    exterior: Ring
    holes: list[Ring] = []


class Rectangle(_Strict):
    """An area with sides along the axes."""

    kind: Literal["rectangle"]
    x: Annotated[float, Field(allow_inf_nan=False)]
    y: Annotated[float, Field(allow_inf_nan=False)]
    width: Annotated[float, Field(gt=0, le=1e6)]
    height: Annotated[float, Field(gt=0, le=1e6)]


class Brush(_Strict):
    """Painted pixels as COCO run lengths: `counts` of 0s and 1s in turn, column after column, the whole image."""

    kind: Literal["mask"]
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]  # rows, columns
    counts: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=2_000_000)]

    @model_validator(mode="after")
    def _covers(self) -> Brush:
        if sum(self.counts) != self.size[0] * self.size[1]:
            raise ValueError(f"the runs cover {sum(self.counts)} pixels; expected {self.size[0] * self.size[1]}")
        return self


class Landmark(_Strict):
    """A point."""

    kind: Literal["landmark"]
    at: Point


class Cobb(_Strict):
    """Two endplate lines, the upper and the lower one; the Cobb angle is the acute angle between them, in degrees."""

    kind: Literal["cobb"]
    upper: tuple[Point, Point]
    lower: tuple[Point, Point]

    @model_validator(mode="after")
    def _has_length(self) -> Cobb:
        if self.upper[0] == self.upper[1] or self.lower[0] == self.lower[1]:
            raise ValueError("an endplate line has no length")
        return self


Geometry = Annotated[Polygon | Rectangle | Brush | Landmark | Cobb, Field(discriminator="kind")]


class Label(_Strict):
    """Something to be marked. `code` becomes the region's name in the benchmark.

    `kinds` are the tools that may draw it; `inside` names the label within which it lies (apex inside column); a label
    that is not `required` need not be answered before a film is done.
    """

    code: Code
    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]+$")]
    color: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
    hotkey: Annotated[str, Field(pattern=r"^[1-9]$")] | None = None
    kinds: Annotated[list[Kind], Field(min_length=1)] = list(AREAS)
    inside: Code | None = None
    required: bool = True


class LabelSchema(_Strict):
    """The labels of a project, outer to inner."""

    version: Annotated[int, Field(ge=1)] = 1
    labels: Annotated[list[Label], Field(min_length=1, max_length=40)]

    @model_validator(mode="after")
    def _is_consistent(self) -> LabelSchema:
        codes = [label.code for label in self.labels]
        keys = [label.hotkey for label in self.labels if label.hotkey]
        if len(set(codes)) < len(codes) or len(set(keys)) < len(keys):
            raise ValueError("two labels have one code or hotkey; give each its own")
        for place, label in enumerate(self.labels):
            if label.inside is not None and label.inside not in codes[:place]:
                raise ValueError(f"label {label.code!r} lies inside {label.inside!r}, which does not stand before it")
        return self

    def __getitem__(self, code: str) -> Label:
        return next(label for label in self.labels if label.code == code)


SPINE = LabelSchema(
    labels=[
        Label(code="column", name="Column (end to end vertebra)", color="#2a9d8f", hotkey="1"),
        Label(code="apex", name="Apex of the curve", color="#e76f51", hotkey="2", inside="column"),
        Label(code="end_vertebrae", name="End vertebrae", color="#e9c46a", hotkey="3", inside="column", required=False),
        Label(code="slipped_level", name="Slipped level", color="#d62828", hotkey="4", required=False),
        Label(code="cobb", name="Cobb angle", color="#4895ef", hotkey="5", kinds=["cobb"], required=False),
        Label(code="landmark", name="Landmark", color="#b5179e", hotkey="6", kinds=["landmark"], required=False),
    ]
)
"""What a new project asks for unless it says otherwise."""
