"""The classifiers of a study, trained or loaded, each with its films."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from xai_bench.classifiers.checkpoint import load_checkpoint, save_checkpoint
from xai_bench.classifiers.training import TrainingSet, accuracy, label_rows, train
from xai_bench.code_version import code_of
from xai_bench.errors import BadInput
from xai_bench.pictures import Pictures, TrainingFilms
from xai_bench.references import check_readers, check_regions
from xai_bench.running.machine import device
from xai_bench.running.targets import label_targets
from xai_bench.running.tuning import stand_in, tune
from xai_bench.running.twins import Lesson, lesson, twin_name
from xai_bench.running.workbench import Model, Workbench
from xai_bench.samples import Dataset, Head, Sample
from xai_bench.spec import digest, spec_of
from xai_bench.splits import refuse_leak
from xai_bench.study import Checkpoint, Given, Study, Trained, Twin


def samples_by_split(dataset: Dataset) -> dict[str, dict[str, Sample]]:
    """Every split's samples by id. Raises BadInput where a patient is in two splits or an id is used twice."""
    found: dict[str, dict[str, Sample]] = {}
    for split in ("train", "validation", "test"):
        samples = dataset.samples(split)
        found[split] = {s.id: s for s in samples}
        if len(found[split]) < len(samples):
            raise BadInput(
                f"split {split!r} has {len(samples)} samples but only {len(found[split])} ids; give each its own id."
            )
    refuse_leak({split: list(part.values()) for split, part in found.items()})
    return found


@dataclass(frozen=True)
class Entry:
    """A classifier or twin of a study, which is trained or loaded when it is made."""

    name: str
    replicate: int
    train_seed: int | None
    regime: str
    fold: int | None
    label: str
    make: Callable[[Workbench], Model]


def models(study: Study, bench: Workbench) -> Iterator[Model]:
    """Each classifier and replicate of the study, one after the other, trained where the store has none."""
    return (entry.make(bench) for entry in entries(study))


def entries(study: Study) -> Iterator[Entry]:
    """Each classifier and replicate of the study, before it is trained or loaded."""
    splits = samples_by_split(study.dataset)
    if not splits.get(study.split):
        raise BadInput(f"split {study.split!r} of the dataset holds no film; choose another split or more films.")
    check_readers(study.references, splits[study.split].values())
    check_regions([r for r in study.regions if r not in study.dataset.regions], splits[study.split].values())

    @cache
    def films(reader: Any, split: str) -> Pictures:
        read = split in (study.split, "validation")  # where maps are scored, and where thresholds are tuned
        return Pictures(splits[split], reader, references=study.references if read else ())

    for entry in study.classifiers:
        if isinstance(entry, Trained):
            own = films if entry.dataset is None else _films_of(entry.dataset, splits)
            for twin in entry.twins:
                make = partial(_twin, study, entry, twin, own, films)
                fold = twin.part if entry.folds else None
                name = twin_name(entry, twin)
                yield Entry(entry.name, twin.number, twin.seed, entry.training.regime, fold, name, make)
        else:
            regime = "given" if isinstance(entry, Given) else "checkpoint"
            yield Entry(entry.name, 0, None, regime, None, entry.name, partial(_loaded, study, entry, films))


def _loaded(study: Study, entry: Checkpoint | Given, films: Any, bench: Workbench) -> Model:
    size = batch_size(study, bench, entry)
    if isinstance(entry, Given):
        classifier, regime, key, seed = entry.classifier, "given", entry.classifier.identity(), None
    else:
        classifier, card = load_checkpoint(Path(entry.checkpoint))
        classifier = classifier.to(device())
        regime = (card.get("training") or {}).get("fields", {}).get("regime", "checkpoint")
        key, seed = classifier.weights_hash(), card.get("seed")
    training = _films(films(classifier.reader, "train"), classifier.heads, study.regions)
    pictures, checked = films(classifier.reader, study.split), films(classifier.reader, "validation")
    return Model(entry.name, 0, seed, regime, classifier, key, pictures, training, size, validation=checked)


def _twin(study: Study, entry: Trained, twin: Twin, own: Any, films: Any, bench: Workbench) -> Model:
    trained = _trained(study, bench, entry, twin, own, films(study.reader, study.split))
    return replace(trained, validation=films(study.reader, "validation"))


def batch_size(study: Study, bench: Workbench, entry: Trained | Checkpoint | Given) -> int:
    """The study's batch size, or else the one that was measured here once for this classifier and kept."""
    if study.batch_size is not None:
        return study.batch_size
    what = entry.classifier.identity() if isinstance(entry, Given) else by_content(_what(entry))
    parts = {"classifier": what, "reader": spec_of(study.reader), "code": code_of(tune)}

    def compute(_: Path) -> Mapping[str, Any]:
        tuned = tune(stand_in(entry, study))
        seconds = {str(size): seconds for size, seconds in tuned.seconds.items()}
        return {"batch_size": tuned.batch_size, "seconds a picture": seconds, "pictures": 0, "evaluations": 0}

    return int(bench.cell("batch_size", entry.name, parts, compute).receipt["batch_size"])


