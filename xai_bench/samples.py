"""What a dataset yields: samples with labels and reference regions, and the heads they belong to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from xai_bench.errors import BadInput

if TYPE_CHECKING:
    from xai_bench.protocols import Anatomy

Link = Literal["softmax", "sigmoid", "identity"]
RegionState = Literal["drawn", "marked_nothing", "not_read"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Head:
    """One question that a classifier answers.

    A softmax head chooses one of its classes; a sigmoid head answers each class by itself; an identity head has raw
    outputs.
    """

    name: str
    classes: tuple[str, ...]
    link: Link = "softmax"

    def __post_init__(self) -> None:
        if self.link == "softmax" and len(self.classes) < 2:
            raise BadInput(f"head {self.name!r} has classes {self.classes}; a softmax head needs two or more.")


class RegionKey(NamedTuple):
    """A reference region's name (`scoliosis.R1`) and who says so (`derived`, a reader, `consensus:majority` ...)."""

    name: str
    reference: str


@dataclass(frozen=True)
class Region:
    """A reference region in native pixels; `mask` is None unless the state is `drawn`."""

    state: RegionState
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if (self.state == "drawn") != (self.mask is not None):
            raise BadInput(
                f"a region with state {self.state!r} must{'' if self.state == 'drawn' else ' not'} have a mask."
            )


@dataclass(frozen=True)
class Sample:
    """One film. Pixels and regions are read when asked for, in native pixels.

    `read_image` gives (h, w) or (h, w, 3) of uint8, uint16 or floats in [0, 1]. `read_regions` gives every region that
    belongs to the film, by name and reference. `digest` is a content hash of all that a result can depend on.
    `corners` (vertebrae, 4, 2) are (x, y) in native pixels, order top-left, top-right, bottom-left, bottom-right, where
    known. `read_players` gives vertebrae and discs as players, where they are known.
    """

    id: str
    patient: str
    labels: Mapping[str, str | None]
    read_image: Callable[[], NDArray[Any]] = field(repr=False)
    digest: str = field(repr=False)
    read_regions: Callable[[], Mapping[RegionKey, Region]] = field(default=dict, repr=False)
    spacing_mm: tuple[float, float] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    read_corners: Callable[[], NDArray[np.float64] | None] = field(default=lambda: None, repr=False)
    read_players: "Callable[[], Anatomy | None]" = field(default=lambda: None, repr=False)


@runtime_checkable
class Dataset(Protocol):
    """A source of samples, split by patient.

    `findings` names, for each head, the classes that carry a finding: alignment is measured on films that have one.
    `regions` names the regions of the main table, inner to outer; `references` whose drawings are used by default.
    """

    heads: tuple[Head, ...]
    findings: Mapping[str, tuple[str, ...]]
    regions: tuple[str, ...]

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of `train`, `validation` or `test`. Raises BadInput for another name."""
        ...

    def problems(self) -> Sequence[str]:
        """What is odd or unreadable in the source, one sentence each, without person data; never dropped silently."""
        ...


@dataclass(frozen=True)
class Fixed:
    """A dataset of samples that are already at hand, for one's own arrays and for tests."""

    splits: Mapping[str, tuple[Sample, ...]]
    heads: tuple[Head, ...]
    findings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    regions: tuple[str, ...] = ()
    in_process: ClassVar[bool] = True

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of one split."""
        return pick_split(self.splits, split)

    def problems(self) -> Sequence[str]:
        """Nothing: the caller made the samples."""
        return ()


def pick_split(splits: Mapping[str, Sequence[Sample]], split: str) -> Sequence[Sample]:
    """One split by name, or a clear error."""
    if split not in splits:
        raise BadInput(f"split {split!r} does not exist; this dataset has {', '.join(map(repr, splits))}.")
    return splits[split]
