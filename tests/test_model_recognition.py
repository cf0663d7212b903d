import numpy as np
import pytest
import torch
from twin_cases import World, by_score, drawn, films, noise, twins
from xai_bench_metrics.model_recognition import ModelRecognition

from xai_bench.errors import BadInput


def recognized(world: World) -> dict:
    return by_score(ModelRecognition()(world.evidence()))


@pytest.mark.parametrize("replicates", [2, 4])
def test_identical_twins_are_at_chance_exactly(replicates: int) -> None:
    found = recognized(twins(noisy=0, replicates=replicates, count=20))
    row = found["recognized"]
    assert row.value == pytest.approx(1 / replicates)
    assert row.low < row.value < row.high
    assert (row.n, row.better, found["recognized_null"].value) == (20, "lower", 1 / replicates)
    assert f"chance {1 / replicates:.3f}" in row.note


def test_twins_that_differ_by_film_only_are_near_chance_and_a_habit_gives_a_twin_away() -> None:
    free = recognized(twins(noisy=1, count=60))["recognized"]
    assert free.low < 0.5 < free.high
    shared, habits = noise(0, 20, 28), noise(1, 3, 28)
    world = World({("cnn", r): drawn(shared + habits[r], [0] * 20) for r in range(3)})
    habit = recognized(world)["recognized"]
    assert habit.value > 0.95
    assert habit.low > 1 / 3


def test_a_patient_never_teaches_the_regression_that_judges_it() -> None:
    """Each patient has its own map of each twin, which says nothing about other patients."""
    own = noise(3, 40, 14).view(2, 20, 14, 14).repeat_interleave(2, 1)  # both films of a patient are equal
    world = World({("cnn", r): drawn(own[r], [0] * 40) for r in range(2)})
    row = recognized(world)["recognized"]
    assert 0.2 < row.value < 0.8


def test_neither_scale_nor_padding_gives_a_twin_away() -> None:
    shared = noise(0, 20, 16)
    loud = [shared.clone(), 7 * shared]
    for r, maps in enumerate(loud):
        maps[:, :4] = 100 * r
    content = torch.ones(32, 32, dtype=torch.bool)
    content[:8] = False
    world = World({("cnn", r): drawn(maps, [0] * 20) for r, maps in enumerate(loud)})
    world.content = dict.fromkeys(films(20), content)
    assert ModelRecognition(grid=16)(world.evidence())[0].value == pytest.approx(0.5)


def test_films_that_not_all_twins_can_show_are_counted_by_reason() -> None:
    world = twins(replicates=3)
    del world.maps["cnn", 2]["p0a"]
    world.maps["cnn", 1]["p0b"] = (1 - world.maps["cnn", 1]["p0b"][0], world.maps["cnn", 1]["p0b"][1])
    world.maps["cnn", 0]["p1a"] = (1, torch.full((14, 14), torch.inf))
    row = recognized(world)["recognized"]
    reasons = {"no map of one classifier": 1, "predictions differ": 1, "invalid or constant map": 1}
    assert (row.n, row.exclusions) == (9, reasons)


def test_one_replicate_or_one_patient_has_no_value() -> None:
    alone, single = recognized(twins(replicates=1))["recognized"], recognized(twins(count=2))["recognized"]
    assert np.isnan(alone.value) and np.isnan(single.value)
    assert alone.note == "no twin: it has one replicate"
    assert single.note == "fewer than two patients with a map of every twin"


@pytest.mark.parametrize("fields", [{"grid": 1}, {"folds": 1}])
def test_impossible_numbers_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="ModelRecognition"):
        ModelRecognition(**fields)
