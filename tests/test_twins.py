"""What twins learn from, and that they are kept apart from what they are compared on."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from xai_bench.datasets.phantom import Films, Phantom
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Resize
from xai_bench.pictures import Pictures
from xai_bench.running.benchmark import evaluate
from xai_bench.running.twins import Lesson, lesson
from xai_bench.study import Study, Trained, Twin

DATA = Phantom(films=Films(24, 6, 6), height=64, width=48)
READER = Input(Resize(64, 48))


def lesson_of(twin: Twin, *, whole: bool = False, **fields: object) -> Lesson:
    entry = Trained("m", "small_cnn", **fields)  # type: ignore[arg-type]  # plain values by name
    pictures = Pictures({s.id: s for s in DATA.samples("train")}, READER)
    return lesson(entry, twin, pictures, DATA.heads, whole=whole)


def patients(learned: Lesson) -> set[str]:
    return {learned.pictures.samples[i].patient for i in learned.ids}


def test_a_twin_without_parts_learns_from_every_film_as_it_is() -> None:
    learned = lesson_of(Twin(0, 7, None))
    samples = DATA.samples("train")
    assert learned.ids == tuple(s.id for s in samples)
    assert learned.digests == [(s.digest, dict(s.labels)) for s in samples]


def test_each_patient_is_missing_in_exactly_one_fold() -> None:
    everyone = {s.patient for s in DATA.samples("train")}
    missing = [everyone - patients(lesson_of(Twin(k, 0, k), folds=3)) for k in range(3)]
    assert Counter(p for part in missing for p in part) == dict.fromkeys(everyone, 1)
    assert max(map(len, missing)) - min(map(len, missing)) <= 2


def test_folds_keep_both_classes() -> None:
    for k in range(3):
        labels = {row["diagnosis"] for row in lesson_of(Twin(k, 0, k), folds=3).labels}
        assert labels == {"normal", "scoliosis"}


def test_a_resample_draws_whole_patients_with_replacement() -> None:
    learned = lesson_of(Twin(1, 0, 1), resamples=4)
    films = Counter(learned.ids)
    by_patient: dict[str, set[int]] = {}
    for i, sample in learned.pictures.samples.items():
        by_patient.setdefault(sample.patient, set()).add(films[i])
    assert all(len(counts) == 1 for counts in by_patient.values())  # all of a patient's films equally often
    assert max(films.values()) > 1 and min(c for counts in by_patient.values() for c in counts) == 0
    assert learned.ids != lesson_of(Twin(2, 0, 2), resamples=4).ids


def test_validation_films_are_not_divided() -> None:
    assert len(lesson_of(Twin(0, 0, 0), whole=True, folds=3).ids) == 24


def test_shuffled_labels_are_the_same_labels_in_another_order() -> None:
    true, shuffled = lesson_of(Twin(0, 3, None)), lesson_of(Twin(0, 3, None), shuffled_labels=True)
    names = [[row["diagnosis"] for row in found.labels] for found in (true, shuffled)]
    assert sorted(map(str, names[0])) == sorted(map(str, names[1]))
    agree = np.mean([a == b for a, b in zip(*names, strict=True)])
    assert agree < 0.8 and true.ids == shuffled.ids


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"folds": 3, "resamples": 2}, "folds and resamples; its twins differ by one"),
        ({"folds": 1}, "folds = 1; expected 2 or more"),
        ({"resamples": 0}, "resamples = 0; expected 1 or more"),
        ({"only": (2,)}, "has no twin 2; its 1 twins count from 0"),
    ],
)
def test_wrong_twins_are_one_clear_sentence(fields: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Trained("m", "small_cnn", **fields)  # type: ignore[arg-type]  # plain values by name


def test_more_folds_than_patients_of_a_class_is_one_clear_sentence() -> None:
    with pytest.raises(BadInput, match=r"and 50 folds need one each; .* or use fewer folds"):
        lesson_of(Twin(0, 0, 0), folds=50)


def test_twins_are_numbered_over_seeds_and_parts() -> None:
    assert Trained("m", "small_cnn", seeds=(4, 5), folds=2).twins == (
        Twin(0, 4, 0), Twin(1, 4, 1), Twin(2, 5, 0), Twin(3, 5, 1),
    )  # fmt: skip
    assert Trained("m", "small_cnn", seeds=(4, 5), only=(1,)).twins == (Twin(1, 5, None),)


def test_fold_twins_of_a_study_are_different_classifiers_and_say_their_fold(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    entry = {"name": "m", "architecture": {"name": "small_cnn", "width": 4}, "training": {"epochs": 1}, "folds": 2}
    study = Study("s", DATA, [entry], ["random_map"], ["complexity"], reader=READER, batch_size=8, limit=2)
    run = evaluate(study, store=tmp_path, workers=1)
    assert [m.fold for m in run.models] == [0, 1] and len({m.weights for m in run.models}) == 2
    assert sorted(run.rows.groupby("fold").replicate.first().items()) == [(0, 0), (1, 1)]
    tested = {s.patient for s in DATA.samples("test")}
    for model in run.models:
        assert model.training is not None
        assert not tested & {model.training.pictures.samples[i].patient for i in model.training.labels}
