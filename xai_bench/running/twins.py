"""What the retrained twins of a classifier learn from: folds, resamples, shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_bench.pictures import Pictures
from xai_bench.samples import Head
from xai_bench.splits import fold_of, resample
from xai_bench.study import Trained, Twin


@dataclass(frozen=True)
class Lesson:
    """Films to learn from, by id in order (a resample holds some twice), each with the labels that are learned."""

    pictures: Pictures
    ids: tuple[str, ...]
    labels: tuple[Mapping[str, str | None], ...]

    @property
    def digests(self) -> list[Any]:
        """What of the films a training depends on."""
        samples = self.pictures.samples
        return [(samples[i].digest, dict(labels)) for i, labels in zip(self.ids, self.labels, strict=True)]


def lesson(entry: Trained, twin: Twin, pictures: Pictures, heads: Sequence[Head], *, whole: bool = False) -> Lesson:
    """What a twin learns from: all films (`whole`), all but those of its fold, or its resample; labels may be shuffled.

    Raises BadInput where a label has fewer patients than there are folds.
    """
    ids = list(pictures.samples)
    if twin.part is not None and not whole:
        samples = list(pictures.samples.values())
        patients, labels = [s.patient for s in samples], [s.labels.get(heads[0].name) for s in samples]
        if entry.folds:
            ids = [i for i, f in zip(ids, fold_of(patients, labels, entry.folds), strict=True) if f != twin.part]
        else:
            ids = [ids[n] for n in resample(patients, labels, twin.part)]
    given = [pictures.samples[i].labels for i in ids]
    if entry.shuffled_labels:
        given = [given[n] for n in np.random.default_rng(twin.seed).permutation(len(given))]
    return Lesson(pictures, tuple(ids), tuple(given))


def twin_name(entry: Trained, twin: Twin) -> str:
    """For progress lines."""
    part = "" if twin.part is None else f", {'fold' if entry.folds else 'resample'} {twin.part}"
    return f"{entry.name}, seed {twin.seed}{part}"
