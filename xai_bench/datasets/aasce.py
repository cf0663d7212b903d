"""AASCE 2019 (SpineWeb set 16): AP spine films with 68 landmarks and three Cobb angles, in the distributed layout."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from xai_bench.anatomy import T1_TO_L5, anatomy_of
from xai_bench.errors import BadInput
from xai_bench.geometry import OUTSIDE, Corners, curves, odd_corners, scoliosis_regions
from xai_bench.images import image_size, read_image
from xai_bench.protocols import Anatomy
from xai_bench.registry import dataset
from xai_bench.samples import SPLITS, Head, Region, RegionKey, Sample, pick_split
from xai_bench.splits import Fractions, refuse_leak, split_by_patient

_REGIONS = ("scoliosis.R1", "scoliosis.R2", "scoliosis.R1.largest", "scoliosis.R2.largest", "column")


@dataclass(frozen=True)
class _Film:
    """One row of the three tables. `corners` are in native pixels, top to bottom; None where they cannot be used."""

    id: str
    patient: str
    path: Path = field(repr=False)  # the file's name may point to a person
    shape: tuple[int, int]
    corners: Corners | None
    degrees: float  # the largest of the three angles of the label
    odd: tuple[str, ...]
    row: bytes = field(repr=False)  # what the digest covers besides the file

    def read_corners(self) -> NDArray[np.float64] | None:
        return None if self.corners is None else self.corners.copy()

    def read_players(self) -> Anatomy | None:
        return None if self.corners is None else anatomy_of(self.corners, T1_TO_L5, self.shape)

    def read_regions(self) -> dict[RegionKey, Region]:
        """Regions that follow from the corners: `marked_nothing` without a curve, `not_read` without corners."""
        if self.corners is None:
            return {RegionKey(name, "derived"): Region("not_read") for name in _REGIONS}
        return {
            RegionKey(name, "derived"): Region("marked_nothing") if mask is None else Region("drawn", mask)
            for name, mask in scoliosis_regions(self.corners, self.shape).items()
        }

    def meta(self) -> dict[str, Any]:
        """`mild` (10 to 25 degrees) and `close_curves` (two largest differ by less than 5 degrees) are slices."""
        angles = sorted((c.degrees for c in curves(self.corners)), reverse=True) if self.corners is not None else []
        return {
            "view": "AP",
            "label_degrees": self.degrees,
            "curve_degrees": tuple(round(a, 3) for a in angles),
            "mild": 10 <= self.degrees < 25,
            "close_curves": len(angles) > 1 and angles[0] - angles[1] < 5,
        }


@dataset("aasce", cite="Wang et al. 2021")
@dataclass(frozen=True)
class Aasce:
    """AASCE 2019 spine films: severity classes by the largest Cobb angle, regions derived from the landmarks.

    `path` holds `data/training` and `labels/training` as distributed. A class starts at each of `thresholds`
    (degrees); those from `finding_from` degrees on carry the finding. A film whose vertebrae are listed out of order is
    sorted from top to bottom; one with exchanged corners or a vertebra that is marked twice keeps its label and has no
    regions and no players; `problems` names both.
    """

    path: str
    thresholds: tuple[float, ...] = (25.0, 40.0)
    finding_from: float = 25.0
    fractions: Fractions = (0.6, 0.2, 0.2)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.thresholds or min(self.thresholds) <= 0 or list(self.thresholds) != sorted(set(self.thresholds)):
            raise BadInput(f"thresholds {self.thresholds}: expected one or more rising angles above 0 degrees.")

    @property
    def heads(self) -> tuple[Head, ...]:
        """One head, `severity`."""
        return (Head("severity", severity_classes(self.thresholds)),)

    @property
    def findings(self) -> Mapping[str, tuple[str, ...]]:
        """The classes that start at `finding_from` degrees or more."""
        named = zip(self.thresholds, severity_classes(self.thresholds)[1:], strict=True)
        return {"severity": tuple(name for start, name in named if start >= self.finding_from)}

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions of the main table, inner to outer."""
        return ("scoliosis.R1", "scoliosis.R2", "column")

    def samples(self, split: str) -> Sequence[Sample]:
        """Films of `train`, `validation` or `test`. Raises BadInput for another name or a folder that is not AASCE."""
        return pick_split(self._splits, split)

    def problems(self) -> Sequence[str]:
        """Films with odd landmarks, by picture id."""
        return tuple(f"{film.id}: {_verdict(film)}" for film in self._films if film.odd)

    @cached_property
    def _films(self) -> tuple[_Film, ...]:
        return read_films(Path(self.path))

    @cached_property
    def _splits(self) -> dict[str, tuple[Sample, ...]]:
        labels = [self._label(film) for film in self._films]
        chosen = split_by_patient([f.patient for f in self._films], labels, self.fractions, self.seed)
        splits = {name: tuple(self._sample(self._films[i]) for i in chosen[name]) for name in SPLITS}
        refuse_leak(splits)
        return splits

    def _label(self, film: _Film) -> str:
        return self.heads[0].classes[int(np.digitize(film.degrees, self.thresholds))]

    def _sample(self, film: _Film) -> Sample:
        return Sample(
            id=film.id,
            patient=film.patient,
            labels={"severity": self._label(film)},
            read_image=partial(read_image, film.path, name=f"picture {film.id!r}"),
            digest=hashlib.sha256(film.path.read_bytes() + film.row).hexdigest()[:24],
            read_regions=film.read_regions,
            meta=film.meta(),
            read_corners=film.read_corners,
            read_players=film.read_players,
        )


