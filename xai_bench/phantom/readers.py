"""Simulated readers: each draws the true regions with errors of a known amount, for consensus and human ceilings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from xai_bench.errors import BadInput
from xai_bench.phantom.chance import Chance
from xai_bench.references import is_reader
from xai_bench.samples import Region, RegionKey

BLOB = 4.0  # blur of the noise whose hills and valleys are the errors, in px at 224 rows: blobs about 10 px wide
ROWS = 224


@dataclass(frozen=True)
class Reader:
    """Who draws each region by hand, and how well.

    The region is shifted as a whole by a normal random number of pixels in each direction, standard deviation `jitter`
    in px at 224 rows. The reader marks the share `sensitivity` of the shifted region and leaves out the share
    `specificity` of the rest of the film; what is missed or added are smooth blobs. `reads` is the expected share of
    films that the reader has read. All but the jitter are 0 to 1.
    """

    name: str
    sensitivity: float = 0.9
    specificity: float = 0.98
    jitter: float = 2.0
    reads: float = 1.0

    def __post_init__(self) -> None:
        if not is_reader(self.name):
            raise BadInput(
                f"Reader({self.name!r}): that is no reader's name; use a word without '#' that is not 'derived', not "
                "'*' and does not begin with 'consensus:'."
            )
        for field in ("sensitivity", "specificity", "reads"):
            if not 0 <= getattr(self, field) <= 1:
                raise BadInput(f"Reader({self.name!r}, {field}={getattr(self, field)}): expected a share, 0 to 1.")
        if not 0 <= self.jitter <= ROWS:
            raise BadInput(f"Reader({self.name!r}, jitter={self.jitter}): expected 0 to {ROWS} px.")

    def has_read(self, chance: Chance) -> bool:
        """Whether the reader has read this film; all regions of a film are read together."""
        return bool(chance.film(f"reader {self.name}").random() < self.reads)

    def drawing(self, truth: Bool[np.ndarray, "h w"], chance: Chance, region: str) -> Bool[np.ndarray, "h w"]:
        """What the reader marks where this is the truth."""
        rng, unit = chance.film(f"reader {self.name}, {region}"), truth.shape[0] / ROWS
        down, right = np.rint(rng.normal(0, self.jitter * unit, 2)).astype(int).tolist()
        inside = shifted(truth, down, right)
        field = gaussian_filter(rng.standard_normal(truth.shape), BLOB * unit, mode="wrap")  # alike up to the border
        marked = np.zeros(truth.shape, np.bool_)
        for where, share in ((inside, self.sensitivity), (~inside, 1 - self.specificity)):
            marked[where] = _highest(field[where], share)
        return marked


def shifted(mask: Bool[np.ndarray, "h w"], down: int, right: int) -> Bool[np.ndarray, "h w"]:
    """The mask moved by whole pixels; what leaves the film is lost.

    >>> shifted(np.array([[True, True, False]]), 0, 1).tolist()
    [[False, True, True]]
    """
    (height, width), moved = mask.shape, np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    rows, columns = rows + down, columns + right
    kept = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    moved[rows[kept], columns[kept]] = True
    return moved


def _highest(values: Float[np.ndarray, "n"], share: float) -> Bool[np.ndarray, "n"]:
    """This share of the values, the highest ones."""
    found, count = np.zeros(values.shape, np.bool_), round(share * values.size)
    if count:
        found[np.argpartition(values, values.size - count)[values.size - count :]] = True
    return found


def drawings(readers: Sequence[Reader], truth: Mapping[str, Region], chance: Chance) -> dict[RegionKey, Region]:
    """Every reader's drawing of a film's true regions; a region that is marked nothing in truth is by readers too."""
    return {
        RegionKey(name, reader.name): _read(reader, region, chance, name) if reader.has_read(chance) else _NOT_READ
        for reader in readers
        for name, region in truth.items()
    }


_NOT_READ = Region("not_read")


def _read(reader: Reader, region: Region, chance: Chance, name: str) -> Region:
    mask = None if region.mask is None else reader.drawing(region.mask, chance, name)
    return Region("drawn", mask) if mask is not None and mask.any() else Region("marked_nothing")
