"""Another patient's region for each film: what a map scores that only knows where such regions usually lie.

The partner of a film shows the same labels in the same view. It depends on the films of the split and on the film's own
id, and on nothing else: not on the batch, nor on which other films are asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xai_bench.inputs import Picture
from xai_bench.pictures import Pictures
from xai_bench.protocols import Reason, Result
from xai_bench.samples import RegionKey, Sample
from xai_bench.seeding import numpy_generator

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "shuffled:"
"""A reference of this beginning is another patient's region by the reader named after it."""
TRIES = 10
"""Films that are looked at for a drawn region before a film stays without a partner."""
NO_PARTNER = Reason("excluded", "no other patient of the same labels and view has this region")
SEED = 0


def dependence(samples: Mapping[str, Sample]) -> list[Any]:
    """All that partners depend on, for the keys of stored scores."""
    return sorted([s.id, s.digest, s.patient, repr(_kind(s))] for s in samples.values())


def partnered(pictures: Pictures, films: Sequence[Picture], keys: Sequence[RegionKey]) -> list[Picture]:
    """The films with the regions of their partners, in each film's own content.

    A film whose own region is not drawn keeps its state; one without a partner gets `not_read`.
    """
    alike = defaultdict(list)
    for i in sorted(pictures.samples):
        alike[_kind(pictures.samples[i])].append(i)
    return [_with_others(pictures, film, alike[_kind(film.sample)], keys) for film in films]


def explained(result: Result, own: Sequence[Picture], shown: Sequence[Picture], key: RegionKey) -> Result:
    """The result of partnered films; the reason of those that have no partner says so."""
    lonely = {
        n for n, (film, other) in enumerate(zip(own, shown, strict=True)) if _drawn(film, key) != _drawn(other, key)
    }

    def told(reasons: Sequence[Reason | None]) -> tuple[Reason | None, ...]:
        return tuple(NO_PARTNER if n in lonely else reason for n, reason in enumerate(reasons))

    return replace(
        result,
        reasons=told(result.reasons),
        own_reasons={name: told(reasons) for name, reasons in result.own_reasons.items()},
    )


def without_partners(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of scores against the films' own regions."""
    if not len(rows):
        return rows
    return rows[~rows.reference.fillna("").astype(str).str.startswith(PREFIX)]


def _kind(sample: Sample) -> tuple[tuple[tuple[str, str | None], ...], str]:
    return tuple(sorted(sample.labels.items())), str(sample.meta.get("view", ""))


def _with_others(pictures: Pictures, film: Picture, alike: Sequence[str], keys: Sequence[RegionKey]) -> Picture:
    others = [i for i in alike if pictures.samples[i].patient != film.sample.patient]
    order = numpy_generator(SEED, film.sample.id).permutation(len(others))[:TRIES]
    tried = [others[n] for n in order]
    regions = dict(film.regions)
    for key in keys:
        if _drawn(film, key):
            regions[key] = ("not_read", None)
            found = next((p for i in tried if (p := pictures.read([i], regions=True)[0]) and _drawn(p, key)), None)
            mask = found.regions[key][1] if found else None
            if mask is not None:
                regions[key] = ("drawn", mask & film.content)
    return replace(film, regions=regions)


def _drawn(picture: Picture, key: RegionKey) -> bool:
    return picture.regions.get(key, ("not_read", None))[0] == "drawn"
