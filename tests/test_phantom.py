"""The data set: labels, regions, splits, twins, and that nothing but the column tells the class."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from xai_bench.datasets.phantom import Films, Phantom
from xai_bench.errors import BadInput
from xai_bench.geometry import chain_mask, cobb_angle
from xai_bench.phantom import fixed_box
from xai_bench.phantom.marker import Marker
from xai_bench.samples import RegionKey
from xai_bench.spec import build, spec_of

SMALL = Phantom(height=96, width=76, films=Films(40, 10, 20))


def region(sample, name: str):
    return sample.read_regions()[RegionKey(name, "derived")]


def test_it_is_built_by_name_and_from_its_own_spec() -> None:
    assert build("dataset", "phantom") == Phantom()
    assert build("dataset", spec_of(SMALL)) == SMALL
    assert build("dataset", {"name": "phantom", "marker": {"mode": "leaking"}}).marker == Marker("leaking")


@pytest.mark.parametrize("view", ["ap", "lateral", "both"])
def test_labels_regions_and_heads_agree(view: str) -> None:
    data = replace(SMALL, view=view)
    (head,) = data.heads
    seen = set()
    for sample in data.samples("train"):
        label = sample.labels["diagnosis"]
        assert label in head.classes
        seen.add(label)
        image, regions = sample.read_image(), sample.read_regions()
        assert image.shape == (96, 76)
        assert all(r.mask is None or r.mask.shape == image.shape for r in regions.values())
        finding = "scoliosis" if sample.meta["view"] == "ap" else "spondylolisthesis"
        for name in (f"{finding}.R1", f"{finding}.R2"):
            assert (regions[RegionKey(name, "derived")].state == "drawn") == (label in data.findings["diagnosis"])
        assert regions[RegionKey("column", "derived")].state == "drawn"
    assert seen == set(head.classes)
    assert {r for r in data.regions if r != "column"} <= {f"{f}.{r}" for f in head.classes for r in ("R1", "R2")}


def test_regions_are_nested_and_not_tiny() -> None:
    sizes = []
    for view, names in (("ap", SMALL.regions), ("lateral", replace(SMALL, view="lateral").regions)):
        for sample in replace(SMALL, view=view).samples("train")[:20]:
            if sample.labels["diagnosis"] == "normal":
                continue
            inner, middle, column = (region(sample, n).mask for n in names)
            assert not (inner & ~middle).any()
            assert not (middle & ~column).any()
            sizes.append((inner.mean(), middle.mean(), column.mean()))
    assert (np.median(sizes, axis=0) > [0.008, 0.03, 0.06]).all()  # shares of the film; AASCE's columns hold 0.15


@pytest.mark.parametrize("view", ["ap", "lateral"])
def test_players_are_the_column_with_its_names(view: str) -> None:
    sample = replace(SMALL, view=view).samples("train")[1]
    found = sample.read_players()
    corners = sample.read_corners()
    assert np.array_equal(found.labels > 0, chain_mask(corners, found.labels.shape))
    bodies = [found.players[n].name for n in range(1, 2 * len(corners), 2)]
    assert bodies == ([*(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6))] if view == "ap" else
                      ["L1", "L2", "L3", "L4", "L5", "S1"])  # fmt: skip
    for n, center in enumerate(corners.mean(1)):
        column, row = center.astype(int)
        assert found.labels[row, column] == 2 * n + 1


def test_labels_follow_the_measured_angle_and_slip() -> None:
    for sample in SMALL.samples("train"):
        measured = cobb_angle(sample.read_corners()).degrees
        assert measured == pytest.approx(sample.meta["cobb"])
        assert measured == pytest.approx(sample.meta["cobb_set"], abs=0.5)
        assert (measured >= 10) == (sample.labels["diagnosis"] == "scoliosis")
        assert sample.meta["severity"] == "<10" if measured < 10 else sample.meta["severity"] != "<10"
    for sample in replace(SMALL, view="lateral").samples("train"):
        assert sample.meta["slip"] == pytest.approx(sample.meta["slip_set"], abs=0.5)
        assert (sample.meta["slip"] >= 5) == (sample.labels["diagnosis"] == "spondylolisthesis")


def test_splits_have_their_size_share_no_patient_and_patients_have_one_class() -> None:
    data = replace(SMALL, films=Films(200, 50, 80))
    splits = {s: data.samples(s) for s in ("train", "validation", "test")}
    assert [len(v) for v in splits.values()] == [200, 50, 80]
    patients = [{s.patient for s in v} for v in splits.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))
    everything = [s for v in splits.values() for s in v]
    assert len({s.id for s in everything}) == len({s.digest for s in everything}) == len(everything)
    assert len({(s.patient, s.labels["diagnosis"]) for s in everything}) == sum(map(len, patients))
    share = np.mean([s.labels["diagnosis"] == "normal" for s in everything])
    assert share == pytest.approx(0.5, abs=0.06)
    with pytest.raises(BadInput, match="split 'dev'"):
        data.samples("dev")


def test_a_film_does_not_depend_on_how_many_others_there_are() -> None:
    few, many = SMALL.samples("test"), replace(SMALL, films=Films(300, 10, 60)).samples("test")
    for one, other in zip(few[:4], many, strict=False):
        assert (one.id, one.digest, one.meta) == (other.id, other.digest, other.meta)
        assert np.array_equal(one.read_image(), other.read_image())
    assert np.array_equal(SMALL.sample(few[2].id).read_image(), few[2].read_image())


def test_a_sample_travels_to_a_worker() -> None:
    sample = SMALL.samples("test")[1]
    copy = pickle.loads(pickle.dumps(sample))
    assert np.array_equal(copy.read_image(), sample.read_image())
    assert np.array_equal(copy.read_players().labels, sample.read_players().labels)


def test_a_digest_changes_with_what_the_pixels_depend_on() -> None:
    digests = {
        data.samples("test")[0].digest
        for data in (SMALL, replace(SMALL, seed=1), replace(SMALL, width=80), replace(SMALL, marker=Marker("wrong")))
    }
    assert len(digests) == 4


def test_twins_share_films_and_differ_in_the_marker_only() -> None:
    honest = SMALL.samples("test")
    for mode in ("leaking", "wrong", "none"):
        for one, twin in zip(honest, replace(SMALL, marker=Marker(mode)).samples("test"), strict=True):
            changed = one.read_image() != twin.read_image()
            marked = region(one, "marker").mask
            rows, columns = np.nonzero(marked)
            around = np.zeros_like(marked)
            around[max(0, rows.min() - 1) : rows.max() + 2, max(0, columns.min() - 1) : columns.max() + 2] = True
            assert not (changed & ~around).any()
            assert (region(twin, "marker").state == "marked_nothing") == (mode == "none")


def features(image) -> list[float]:
    """Size, border, exposure, mean, spread and a histogram of 16 bins."""
    unit = image / 255.0
    border = np.concatenate([unit[0], unit[-1], unit[:, 0], unit[:, -1]])
    histogram = np.histogram(unit, 16, (0, 1))[0] / unit.size
    return [*unit.shape, border.mean(), border.std(), float(np.median(unit)), unit.mean(), unit.std(), *histogram]


@pytest.mark.parametrize("view", ["ap", "lateral"])
def test_a_probe_on_size_border_and_gray_values_is_at_chance(view: str) -> None:
    """One film a patient, so that films are independent; each of the two probes has half of the 5 % (Bonferroni)."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    films = replace(SMALL, view=view, films_per_patient=(1, 1), films=Films(300, 0, 0)).samples("train")
    x = np.array([features(s.read_image()) for s in films])
    y = np.array([s.labels["diagnosis"] != "normal" for s in films])
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for probe in (logistic, RandomForestClassifier(100, min_samples_leaf=3, random_state=0)):
        right = int((cross_val_predict(probe, x, y, cv=folds) == y).sum())
        interval = binomtest(right, len(y)).proportion_ci(0.975, method="exact")
        assert interval.low <= 0.5 <= interval.high, f"{probe}: {right} of {len(y)}"


def test_framing_puts_the_column_off_center() -> None:
    """A peak in the middle of the film would often miss the column."""
    hits = [bool(region(s, "column").mask[48, 38]) for s in replace(SMALL, films=Films(100, 0, 0)).samples("train")]
    assert np.mean(hits) < 0.6


def test_all_that_belongs_to_the_finding_lies_in_the_fixed_box() -> None:
    top, bottom, left, right = fixed_box("ap", (96, 76))
    for sample in SMALL.samples("train"):
        outside = region(sample, "column").mask.copy()
        outside[top:bottom, left:right] = False
        assert not outside.any()


@pytest.mark.parametrize(
    "fields",
    [
        {"view": "oblique"},
        {"cobb": (5.0, 60.0)},
        {"cobb": (50.0, 20.0)},
        {"normal_cobb": (0.0, 12.0)},
        {"slip": (1.0, 20.0)},
        {"films_per_patient": (0, 2)},
        {"height": 10, "width": 10},
        {"width": 90},
        {"seed": 0, "films": Films},
    ],
)
def test_bad_fields_are_refused(fields) -> None:
    with pytest.raises(BadInput, match=r"expected|each split"):
        Phantom(**(fields if "seed" not in fields else {"films": fields["films"](-1, 0, 0)}))
