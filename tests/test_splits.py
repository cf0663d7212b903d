"""A patient in one split only, each split with its share of each class, always the same; one order for subsets."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_bench.errors import BadInput
from xai_bench.samples import SPLITS, Sample
from xai_bench.splits import refuse_leak, split_by_patient, stratified_order


def film(number, patient, label):
    return Sample(f"film-{number}", patient, {"class": label}, lambda: np.zeros((2, 2), np.uint8), str(number))


@st.composite
def clinics(draw):
    """Patients of three classes with one to six films each, mostly of their own class."""
    patients, labels = [], []
    for patient in range(draw(st.integers(30, 80))):
        own = "abc"[patient % 3]
        for _ in range(draw(st.integers(1, 6))):
            patients.append(f"p{patient}")
            labels.append(own)
    return patients, labels


@settings(max_examples=50)
@given(clinics(), st.integers(0, 5))
def test_no_patient_is_in_two_splits_and_no_film_is_lost(clinic, seed):
    patients, labels = clinic
    split = split_by_patient(patients, labels, (0.6, 0.2, 0.2), seed)
    assert tuple(split) == SPLITS
    assert sorted(i for part in split.values() for i in part) == list(range(len(patients)))
    homes = {(patients[i], name) for name, part in split.items() for i in part}
    assert len(homes) == len(set(patients))


@settings(max_examples=50)
@given(clinics(), st.integers(0, 5))
def test_each_split_has_its_share_of_each_class(clinic, seed):
    patients, labels = clinic
    split = split_by_patient(patients, labels, (0.6, 0.2, 0.2), seed)
    for label, total in Counter(labels).items():
        for name, fraction in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
            assert abs(sum(labels[i] == label for i in split[name]) - fraction * total) <= 6  # one patient's films


@given(clinics(), st.randoms(use_true_random=False))
def test_the_order_of_films_does_not_matter(clinic, random):
    patients, labels = clinic
    order = list(range(len(patients)))
    random.shuffle(order)
    split = split_by_patient(patients, labels, seed=3)
    moved = split_by_patient([patients[i] for i in order], [labels[i] for i in order], seed=3)
    assert {n: sorted(order[i] for i in part) for n, part in moved.items()} == {n: list(p) for n, p in split.items()}


def test_another_seed_gives_another_split():
    patients, labels = [f"p{i}" for i in range(60)], ["a", "b"] * 30
    assert split_by_patient(patients, labels, seed=1) == split_by_patient(patients, labels, seed=1)
    assert split_by_patient(patients, labels, seed=1) != split_by_patient(patients, labels, seed=2)


def test_patients_with_many_films_are_in_every_split():
    patients = [f"big{i}" for i in range(10) for _ in range(8)] + [f"small{i}" for i in range(80)]
    split = split_by_patient(patients, ["a"] * len(patients), (0.6, 0.2, 0.2))
    big = {name: len({patients[i] for i in part if patients[i].startswith("big")}) for name, part in split.items()}
    assert big == {"train": 6, "validation": 2, "test": 2}
    assert {name: len(part) for name, part in split.items()} == {"train": 96, "validation": 32, "test": 32}


def test_a_patient_counts_for_the_label_of_most_films():
    patients = ["p0"] * 3 + [f"p{i}" for i in range(1, 9)]
    labels = ["a", "a", "b"] + ["a"] * 2 + ["b"] * 6
    for seed in range(20):
        split = split_by_patient(patients, labels, (0.4, 0.3, 0.3), seed)
        homes = {name: {patients[i] for i in part} & {"p0", "p1", "p2"} for name, part in split.items()}
        assert sorted(map(len, homes.values())) == [1, 1, 1]  # three patients of class a, one to each split


def test_a_split_may_be_left_out():
    patients = [f"p{i}" for i in range(10)]
    split = split_by_patient(patients, ["a"] * 10, (0.5, 0.0, 0.5))
    assert {name: len(part) for name, part in split.items()} == {"train": 5, "validation": 0, "test": 5}
    assert split_by_patient(["p"], ["a"], (1.0, 0.0, 0.0))["train"] == (0,)


def test_films_without_a_label_are_split_too():
    patients = [f"p{i}" for i in range(10)]
    split = split_by_patient(patients, ["a"] * 5 + [None] * 5)
    assert sum(map(len, split.values())) == 10


def test_a_class_with_too_few_patients_is_one_clear_sentence():
    patients, labels = ["p0", "p0", *(f"p{i}" for i in range(1, 9))], ["rare"] * 2 + ["common"] * 8
    with pytest.raises(
        BadInput, match=r"class 'rare' has films of 1 patient, and 3 splits need one each; add patients"
    ):
        split_by_patient(patients, labels)


def test_a_class_that_misses_a_split_is_named():
    patients = [p for i in range(3) for p in [f"p{i}"] * 3] + [f"q{i}" for i in range(9)]
    labels = ["rare", "common", "common"] * 3 + ["common"] * 9
    messages = set()
    for seed in range(20):
        try:
            split = split_by_patient(patients, labels, (0.8, 0.1, 0.1), seed)
        except BadInput as error:
            messages.add(str(error))
        else:
            assert all("rare" in {labels[i] for i in part} for part in split.values())
    assert any("class 'rare' has no film in the" in m and "use another seed" in m for m in messages)


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_fractions_must_add_up(fractions):
    with pytest.raises(BadInput, match="add up to 1"):
        split_by_patient(["p"], ["a"], fractions)


def test_nothing_to_split():
    with pytest.raises(BadInput, match="no film to split"):
        split_by_patient([], [])


def test_a_leaking_split_is_refused_with_the_number_of_patients():
    parts = {"train": [film(0, "p0", "a"), film(1, "p1", "a")], "validation": [], "test": [film(2, "p2", "a")]}
    refuse_leak(parts)
    parts["test"] += [film(3, "p0", "a"), film(4, "p1", "b")]
    with pytest.raises(BadInput, match=r"2 of 3 patients have films in more than one split \(test, train\)"):
        refuse_leak(parts)


FILMS = [film(n, f"p{n % 20}", "abc"[n % 20 % 3]) for n in range(70)]


def test_the_order_takes_the_labels_in_turn_and_new_patients_first():
    order = stratified_order(FILMS, seed=1)
    assert {s.id for s in order} == {s.id for s in FILMS}
    assert [s.labels["class"] for s in order[:18]] == ["a", "b", "c"] * 6
    assert len({s.patient for s in order[:18]}) == 18


def test_a_patient_with_films_of_two_labels_is_new_once_only():
    films = [film(i, f"p{i % 40}", "a" if i < 40 else "b") for i in range(80)]
    for seed in range(10):
        assert len({s.patient for s in stratified_order(films, seed)[:20]}) == 20


@given(st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_depends_on_seed_and_ids_only(seed, random):
    moved = FILMS[:]
    random.shuffle(moved)
    assert [s.id for s in stratified_order(moved, seed)] == [s.id for s in stratified_order(FILMS, seed)]
    assert stratified_order(FILMS, seed) != stratified_order(FILMS, seed + 1)


def test_the_order_can_follow_another_head():
    films = [replace(s, labels={**s.labels, "view": "AP" if i < 35 else "LAT"}) for i, s in enumerate(FILMS)]
    assert [s.labels["view"] for s in stratified_order(films, head="view")[:6]] == ["AP", "LAT"] * 3


def test_a_small_class_ends_and_the_others_go_on():
    films = [film(0, "p0", "rare"), *(film(i, f"p{i}", "common") for i in range(1, 5))]
    assert [s.labels["class"] for s in stratified_order(films)] == ["common", "rare", "common", "common", "common"]
