"""The contract suite says, in one sentence, what is wrong with each deliberately broken dataset."""

import dataclasses

import numpy as np
import pytest

from xai_bench.protocols import Anatomy, Player
from xai_bench.samples import Fixed, Head, Region, RegionKey, Sample
from xai_bench.testing import (
    check_dataset,
)


def sample(number, **changes):
    """A film with a finding on every second one, and its region."""
    pixels = np.random.default_rng(number).random((20, 30))
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:12] = True
    finding = number % 2 == 1
    regions = {RegionKey("box", "derived"): Region("drawn", mask)} if finding else {}
    fields = {
        "id": f"film {number}",
        "patient": f"patient {number}",
        "labels": {"finding": "ill" if finding else "well"},
        "read_image": lambda: pixels,
        "digest": f"digest {number}",
        "read_regions": lambda: regions,
    }
    return Sample(**{**fields, **changes})


def films(changed=None, **dataset):
    """A good dataset, with film 1 (in train, with a finding) changed."""
    made = {n: sample(n, **((changed or {}) if n == 1 else {})) for n in range(12)}
    splits = {"train": range(4), "validation": range(4, 8), "test": range(8, 12)}
    fields = {"heads": (Head("finding", ("well", "ill")),), "findings": {"finding": ("ill",)}, "regions": ("box",)}
    return Fixed({name: tuple(made[n] for n in part) for name, part in splits.items()}, **{**fields, **dataset})


def drawn(mask):
    return {"read_regions": lambda: {RegionKey("box", "derived"): Region("drawn", mask)}}


def marks(shape, players):
    return Anatomy(np.ones(shape, np.int16), players)


def changing(values):
    """Reads another value each time."""
    found = iter(values)
    return lambda: next(found)


def test_a_good_dataset_passes():
    check_dataset(films())
    check_dataset(films({"labels": {"finding": None}, "read_regions": dict}))


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (films({"patient": "patient 9"}), "is in 'train' and in 'test'; split by patient"),
        (films({"id": "film 9"}), "the id 'film 9' is used twice"),
        (films({"labels": {"finding": "sick"}}), r"'film 1' is labeled 'sick'"),
        (films({"digest": ""}), "has no digest"),
        (films({"read_image": lambda: np.zeros((0, 4))}), r"'film 1' has shape \(0, 4\)"),
        (films({"read_image": lambda: np.zeros((4, 4, 4))}), r"has shape \(4, 4, 4\)"),
        (films({"read_image": lambda: np.zeros((20, 30), np.int32)}), "has int32 pixels"),
        (films({"read_image": lambda: np.full((20, 30), 200.0)}), r"has floats outside \[0, 1\]"),
        (films({"read_image": changing(np.full((20, 30), n / 99) for n in range(99))}), "has other pixels"),
        (films({"spacing_mm": (0.0, 1.0)}), r"has spacing \(0.0, 1.0\)"),
        (films({"read_corners": lambda: np.zeros((3, 4))}), r"of shape \(vertebrae, 4, 2\)"),
        (
            films({"read_players": lambda: marks((4, 4), {1: Player("L1", "L1")})}),
            r"players .* are \(4, 4\), the picture",
        ),
        (films({"read_players": lambda: marks((20, 30), {1: Player("L1", "L1", 7)})}), r"players \[7\] of .* unnamed"),
        (films({"read_players": lambda: marks((20, 30), {})}), r"players \[1\] of .* unnamed"),
        (films(drawn(np.ones((10, 15), bool))), r"is \(10, 15\), the picture \(20, 30\)"),
        (films(drawn(np.ones((20, 30), np.uint8))), "has uint8 values; expected bool"),
        (films(drawn(np.zeros((20, 30), bool))), "its state should be 'marked_nothing'"),
        (films({"read_regions": lambda: {("box", "me", 1): None}}), r"must map RegionKey\(name, reference\) to Region"),
        (films(regions=("box", "column")), "declares region column"),
        (films(findings={"finding": ("worse",)}), "the classes are"),
        (films(findings={"severity": ("ill",)}), "findings names head 'severity'"),
        (films(heads=(Head("finding", ("well", "ill", "dead")),)), "no training film is labeled dead"),
    ],
)
def test_a_broken_dataset_is_told_what_is_wrong(dataset, said):
    with pytest.raises(AssertionError, match=said):
        check_dataset(dataset)


def test_a_dataset_with_an_empty_split_or_a_silent_one():
    empty = films()
    with pytest.raises(AssertionError, match="split 'test' is empty"):
        check_dataset(dataclasses.replace(empty, splits={**empty.splits, "test": ()}))

    class Silent(Fixed):
        def samples(self, split):
            return self.splits.get(split, ())

    with pytest.raises(AssertionError, match="must raise BadInput"):
        check_dataset(Silent(**{f.name: getattr(empty, f.name) for f in dataclasses.fields(empty)}))


def test_a_dataset_that_changes_between_calls():
    class Drifting(Fixed):
        def samples(self, split):
            count.append(1)
            return tuple(dataclasses.replace(s, digest=f"{s.digest} {len(count)}") for s in super().samples(split))

    count, good = [], films()
    with pytest.raises(AssertionError, match="the second time"):
        check_dataset(Drifting(**{f.name: getattr(good, f.name) for f in dataclasses.fields(good)}))
