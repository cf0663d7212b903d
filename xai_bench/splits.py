"""Splits by patient: stratified, seeded, and refused where they leak; one fixed order of pictures for subsets."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from xai_bench.errors import BadInput
from xai_bench.samples import SPLITS, Sample
from xai_bench.seeding import derive

Fractions = tuple[float, float, float]


def split_by_patient(
    patients: Sequence[str], labels: Sequence[str | None], fractions: Fractions = (0.6, 0.2, 0.2), seed: int = 0
) -> dict[str, tuple[int, ...]]:
    """Indices of the films of `train`, `validation` and `test`; all films of a patient fall into one of them.

    Stratified: the patients of each label (a patient's most frequent one) are shared out so that each split comes as
    close as possible to its fraction of their films, and none stays empty. The same input gives the same split in any
    order of films. Raises BadInput for fractions that do not add up to 1 and for a label with too few patients.

    >>> split_by_patient(["a", "a", "b", "c"], ["sick"] * 4)
    {'train': (0, 1), 'validation': (3,), 'test': (2,)}
    """
    _check_fractions(fractions)
    _check_patients(patients, labels, sum(f > 0 for f in fractions))
    shares = dict(zip(SPLITS, fractions, strict=True))
    home = {p: name for part in _strata(patients, labels) for p, name in _share_out(part, shares, seed).items()}
    split = {name: tuple(i for i, p in enumerate(patients) if home[p] == name) for name in SPLITS}
    _check_classes(labels, {name: split[name] for name, f in zip(SPLITS, fractions, strict=True) if f > 0}, seed)
    return split


def fold_of(patients: Sequence[str], labels: Sequence[str | None], folds: int, seed: int = 0) -> tuple[int, ...]:
    """The fold of each film, 0 to folds - 1: parts of about equal size, stratified by label, each patient in one.

    Raises BadInput for a label with fewer patients than folds.

    >>> sorted(fold_of(["a", "b", "c", "d"], ["sick"] * 4, 2))
    [0, 0, 1, 1]
    """
    _check_patients(patients, labels, folds, "folds", "use fewer folds")
    shares = {str(n): 1 / folds for n in range(folds)}
    home = {p: name for part in _strata(patients, labels) for p, name in _share_out(part, shares, seed).items()}
    return tuple(int(home[p]) for p in patients)


def resample(patients: Sequence[str], labels: Sequence[str | None], seed: int = 0) -> tuple[int, ...]:
    """Indices of the films of as many patients, drawn with replacement among those of each label.

    >>> len(resample(["a", "b", "c"], ["sick", "sick", "well"]))
    3
    """
    films: dict[str, list[int]] = defaultdict(list)
    for i, patient in enumerate(patients):
        films[patient].append(i)
    drawn: list[int] = []
    for n, part in enumerate(_strata(patients, labels)):
        rng, names = np.random.default_rng([seed, n]), sorted(part)
        drawn += [i for k in rng.integers(0, len(names), len(names)) for i in films[names[k]]]
    return tuple(drawn)


def refuse_leak(splits: Mapping[str, Sequence[Sample]]) -> None:
    """Raise BadInput where a patient has films in more than one split."""
    where: dict[str, set[str]] = defaultdict(set)
    for name, samples in splits.items():
        for sample in samples:
            where[sample.patient].add(name)
    leaks = [names for names in where.values() if len(names) > 1]
    if leaks:
        among = ", ".join(sorted(set().union(*leaks)))
        raise BadInput(
            f"{len(leaks)} of {len(where)} patients have films in more than one split ({among}), so a test would be "
            "answered from memory; put all films of a patient into one split."
        )


def stratified_order(samples: Sequence[Sample], seed: int = 0, head: str | None = None) -> tuple[Sample, ...]:
    """One fixed order of films: each label of `head` (default the first) in turn, films of new patients first.

    Its first n films are the subset of size n, so a larger subset holds the smaller one. A film's place depends on the
    seed, ids and patients, not on the order in which films come.
    """
    turns: dict[str, list[tuple[int, int, str, Sample]]] = defaultdict(list)
    seen: Counter[str] = Counter()
    for sample in sorted(samples, key=lambda s: (derive(seed, s.id), s.id)):
        label = sample.labels.get(head or next(iter(sample.labels), ""))
        turns[str(label)].append((seen[sample.patient], derive(seed, sample.patient), sample.id, sample))
        seen[sample.patient] += 1
    ranked = [
        (turn, label, entry[3])
        for label, entries in turns.items()
        for turn, entry in enumerate(sorted(entries, key=lambda e: e[:3]))
    ]
    return tuple(sample for _, _, sample in sorted(ranked, key=lambda r: r[:2]))


def _check_fractions(fractions: Fractions) -> None:
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
        raise BadInput(
            f"fractions {fractions}: expected three for {', '.join(SPLITS)} that add up to 1, train above 0."
        )


def _check_patients(
    patients: Sequence[str],
    labels: Sequence[str | None],
    needed: int,
    what: str = "splits",
    remedy: str = "set a split's fraction to 0",
) -> None:
    if not patients:
        raise BadInput("there is no film to split; check the folder and its labels.")
    having: dict[str, set[str]] = defaultdict(set)
    for patient, label in zip(patients, labels, strict=True):
        if label is not None:
            having[label].add(patient)
    label, few = min(having.items(), key=lambda item: (len(item[1]), item[0]), default=("", set()))
    if having and len(few) < needed:
        raise BadInput(
            f"class {label!r} has films of {len(few)} patient{'s' * (len(few) != 1)}, and {needed} {what} need one "
            f"each; add patients, merge the class with another, or {remedy}."
        )


def _check_classes(labels: Sequence[str | None], splits: Mapping[str, Sequence[int]], seed: int) -> None:
    for name, indices in splits.items():
        missing = {label for label in labels if label is not None} - {labels[i] for i in indices}
        if missing:
            raise BadInput(
                f"class {min(missing)!r} has no film in the {name} split with seed {seed}, because its patients have "
                "more films of another class; use another seed or merge the class with another."
            )


def _patient_labels(patients: Sequence[str], labels: Sequence[str | None]) -> dict[str, str | None]:
    """Each patient's most frequent label; of several the one that is rarer in all, which is harder to share out."""
    total = Counter(labels)
    own: dict[str, Counter[str | None]] = defaultdict(Counter)
    for patient, label in zip(patients, labels, strict=True):
        own[patient][label] += 1
    return {p: min(own[p], key=lambda label: (-own[p][label], total[label], str(label))) for p in sorted(own)}


def _strata(patients: Sequence[str], labels: Sequence[str | None]) -> list[dict[str, int]]:
    """For each label in order, its patients and how many films each has."""
    films = Counter(patients)
    strata: dict[str, dict[str, int]] = defaultdict(dict)
    for patient, label in _patient_labels(patients, labels).items():
        strata[str(label)][patient] = films[patient]
    return [strata[label] for label in sorted(strata)]


def _share_out(films: Mapping[str, int], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Patients with many films first, each to the part that lags most behind its share of the films so far.

    So all parts get patients with many and with few films alike. The last ones go to parts that are still empty.
    """
    wanted = {name: share for name, share in shares.items() if share > 0}
    got, home = dict.fromkeys(wanted, 0), {}
    order = sorted(films, key=lambda p: (-films[p], derive(seed, p), p))
    total = 0
    for left, patient in zip(range(len(order), 0, -1), order, strict=True):
        total += films[patient]
        empty = [name for name in wanted if not got[name]]
        options = empty if left <= len(empty) else wanted
        name = max(options, key=lambda n: wanted[n] * total - got[n])
        home[patient] = name
        got[name] += films[patient]
    return home
