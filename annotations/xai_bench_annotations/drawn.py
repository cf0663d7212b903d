"""Any dataset's films with the regions that readers drew on them: how an annotation project enters a study."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from xai_bench.errors import BadInput
from xai_bench.registry import dataset
from xai_bench.samples import SPLITS, Dataset, Head, Region, RegionKey, Sample
from xai_bench.spec import digest
from xai_bench_annotations.films.pixels import film_digest

if TYPE_CHECKING:
    from xai_bench_annotations.results.read_project import Read


@dataset("drawn")
@dataclass(frozen=True)
class Drawn:
    """The films of any dataset with the areas that readers drew on them in an annotation project.

    `films` is the dataset; `project` the folder of `xai-bench annotate`, and after `#` the project's name where it
    holds several. Labels become regions (inner to outer), readers' names references. Only finished first readings
    count: a film that a reader has not finished, or that is not in the project, is `not_read`. Films are found by their
    pixels. `revision` hashes all drawings; left empty it is filled in, and one that is no longer true is refused: so a
    study's key says which drawings it used.
    """

    films: Dataset
    project: str
    revision: str = ""

    def __post_init__(self) -> None:
        now = self._read.revision
        if self.revision not in ("", now):
            raise BadInput(
                f"the drawings of {self.project!r} have changed (they were {self.revision}, they are {now}); run the "
                "study again with --regions."
            )
        object.__setattr__(self, "revision", now)  # a frozen dataclass completes its fields once

    @property
    def heads(self) -> tuple[Head, ...]:
        """Those of the films."""
        return self.films.heads

    @property
    def findings(self) -> Mapping[str, tuple[str, ...]]:
        """Those of the films."""
        return self.films.findings

    @property
    def regions(self) -> tuple[str, ...]:
        """The labels for areas that anybody answered, inner to outer."""
        return self._read.answered

    @property
    def readers(self) -> tuple[str, ...]:
        """Who has finished a film."""
        return self._read.readers

    @property
    def references(self) -> tuple[str, ...]:
        """Each reader; of two or more also their majority, and that without each reader."""
        several = ("consensus:majority", "consensus:majority:without:*") if len(self.readers) > 1 else ()
        return (*several, *self.readers)

    @property
    def in_process(self) -> bool:
        """Whether the films are arrays at hand: a study then knows them by their digests."""
        return bool(getattr(self.films, "in_process", False))

    @property
    def splits(self) -> Mapping[str, Sequence[Sample]]:
        """All films."""
        return {split: self.samples(split) for split in SPLITS}

    def samples(self, split: str) -> Sequence[Sample]:
        """The films of a split. Raises BadInput for another name."""
        return tuple(self._sample(sample) for sample in self.films.samples(split))

    def problems(self) -> Sequence[str]:
        """Those of the films, and which films of the project are missing here or not read by all."""
        read, here = self._read, {self._film(s) for split in SPLITS for s in self.films.samples(split)}
        who, found = f"project {read.name!r}", list[str]()
        if lost := len(set(read.readings) - here):
            found.append(f"{who}: {lost} of its {len(read.readings)} films are not in this data set.")
        for why, n in Counter(why for film, why in read.open.items() if film in here).items():
            found.append(f"{who}: {n} film{'s do' if n > 1 else ' does'} not count for all readers: {why}.")
        if len(self.readers) < 2:
            found.append(f"{who}: one reader only, so there is no consensus and no human ceiling.")
        return (*self.films.problems(), *found)

    @cached_property
    def _read(self) -> Read:
        from xai_bench_annotations.results.read_project import read_project  # with the database, which only this needs

        return read_project(self.project)

    @cached_property
    def _known(self) -> dict[str, str]:
        return {}

    def _film(self, sample: Sample) -> str:
        """The digest of a film's pixels, by which a project knows it; each film is decoded once for it."""
        if sample.id not in self._known:
            self._known[sample.id] = ""
            with contextlib.suppress(BadInput):  # a film that cannot be read is said where it is scored
                self._known[sample.id] = film_digest(sample.read_image())
        return self._known[sample.id]

    def _sample(self, sample: Sample) -> Sample:
        film = self._film(sample)
        said = self._read.said(film)
        both = digest([sample.digest, said]) if said else sample.digest
        return replace(sample, digest=both, read_regions=partial(_read_regions, sample, self._read, film))


def _read_regions(sample: Sample, read: Read, film: str) -> dict[RegionKey, Region]:
    """The film's own regions and those of all readers. Raises BadInput where both name one reader."""
    own = dict(sample.read_regions())
    if twice := sorted({key.reference for key in own} & set(read.readers)):
        raise BadInput(
            f"picture {sample.id!r} has regions by {twice[0]!r}, and project {read.name!r} has such a reader too; "
            "rename one of them."
        )
    return own | read.regions(film)