def severity_classes(thresholds: Sequence[float]) -> tuple[str, ...]:
    """Names of the classes between rising angles.

    >>> severity_classes((25, 40))
    ('<25', '25-40', '>=40')
    """
    between = [f"{low:g}-{high:g}" for low, high in pairwise(thresholds)]
    return (f"<{thresholds[0]:g}", *between, f">={thresholds[-1]:g}")


def patient_of(file_name: str) -> str:
    """The patient of a film: the number after the date, whatever the date; all `coronal` films are one group.

    >>> patient_of("set-1th-03-Jan-2017-7 A AP.jpg"), patient_of("set-1th-04-Jan-2017-7 B AP.jpg")
    ('p7', 'p7')
    """
    found = re.search(r"-\d{4}-(\d+) [A-Z]\b", file_name)
    if found:
        return f"p{int(found.group(1))}"
    if "coronal" in file_name:
        return "coronal"
    raise BadInput(
        "a name in labels/training/filenames.csv holds neither '<year>-<patient> <letter>' nor 'coronal', so its "
        "patient is not known; use the list as distributed."
    )


def read_films(root: Path) -> tuple[_Film, ...]:
    """All films in the order of `filenames.csv`. Raises BadInput where a table or a picture's header cannot be read."""
    folder = root / "labels" / "training"
    names = _names(folder / "filenames.csv")
    landmarks = _table(folder / "landmarks.csv", len(names), 136)
    angles = _table(folder / "angles.csv", len(names), 3)
    rows = zip(names, landmarks, angles, strict=True)
    return tuple(_film(f"aasce-{i:04d}", root / "data" / "training" / n, f, a) for i, (n, f, a) in enumerate(rows, 1))


def _film(name: str, path: Path, fractions: NDArray[np.float64], angles: NDArray[np.float64]) -> _Film:
    height, width = image_size(path, name=f"picture {name!r}")
    if not np.isfinite(angles).all():
        raise BadInput(
            f"picture {name!r} has an angle that is not a number in angles.csv; restore the distributed file."
        )
    listed = (fractions.reshape(2, 68).T * [width, height]).reshape(17, 4, 2)
    order = np.argsort(listed.mean(1)[:, 1], kind="stable")
    corners = listed[order]
    still_odd = odd_corners(corners, (height, width))
    return _Film(
        id=name,
        patient=patient_of(path.name),
        path=path,
        shape=(height, width),
        corners=corners if set(still_odd) <= {OUTSIDE} else None,
        degrees=float(angles.max()),
        odd=tuple(dict.fromkeys(odd_corners(listed, (height, width)) + still_odd)),
        row=fractions.tobytes() + angles.tobytes(),
    )


def _verdict(film: _Film) -> str:
    end = (
        "its vertebrae are used from top to bottom"
        if film.corners is not None
        else "its landmarks are not used: no regions"
    )
    return f"{', '.join(film.odd)}; {end}."


def _names(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        raise BadInput(
            f"{path} cannot be read; expected the AASCE folder as distributed, with data/training and labels/training."
        ) from None
    names = [name.strip() for name in names if name.strip()]
    twice = [count for count in Counter(names).values() if count > 1]
    if not names or twice:
        raise BadInput(
            f"{path} lists {len(names)} films, {len(twice)} of them more than once; restore the distributed file."
        )
    return names


def _table(path: Path, rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError):
        raise BadInput(
            f"{path} is missing or holds something that is not a number; restore the distributed file."
        ) from None
    if table.shape != (rows, columns):
        raise BadInput(
            f"{path} has {table.shape} rows and columns; expected {(rows, columns)}: restore the distributed file."
        )
    return table
