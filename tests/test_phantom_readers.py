"""Simulated readers: errors of the stated amount, in blobs, the film's own, and no trace where there are none."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import convolve

from xai_bench.agreement import reader_rates
from xai_bench.code_version import code_version
from xai_bench.datasets.phantom import Films, Phantom
from xai_bench.errors import BadInput
from xai_bench.phantom.chance import Chance
from xai_bench.phantom.film import draw_ap
from xai_bench.phantom.readers import Reader, shifted
from xai_bench.samples import RegionKey
from xai_bench.spec import build, digest, spec_of
from xai_bench.testing.datasets import check_dataset

SMALL = Phantom(height=96, width=76, films=Films(40, 10, 20))
READERS = (Reader("anna"), Reader("ben", 0.8, 0.99, 1.0), Reader("carl", reads=0.5))
SHAPE = (112, 88)


def square() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[40:80, 30:60] = True
    return mask


def test_without_readers_nothing_is_as_if_there_could_be_any() -> None:
    names = ("view", "height", "width", "seed", "marker", "cobb", "normal_cobb", "slip")
    fields = {name: spec_of(getattr(SMALL, name)) for name in names}
    for sample in SMALL.samples("test")[:3]:
        assert sample.digest == digest({"id": sample.id, "code": code_version(draw_ap), "fields": fields})
        assert {key.reference for key in sample.read_regions()} == {"derived"}
    assert SMALL.references == ()


def test_readers_change_neither_pixels_nor_truth_and_stand_in_the_digest() -> None:
    drawn = replace(SMALL, readers=READERS)
    for bare, sample in zip(SMALL.samples("test"), drawn.samples("test"), strict=True):
        assert bare.digest != sample.digest
        assert np.array_equal(bare.read_image(), sample.read_image())
        before, after = bare.read_regions(), sample.read_regions()
        for key, region in before.items():
            assert after[key].state == region.state
            assert region.mask is None or np.array_equal(after[key].mask, region.mask)
    better = replace(SMALL, readers=(replace(READERS[0], sensitivity=0.95), *READERS[1:]))
    assert better.samples("test")[0].digest != drawn.samples("test")[0].digest


@pytest.mark.parametrize("view", ["ap", "both"])
def test_each_region_but_the_marker_is_drawn_by_each_reader(view: str) -> None:
    data = replace(SMALL, view=view, readers=READERS[:2])
    for sample in data.samples("test"):
        regions = sample.read_regions()
        names = {k.name for k in regions if k.reference == "derived"} & set(data.regions)
        for reader in ("anna", "ben"):
            assert {k.name for k in regions if k.reference == reader} == names
            for name in names:
                assert regions[RegionKey(name, reader)].state == regions[RegionKey(name, "derived")].state


def test_the_contract_of_datasets_holds_and_a_sample_travels() -> None:
    data = replace(SMALL, readers=READERS)
    check_dataset(data, films=2)
    sample = data.samples("test")[1]
    key = RegionKey("column", "anna")
    copy = pickle.loads(pickle.dumps(sample))
    assert np.array_equal(copy.read_regions()[key].mask, sample.read_regions()[key].mask)


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.98), (0.6, 0.999), (1.0, 1.0), (0.0, 0.5)])
def test_sensitivity_and_specificity_are_those_stated(sensitivity: float, specificity: float) -> None:
    reader, truth = Reader("anna", sensitivity, specificity, jitter=0), square()
    found = [reader_rates(reader.drawing(truth, Chance(0, n), "R1"), truth) for n in range(40)]
    assert np.mean([f.sensitivity for f in found]) == pytest.approx(sensitivity, abs=0.5 / truth.sum())
    assert np.mean([f.specificity for f in found]) == pytest.approx(specificity, abs=0.5 / (~truth).sum())


def test_measured_on_phantom_films_with_jitter_it_is_lower() -> None:
    data = replace(SMALL, readers=(Reader("still", jitter=0), Reader("shaky", jitter=8)))
    rates: dict[str, list[float]] = {"still": [], "shaky": []}
    for sample in data.samples("train"):
        regions = sample.read_regions()
        for name in rates:
            truth, own = (regions[RegionKey("column", r)].mask for r in ("derived", name))
            rates[name].append(reader_rates(own, truth).sensitivity)
    assert np.mean(rates["still"]) == pytest.approx(0.9, abs=0.002)
    assert np.mean(rates["shaky"]) < 0.8


def test_jitter_is_the_spread_of_the_shift_at_224_rows() -> None:
    truth, reader = square(), Reader("anna", 1.0, 1.0, jitter=6.0)
    centers = [np.argwhere(reader.drawing(truth, Chance(0, n), "R1")).mean(0) for n in range(400)]
    moved = (np.array(centers) - np.argwhere(truth).mean(0)).ravel()
    spread = np.sqrt((6.0 * SHAPE[0] / 224) ** 2 + 1 / 12)  # rounded to whole pixels
    assert moved.std() == pytest.approx(spread, rel=4 / np.sqrt(2 * moved.size))
    assert abs(moved.mean()) < 4 * spread / np.sqrt(moved.size)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -2), (-90, 0), (200, 5), (0, 60)])
def test_a_shift_loses_what_leaves_the_film(down: int, right: int) -> None:
    truth = square()
    slow = np.zeros_like(truth)
    for row in range(SHAPE[0]):
        for column in range(SHAPE[1]):
            r, c = row - down, column - right
            slow[row, column] = 0 <= r < SHAPE[0] and 0 <= c < SHAPE[1] and truth[r, c]
    assert np.array_equal(shifted(truth, down, right), slow)


def test_errors_are_blobs_not_single_pixels() -> None:
    truth, reader = square(), Reader("anna", 0.8, 0.95, jitter=0)
    marked = reader.drawing(truth, Chance(0, 3), "R1")
    single = np.random.default_rng(0).random(SHAPE)
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])

    def neighbors(errors: np.ndarray, among: np.ndarray) -> float:
        """The mean number of an error's four neighbors, as far as they could be such errors, that are."""
        possible = convolve(among.astype(int), cross, mode="constant")
        return float((convolve(errors.astype(int), cross, mode="constant") / np.maximum(possible, 1))[errors].mean())

    for errors, among in ((marked & ~truth, ~truth), (truth & ~marked, truth)):
        salt = among & (single < errors.sum() / among.sum())
        assert neighbors(errors, among) > 0.7
        assert neighbors(salt, among) < 0.35


