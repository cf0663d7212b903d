"""The target rule: which logit of which picture is explained, and for which purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from xai_bench.errors import BadInput
from xai_bench.samples import Dataset, Head, Sample
from xai_bench.splits import stratified_order
from xai_bench.study import ALIGNMENT, FAITHFULNESS, Study, Target


@dataclass(frozen=True)
class Request:
    """One map to make: a picture, the logit to explain, and the target rules that want it."""

    picture: str
    target: int
    rules: tuple[str, ...]


def offsets(heads: Sequence[Head]) -> dict[str, int]:
    """Index of each head's first logit.

    >>> offsets([Head("a", ("x", "y")), Head("b", ("z", "w"))])
    {'a': 0, 'b': 2}
    """
    found, start = {}, 0
    for head in heads:
        found[head.name] = start
        start += len(head.classes)
    return found


def class_name(heads: Sequence[Head], target: int) -> str:
    """The class that a logit stands for."""
    return [c for h in heads for c in h.classes][target]


def label_targets(heads: Sequence[Head], sample: Sample) -> dict[str, int]:
    """head -> logit of the film's label, for the heads that have one. Raises BadInput for a class that a head lacks."""
    found = {}
    for head, start in offsets(heads).items():
        classes = next(h.classes for h in heads if h.name == head)
        label = sample.labels.get(head)
        if label is not None and label not in classes:
            raise BadInput(
                f"picture {sample.id!r} is labeled {label!r}; head {head!r} has the classes {', '.join(classes)}."
            )
        if label is not None:
            found[head] = start + classes.index(label)
    return found


def carries_finding(dataset: Dataset, sample: Sample) -> bool:
    """True where a label of the film is a declared finding, or the dataset declares none."""
    if not any(dataset.findings.values()):
        return True
    return any(sample.labels.get(head) in classes for head, classes in dataset.findings.items())


def explained_order(dataset: Dataset, samples: Sequence[Sample], seed: int) -> list[str]:
    """One fixed order of pictures: with a finding first, each part stratified by label, a new patient each time."""
    with_finding = [s for s in samples if carries_finding(dataset, s)]
    rest = [s for s in samples if not carries_finding(dataset, s)]
    return [s.id for part in (with_finding, rest) if part for s in stratified_order(part, seed)]


def requests(
    study: Study, heads: Sequence[Head], samples: Mapping[str, Sample], predicted: pd.DataFrame
) -> list[Request]:
    """Every (picture, target) that the study's metrics need for this classifier, in the fixed order.

    `predicted` has picture, head and target (the predicted logit), readable pictures only.
    """
    rules = [study.target] if study.target else [ALIGNMENT, FAITHFULNESS]
    of_picture = dict(zip(zip(predicted.picture, predicted["head"], strict=True), predicted.target, strict=True))
    found: dict[tuple[str, int], list[str]] = {}
    for picture in explained_order(study.dataset, list(samples.values()), study.seed):
        for rule in rules:
            target = _resolve(rule, heads, samples[picture], of_picture)
            wanted = rule is not ALIGNMENT or carries_finding(study.dataset, samples[picture])
            if target is not None and wanted and (picture, rule.head or heads[0].name) in of_picture:
                found.setdefault((picture, target), []).append(rule.of)
    return [Request(picture, target, tuple(of)) for (picture, target), of in found.items()]


def _resolve(
    rule: Target, heads: Sequence[Head], sample: Sample, predicted: Mapping[tuple[str, str], int]
) -> int | None:
    head = rule.head or heads[0].name
    starts = offsets(heads)
    if head not in starts:
        raise BadInput(f"target head {head!r} does not exist; the classifier has {', '.join(starts)}.")
    if rule.of == "predicted":
        return predicted.get((sample.id, head))
    if rule.of == "label":
        return label_targets(heads, sample).get(head)
    classes = next(h.classes for h in heads if h.name == head)
    if rule.of not in classes:
        raise BadInput(
            f"target {rule.of!r} is neither 'predicted', 'label' nor a class of head {head!r} ({', '.join(classes)})."
        )
    return starts[head] + classes.index(rule.of)


def rule_of(study: Study, needs_region: bool) -> str:
    """Which rule's maps a metric scores: the label's for alignment, else the prediction's, unless the study says."""
    return (study.target or (ALIGNMENT if needs_region else FAITHFULNESS)).of
