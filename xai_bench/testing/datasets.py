"""What every dataset must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xai_bench.errors import BadInput
from xai_bench.samples import SPLITS, Dataset, Region, RegionKey, Sample
from xai_bench.testing.watch import check_spec, expect, name_of


def check_dataset(dataset: Dataset, films: int = 6) -> None:
    """The contract of a dataset; pixels and regions are read for `films` of each split, with and without a finding.

    Raises AssertionError with one sentence for the first thing that is wrong.
    """
    who = name_of(dataset)
    if not getattr(dataset, "in_process", False):  # a dataset of arrays at hand has no spec
        check_spec(dataset)
    splits = {split: dataset.samples(split) for split in SPLITS}
    _check_refusal(who, dataset)
    _check_patients(who, splits)
    _check_same_again(who, dataset, splits)
    _check_labels(who, dataset, splits)
    chosen = [sample for part in splits.values() for sample in _some(dataset, part, films)]
    for sample in chosen:
        _check_image(who, sample)
        _check_regions(who, sample)
        _check_players(who, sample)
    _check_names(who, dataset, chosen)
    expect(all(isinstance(p, str) for p in dataset.problems()), f"{who}.problems() must be sentences.")


def _carries(dataset: Dataset, sample: Sample) -> bool:
    return any(sample.labels.get(head) in classes for head, classes in dataset.findings.items())


def _some(dataset: Dataset, samples: Sequence[Sample], count: int) -> list[Sample]:
    """The first films of a split, every second one with a finding as far as there are any."""
    with_finding = [s for s in samples if _carries(dataset, s)][: count // 2]
    return with_finding + [s for s in samples if not _carries(dataset, s)][: count - len(with_finding)]


def _check_refusal(who: str, dataset: Dataset) -> None:
    try:
        dataset.samples("no such split")
    except BadInput:
        return
    raise AssertionError(f"{who}.samples('no such split') must raise BadInput; use xai_bench.samples.pick_split.")


def _check_patients(who: str, splits: Mapping[str, Sequence[Sample]]) -> None:
    home: dict[str, str] = {}
    seen: set[str] = set()
    for split, samples in splits.items():
        expect(len(samples) > 0, f"{who}: split {split!r} is empty.")
        for sample in samples:
            expect(
                sample.id not in seen, f"{who}: the id {sample.id!r} is used twice; ids must be unique over all splits."
            )
            seen.add(sample.id)
            there = home.setdefault(sample.patient, split)
            expect(
                there == split,
                f"{who}: the patient of {sample.id!r} is in {there!r} and in {split!r}; split by patient.",
            )


def _check_same_again(who: str, dataset: Dataset, splits: Mapping[str, Sequence[Sample]]) -> None:
    for split, samples in splits.items():
        once, twice = (
            [(s.id, s.patient, s.digest, dict(s.labels)) for s in part] for part in (samples, dataset.samples(split))
        )
        expect(once == twice, f"{who}: samples({split!r}) gives other ids, digests or labels the second time.")
        expect(
            all(s.digest for s in samples),
            f"{who}: a sample of {split!r} has no digest; hash all that a result depends on.",
        )


def _check_labels(who: str, dataset: Dataset, splits: Mapping[str, Sequence[Sample]]) -> None:
    classes = {head.name: head.classes for head in dataset.heads}
    for head, found in dataset.findings.items():
        expect(head in classes, f"{who}: findings names head {head!r}; the heads are {', '.join(classes)}.")
        expect(
            set(found) <= set(classes[head]),
            f"{who}: findings of {head!r} are {found}; the classes are {classes[head]}.",
        )
    for sample in (s for part in splits.values() for s in part):
        for head, names in classes.items():
            label = sample.labels.get(head)
            expect(
                label is None or label in names,
                f"{who}: {sample.id!r} is labeled {label!r}; head {head!r} has {names}.",
            )
    for head, names in classes.items():
        present = {s.labels.get(head) for s in splits["train"]}
        missing = [c for c in names if c not in present]
        expect(
            not missing or present == {None},
            f"{who}: no training film is labeled {', '.join(missing)} of head {head!r}.",
        )


def _check_image(who: str, sample: Sample) -> None:
    image, again = sample.read_image(), sample.read_image()
    shape, kind = image.shape, image.dtype
    flat = image.ndim == 2 or (image.ndim == 3 and shape[2] == 3)
    expect(flat and 0 not in shape, f"{who}: {sample.id!r} has shape {shape}; expected (h, w) or (h, w, 3).")
    real = np.issubdtype(kind, np.floating)
    expect(
        real or kind in (np.uint8, np.uint16),
        f"{who}: {sample.id!r} has {kind} pixels; expected uint8, uint16 or floats.",
    )
    expect(
        not real or bool((image >= 0).all() and (image <= 1).all()), f"{who}: {sample.id!r} has floats outside [0, 1]."
    )
    expect(np.array_equal(image, again), f"{who}: {sample.id!r} has other pixels when read again.")
    spacing = sample.spacing_mm
    expect(
        spacing is None or min(spacing) > 0,
        f"{who}: {sample.id!r} has spacing {spacing}; expected positive mm, or None.",
    )
    corners = sample.read_corners()
    right = corners is None or (corners.ndim == 3 and corners.shape[1:] == (4, 2) and bool(np.isfinite(corners).all()))
    expect(right, f"{who}: the corners of {sample.id!r} must be finite numbers of shape (vertebrae, 4, 2).")


def _check_regions(who: str, sample: Sample) -> None:
    size = sample.read_image().shape[:2]
    first, again = sample.read_regions(), sample.read_regions()
    expect(first.keys() == again.keys(), f"{who}: {sample.id!r} has other regions when read again.")
    for key, region in first.items():
        right = isinstance(key, RegionKey) and isinstance(region, Region)
        expect(right, f"{who}: regions of {sample.id!r} must map RegionKey(name, reference) to Region.")
        if region.mask is None:
            continue
        where = f"region {key.name!r} of {key.reference!r} on {sample.id!r}"
        expect(
            region.mask.shape == size,
            f"{who}: {where} is {region.mask.shape}, the picture {size}; regions have native size.",
        )
        expect(region.mask.dtype == np.bool_, f"{who}: {where} has {region.mask.dtype} values; expected bool.")
        expect(
            bool(region.mask.any()), f"{who}: {where} is drawn and has no pixel; its state should be 'marked_nothing'."
        )
        same = again[key].mask
        expect(same is not None and np.array_equal(region.mask, same), f"{who}: {where} differs when read again.")


def _check_players(who: str, sample: Sample) -> None:
    found = sample.read_players()
    if found is None:
        return
    size, known = sample.read_image().shape[:2], set(found.players)
    expect(
        found.labels.shape == size,
        f"{who}: the players of {sample.id!r} are {found.labels.shape}, the picture {size}; players have native size.",
    )
    used = set(np.unique(found.labels).tolist()) - {0}
    used |= {p.parent for p in found.players.values() if p.parent is not None}
    expect(used <= known, f"{who}: players {sorted(used - known)} of {sample.id!r} are drawn or parents, and unnamed.")


def _check_names(who: str, dataset: Dataset, samples: Sequence[Sample]) -> None:
    found = {key.name for s in samples if _carries(dataset, s) for key in s.read_regions()}
    missing = [name for name in dataset.regions if name not in found]
    checked = bool(dataset.findings) and any(_carries(dataset, s) for s in samples)
    expect(
        not (checked and missing),
        f"{who} declares region {', '.join(missing)}, and no film read that carries a finding has it.",
    )