def _what(entry: Trained | Checkpoint) -> Any:
    return spec_of(entry.architecture) if isinstance(entry, Trained) else entry.checkpoint


def _films_of(dataset: Dataset, study_splits: Mapping[str, Mapping[str, Sample]]) -> Any:
    own = samples_by_split(dataset)
    tested = {s.patient for s in study_splits["test"].values()}
    seen = {s.patient for split in ("train", "validation") for s in own[split].values()}
    if tested & seen:
        raise BadInput(
            f"{len(tested & seen)} patients of the study's test split are in a classifier's own training data; "
            "use disjoint patients."
        )
    return cache(lambda reader, split: Pictures(own[split], reader))


def _films(
    pictures: Pictures, heads: Sequence[Head], regions: tuple[str, ...], ids: Set[str] | None = None
) -> TrainingFilms | None:
    """Films to fit explainers and metrics on, with their true labels: all, or those that a twin has seen."""
    labels = {
        i: next(iter(targets.values()))
        for i, s in pictures.samples.items()
        if (ids is None or i in ids) and (targets := label_targets(heads, s))
    }
    return TrainingFilms(pictures, labels, regions) if labels else None


def _trained(study: Study, bench: Workbench, entry: Trained, twin: Twin, films: Any, tested: Pictures) -> Model:
    seed = twin.seed
    heads = study.dataset.heads if entry.dataset is None else entry.dataset.heads
    learned = lesson(entry, twin, films(study.reader, "train"), heads)
    checked = lesson(entry, twin, films(study.reader, "validation"), heads, whole=True)
    parts = {
        "architecture": by_content(spec_of(entry.architecture)),
        "training": spec_of(entry.training), "code": code_of(entry.architecture, train),
        "seed": seed, "heads": [spec_of(h) for h in heads], "reader": spec_of(study.reader),
        "films": [learned.digests, checked.digests],
    }  # fmt: skip
    key = digest(parts)

    def compute(folder: Path) -> Mapping[str, Any]:
        data = _training_set(bench, entry.name, heads, learned, checked)
        name = f"{twin_name(entry, twin)}: training"
        with bench.progress.task(name, entry.training.epochs) as advance:
            classifier = train(
                entry.architecture, entry.training, heads, study.reader, data, seed=seed,
                folder=bench.store.root / "training" / key, advance=advance,
            )  # fmt: skip
        seen = len(data.validation_images) > 0
        card = {
            "architecture": spec_of(entry.architecture),
            "training": spec_of(entry.training),
            "seed": seed,
            "data": digest(parts["films"]),
            "accuracy": accuracy(classifier, data.validation_images, data.validation_labels) if seen else {},
        }
        save_checkpoint(classifier, folder, card)
        return {"pictures": len(learned.ids), "evaluations": 0}

    cell = bench.cell("train", twin_name(entry, twin), parts, compute)
    classifier = load_checkpoint(cell.folder)[0].to(device())
    training = _films(learned.pictures, heads, study.regions, set(learned.ids))
    weights = classifier.weights_hash()
    bench.memo[weights] = cell.receipt
    size = batch_size(study, bench, entry)
    parts_of = (twin.part, None) if entry.folds else (None, twin.part)
    regime = entry.training.regime
    return Model(entry.name, twin.number, seed, regime, classifier, weights, tested, training, size, *parts_of)


def by_content(spec: Any) -> Any:
    """A spec in which every file, and every checkpoint folder, stands by its sha256 and not by its path."""
    if isinstance(spec, dict):
        return {k: by_content(v) for k, v in spec.items()}
    if isinstance(spec, list):
        return [by_content(v) for v in spec]
    if isinstance(spec, str) and ("/" in spec or "." in spec):
        file = Path(spec) / "card.json" if Path(spec).is_dir() else Path(spec)  # a card holds its weights' hash
        if file.is_file():
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
    return spec


def _training_set(bench: Workbench, name: str, heads: Sequence[Head], learned: Lesson, checked: Lesson) -> TrainingSet:
    parts = []
    for films in (learned, checked):
        pictures, ids = films.pictures, films.ids
        with bench.progress.task(f"{name}: reading films", len(ids)) as advance:
            images = []
            for start in range(0, len(ids), 64):
                part = pictures.readable(ids[start : start + 64], regions=False)
                images += [p.image for p in part]
                advance(len(part))
        channels = max((p.shape[0] for p in images), default=1)  # gray films among color ones
        resize = pictures.reader.resize
        empty = torch.zeros(0, channels, resize.height, resize.width)  # a validation split may hold no film
        parts += [
            torch.stack([p.expand(channels, -1, -1) for p in images]) if images else empty,
            label_rows(heads, films.labels),
        ]
    return TrainingSet(*parts)