def test_the_share_of_films_read_is_that_stated_and_a_film_is_read_whole() -> None:
    read = [READERS[2].has_read(Chance(0, n)) for n in range(1000)]
    assert np.mean(read) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(1000))
    states = set()
    for sample in replace(SMALL, readers=READERS).samples("test"):
        own = {r.state == "not_read" for k, r in sample.read_regions().items() if k.reference == "carl"}
        assert len(own) == 1
        states |= own
    assert states == {True, False}


def test_a_drawing_is_the_reader_s_the_film_s_the_region_s_and_the_seed_s_alone() -> None:
    alone = replace(SMALL, readers=READERS[:1]).samples("test")[2].read_regions()
    among = replace(SMALL, readers=(READERS[1], READERS[0])).samples("test")[2].read_regions()
    key = RegionKey("column", "anna")
    assert np.array_equal(alone[key].mask, among[key].mask)
    truth, reader = square(), READERS[0]
    first = reader.drawing(truth, Chance(0, 10), "R1")
    assert np.array_equal(first, reader.drawing(truth, Chance(0, 10), "R1"))
    for other in (
        reader.drawing(truth, Chance(0, 11), "R1"),
        reader.drawing(truth, Chance(1, 10), "R1"),
        reader.drawing(truth, Chance(0, 10), "R2"),
        replace(reader, name="eve").drawing(truth, Chance(0, 10), "R1"),
    ):
        assert not np.array_equal(first, other)


def test_a_reader_who_finds_no_pixel_has_marked_nothing() -> None:
    blind = replace(SMALL, readers=(Reader("blind", 0.0, 1.0),))
    for sample in blind.samples("test"):
        assert {r.state for k, r in sample.read_regions().items() if k.reference == "blind"} == {"marked_nothing"}


def test_readers_are_built_from_tables_and_from_the_own_spec() -> None:
    table = {"name": "phantom", "readers": [{"name": "anna"}, {"name": "ben", "sensitivity": 0.8}]}
    assert build("dataset", table).readers == (Reader("anna"), Reader("ben", 0.8))
    data = replace(SMALL, readers=READERS)
    assert build("dataset", spec_of(data)) == data
    with pytest.raises(BadInput, match=r"unknown field 'sensitivty'.*Did you mean 'sensitivity'"):
        build("dataset", {"name": "phantom", "readers": [{"name": "anna", "sensitivty": 0.8}]})


def test_two_readers_make_default_references() -> None:
    assert replace(SMALL, readers=READERS[:1]).references == ()
    assert replace(SMALL, readers=READERS[:2]).references == (
        "derived",
        "consensus:majority",
        "consensus:majority:without:*",
    )


@pytest.mark.parametrize("name", ["", "derived", "*", "anna#2", "consensus:majority"])
def test_a_name_that_is_no_reader_s_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="no reader's name"):
        Reader(name)


@pytest.mark.parametrize(
    "fields", [{"sensitivity": 1.1}, {"specificity": -0.1}, {"reads": 2.0}, {"jitter": -1.0}, {"jitter": np.nan}]
)
def test_bad_fields_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="expected"):
        Reader("anna", **fields)


def test_two_readers_of_one_name_are_refused() -> None:
    with pytest.raises(BadInput, match="two readers are called 'anna'"):
        replace(SMALL, readers=(Reader("anna"), Reader("anna", 0.5)))
