"""The embedded default data set: procedurally drawn spine films whose truth is exact. See `xai_bench.phantom`."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from xai_bench.anatomy import T1_TO_L5, anatomy_of
from xai_bench.code_version import code_version
from xai_bench.errors import BadInput
from xai_bench.geometry import chain_mask, meyerding, scoliosis_regions, spondylolisthesis_regions
from xai_bench.phantom.chance import FILMS_PER_PATIENT, Chance
from xai_bench.phantom.film import View, draw_ap, draw_lateral, film_corners, film_id, fixed_box, number_of, spacing_mm
from xai_bench.phantom.marker import Marker, marker_mask, stamp
from xai_bench.phantom.readers import Reader, drawings
from xai_bench.phantom.side_spine import MAX_SLIP, NAMES, SideColumn
from xai_bench.phantom.spine import MAX_COBB
from xai_bench.protocols import Anatomy
from xai_bench.registry import dataset
from xai_bench.samples import Head, Region, RegionKey, Sample
from xai_bench.spec import digest, spec_of

MIN_COBB = 10.0  # degrees: below, a column counts as straight (Cobb 1948; METRICS of the field)
MIN_SLIP = 5.0  # percent
_FIRST_PATIENT = {"train": 0, "validation": 60_000, "test": 80_000}  # far apart: more films in one split move no other
_FINDING: dict[View, str] = {"ap": "scoliosis", "lateral": "spondylolisthesis"}
Range = tuple[float, float]


@dataclass(frozen=True)
class Films:
    """How many films each split has."""

    train: int = 600
    validation: int = 100
    test: int = 200

    def __post_init__(self) -> None:
        if not all(0 <= n <= 20_000 for n in (self.train, self.validation, self.test)):
            raise BadInput(f"{self}: each split has 0 to 20000 films.")


@dataset("phantom", cite="vertebra sizes: Wu et al. 2017")
@dataclass(frozen=True)
class Phantom:
    """Drawn spine films: from the front (normal / scoliosis), from the side (normal / spondylolisthesis), or both.

    `cobb` and `normal_cobb` in degrees and `slip` in percent are the ranges for films with and without the finding.
    Patients take turns (normal, finding, and with both views the same from the side). A patient's films show the same
    body in another pose, exposure and noise, with an angle or slip within 2 of the others'. A film's pixels depend on
    seed, id, size, marker and ranges, never on other films or on counts. `readers` draw the regions too, each with own
    errors; with two or more the default references are `derived`, their majority, and that without each reader.
    """

    view: str = "ap"
    films: Films = Films()
    height: int = 224
    width: int = 176
    seed: int = 0
    marker: Marker = Marker()  # noqa: RUF009 -- frozen
    films_per_patient: tuple[int, int] = (1, 3)
    cobb: Range = (15.0, 60.0)
    normal_cobb: Range = (0.0, 6.0)
    slip: Range = (10.0, 45.0)
    readers: tuple[Reader, ...] = ()

    def __post_init__(self) -> None:
        if self.view not in ("ap", "lateral", "both"):
            raise BadInput(f"Phantom(view={self.view!r}): expected 'ap', 'lateral' or 'both'.")
        low, high = self.films_per_patient
        if not 1 <= low <= high <= FILMS_PER_PATIENT:
            raise BadInput(
                f"Phantom(films_per_patient={self.films_per_patient}): expected 1 to {FILMS_PER_PATIENT}, low first."
            )
        for name, least, most in (
            ("cobb", MIN_COBB, MAX_COBB),
            ("normal_cobb", 0.0, MIN_COBB - 0.5),
            ("slip", MIN_SLIP, MAX_SLIP),
        ):
            low_end, high_end = getattr(self, name)
            if not least <= low_end <= high_end <= most:
                raise BadInput(
                    f"Phantom({name}={(low_end, high_end)}): expected a range inside {least:g} to {most:g}, low first."
                )
        if self.height < 32 or not 0.7 <= self.width / self.height <= 1.5:
            raise BadInput(
                f"Phantom(height={self.height}, width={self.width}): expected 32 pixels or more, "
                "and a width of 0.7 to 1.5 heights."
            )
        names = [reader.name for reader in self.readers]
        if twice := [name for name in names if names.count(name) > 1]:
            raise BadInput(f"Phantom: two readers are called {twice[0]!r}; expected a name for each of them.")

    @property
    def views(self) -> tuple[View, ...]:
        """The views that it draws."""
        return {"ap": ("ap",), "lateral": ("lateral",), "both": ("ap", "lateral")}[self.view]  # type: ignore[return-value]  # mypy widens the literals

    @property
    def heads(self) -> tuple[Head, ...]:
        """One question: which finding, if any."""
        return (Head("diagnosis", ("normal", *(_FINDING[v] for v in self.views))),)

    @property
    def findings(self) -> Mapping[str, tuple[str, ...]]:
        """All classes but `normal`."""
        return {"diagnosis": self.heads[0].classes[1:]}

    @property
    def regions(self) -> tuple[str, ...]:
        """Inner to outer."""
        return (*(f"{_FINDING[v]}.{r}" for v in self.views for r in ("R1", "R2")), "column")

    @property
    def references(self) -> tuple[str, ...]:
        """What is scored against unless a study says: the truth and the readers' majority, where there are readers."""
        several = ("derived", "consensus:majority", "consensus:majority:without:*")
        return several if len(self.readers) > 1 else ()

    def samples(self, split: str) -> Sequence[Sample]:
        """Labels, angles and slips are known here; pixels and regions are drawn when asked for."""
        if split not in _FIRST_PATIENT:
            raise BadInput(f"split {split!r} does not exist; this dataset has {', '.join(map(repr, _FIRST_PATIENT))}.")
        return _samples(self, split)

    def problems(self) -> Sequence[str]:
        """None: the films are drawn."""
        return ()

    def sample(self, picture: str) -> Sample:
        """The film with this id. Raises BadInput for an id that is not a phantom's."""
        number = number_of(picture)
        chance, patient = Chance(self.seed, number), number // FILMS_PER_PATIENT
        view, finding = self.kind(patient)
        amount = self.amount(chance, view, finding)
        _, drawn = _corners(view, self.seed, number, self.shape, amount)
        label = _FINDING[view] if finding else "normal"
        return Sample(
            id=picture,
            patient=f"phantom-patient-{patient:05d}",
            labels={"diagnosis": label},
            read_image=partial(_read_image, self, picture),
            digest=self._digest(picture),
            read_regions=partial(_read_regions, self, picture),
            spacing_mm=spacing_mm(view, chance, self.shape),
            meta={"view": view, **_measured(drawn, amount), "marker": self.marker.style(chance, finding)},
            read_corners=partial(_read_corners, self, picture),
            read_players=partial(_read_players, self, picture),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its films."""
        return self.height, self.width

    def numbers(self, split: str) -> Iterator[int]:
        """The films' numbers of a split, without end."""
        low, high = self.films_per_patient
        for patient in itertools.count(_FIRST_PATIENT[split]):
            first = patient * FILMS_PER_PATIENT
            count = int(Chance(self.seed, first).patient("films").integers(low, high + 1))
            yield from range(first, first + count)

    def kind(self, patient: int) -> tuple[View, bool]:
        """View and finding of a patient, in turns."""
        kinds: list[tuple[View, bool]] = [(view, finding) for view in self.views for finding in (False, True)]
        return kinds[patient % len(kinds)]

    def amount(self, chance: Chance, view: View, finding: bool) -> float:
        """Degrees or percent to draw; the films of a patient differ by a little."""
        if not finding and view == "lateral":
            return 0.0
        low, high = (self.cobb if finding else self.normal_cobb) if view == "ap" else self.slip
        base = chance.patient("amount").uniform(low, high)
        return float(np.clip(base + chance.film("amount").uniform(-1, 1), low, high))

    def _digest(self, picture: str) -> str:
        apart = ("films", "films_per_patient") if self.readers else ("films", "films_per_patient", "readers")
        fields = {k: v for k, v in spec_of(self)["fields"].items() if k not in apart}
        code = [code_version(draw_ap), code_version(Reader)] if self.readers else code_version(draw_ap)
        return digest({"id": picture, "code": code, "fields": fields})


@lru_cache(maxsize=64)  # a run asks for the same split many times
def _samples(phantom: Phantom, split: str) -> tuple[Sample, ...]:
    numbers = itertools.islice(phantom.numbers(split), getattr(phantom.films, split))
    return tuple(phantom.sample(film_id(n)) for n in numbers)


def _measured(drawn: Any, amount: float) -> dict[str, Any]:
    if isinstance(drawn, SideColumn):
        return {
            "slip_set": amount,
            "slip": drawn.slip,
            "level": NAMES[drawn.slipped],
            "severity": f"Meyerding {meyerding(drawn.slip)}",
        }
    severity = ("<10", "10-25", "25-40", ">=40")[int(np.searchsorted([10, 25, 40], drawn.cobb, side="right"))]
    return {"cobb_set": amount, "cobb": drawn.cobb, "severity": severity}


def _drawn_column(phantom: Phantom, picture: str) -> tuple[View, Chance, bool, float]:
    number = number_of(picture)
    chance = Chance(phantom.seed, number)
    view, finding = phantom.kind(number // FILMS_PER_PATIENT)
    return view, chance, finding, phantom.amount(chance, view, finding)


def _read_image(phantom: Phantom, picture: str) -> UInt8[np.ndarray, "h w"]:
    view, chance, finding, amount = _drawn_column(phantom, picture)
    image = _drawn(view, picture, amount, phantom.seed, phantom.shape)
    style = phantom.marker.style(chance, finding)
    return (
        stamp(image, chance, style, phantom.marker.size, fixed_box(view, phantom.shape))[0] if style else image.copy()
    )


@lru_cache(maxsize=2048)  # data sets that differ in their markers share the films; 12 kB each at 128 px
def _drawn(view: View, picture: str, amount: float, seed: int, shape: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    draw = draw_ap if view == "ap" else draw_lateral
    image = draw(picture, amount, seed=seed, shape=shape).image
    image.flags.writeable = False
    return image


@lru_cache(maxsize=16384)  # twins and marker variants ask for the same columns again; 1 kB each
def _corners(
    view: View, seed: int, number: int, shape: tuple[int, int], amount: float
) -> tuple[Float[np.ndarray, "v 4 2"], Any]:
    return film_corners(view, Chance(seed, number), shape, amount)


def _read_corners(phantom: Phantom, picture: str) -> Float[np.ndarray, "v 4 2"]:
    view, chance, _, amount = _drawn_column(phantom, picture)
    return _corners(view, phantom.seed, chance.number, phantom.shape, amount)[0].copy()


def _read_players(phantom: Phantom, picture: str) -> Anatomy:
    view = _drawn_column(phantom, picture)[0]
    return anatomy_of(_read_corners(phantom, picture), T1_TO_L5 if view == "ap" else NAMES, phantom.shape)


def _read_regions(phantom: Phantom, picture: str) -> dict[RegionKey, Region]:
    """Regions of the field's definitions (see `xai_bench.geometry`), the side marker's pixels, readers' drawings."""
    view, chance, finding, amount = _drawn_column(phantom, picture)
    corners, drawn = _corners(view, phantom.seed, chance.number, phantom.shape, amount)
    if isinstance(drawn, SideColumn):
        masks = spondylolisthesis_regions(corners, drawn.slipped, phantom.shape)
        if not finding:
            masks = dict.fromkeys(masks) | {"column": chain_mask(corners, phantom.shape)}
    else:
        masks = scoliosis_regions(corners, phantom.shape)
    style, box = phantom.marker.style(chance, finding), fixed_box(view, phantom.shape)
    masks["marker"] = marker_mask(chance, style, phantom.marker.size, phantom.shape, box) if style else None
    truth = {n: Region("drawn", mask) if mask is not None else Region("marked_nothing") for n, mask in masks.items()}
    asked = {name: region for name, region in truth.items() if name in phantom.regions}
    derived = {RegionKey(name, "derived"): region for name, region in truth.items()}
    return derived | drawings(phantom.readers, asked, chance)
