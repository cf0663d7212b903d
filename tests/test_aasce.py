"""AASCE: the distributed layout in miniature, and the real films where they are."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from xai_bench.datasets.aasce import Aasce, patient_of, read_films, severity_classes
from xai_bench.errors import BadInput
from xai_bench.geometry import cobb_angle, curves
from xai_bench.inputs import Input, read_picture
from xai_bench.samples import SPLITS, RegionKey
from xai_bench.spec import build, spec_of
from xai_bench.splits import stratified_order

WIDTH, HEIGHT = 90, 240
R1, R2 = RegionKey("scoliosis.R1", "derived"), RegionKey("scoliosis.R2", "derived")


def corners_of(degrees):
    """17 vertebrae that turn evenly from -degrees/2 to degrees/2, in pixels."""
    tilts = np.radians(np.linspace(-degrees / 2, degrees / 2, 17))
    y = np.linspace(20, 220, 17)
    x = 40 - np.cumsum(np.sin(tilts)) * 12.5
    half = 8 * np.stack([np.cos(tilts), np.sin(tilts)], axis=1)
    center = np.stack([x, y], axis=1)
    up = np.array([0, -4])
    return np.stack([center - half + up, center + half + up, center - half - up, center + half - up], axis=1)


def write(root, films):
    """A folder as distributed, from (file name, corners, angles)."""
    labels, data = root / "labels" / "training", root / "data" / "training"
    labels.mkdir(parents=True)
    data.mkdir(parents=True)
    for i, (name, _, _) in enumerate(films):
        pixels = np.random.default_rng(i).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
        Image.fromarray(pixels).save(data / name)
    (labels / "filenames.csv").write_text("".join(f"{name}\n" for name, _, _ in films))
    rows = [(corners / [WIDTH, HEIGHT]).reshape(68, 2).T.ravel() for _, corners, _ in films]
    np.savetxt(labels / "landmarks.csv", rows, delimiter=",")
    np.savetxt(labels / "angles.csv", [angles for _, _, angles in films], delimiter=",")
    return root


def films_of(patients=12):
    degrees = [8, 18, 30, 50]
    return [
        (f"set-1th-0{1 + copy}-Jan-2017-{p} {'AB'[copy]} AP.jpg", corners_of(degrees[p % 4]), (degrees[p % 4], 0, 0))
        for p in range(patients)
        for copy in range(2)
    ]


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, films_of())


def everything(dataset):
    return sorted((s for split in SPLITS for s in dataset.samples(split)), key=lambda s: s.id)


def test_ids_patients_and_labels(folder):
    samples = everything(Aasce(str(folder)))
    assert [s.id for s in samples] == [f"aasce-{i:04d}" for i in range(1, 25)]
    assert [s.patient for s in samples[:4]] == ["p0", "p0", "p1", "p1"]
    assert [s.labels["severity"] for s in samples[:8:2]] == ["<25", "<25", "25-40", ">=40"]
    assert [s.meta["mild"] for s in samples[:8:2]] == [False, True, False, False]
    assert {s.meta["view"] for s in samples} == {"AP"}
    assert all(s.spacing_mm is None for s in samples)
    assert len({s.digest for s in samples}) == 24


def test_no_file_name_leaves_the_dataset(folder):
    dataset = Aasce(str(folder))
    assert "Jan-2017" not in repr(everything(dataset)) + repr(dataset) + repr(dataset.problems()) + repr(
        read_films(folder)
    )


def test_thresholds_are_fields(folder):
    dataset = Aasce(str(folder), thresholds=(10, 25, 40), seed=1)
    assert severity_classes((10, 25, 40)) == ("<10", "10-25", "25-40", ">=40") == dataset.heads[0].classes
    assert dataset.findings == {"severity": ("25-40", ">=40")}
    assert [s.labels["severity"] for s in everything(dataset)[:8:2]] == ["<10", "10-25", "25-40", ">=40"]
    assert build("dataset", spec_of(dataset)) == dataset
    for wrong in ((), (40, 25), (0, 25), (25, 25)):
        with pytest.raises(BadInput, match="rising angles above 0"):
            Aasce(str(folder), thresholds=wrong)


def test_a_film_at_a_threshold_belongs_to_the_class_that_starts_there(tmp_path):
    films = [(name, corners, (25.0 if i < 12 else 40.0, 0, 0)) for i, (name, corners, _) in enumerate(films_of())]
    labels = [s.labels["severity"] for s in everything(Aasce(str(write(tmp_path, films))))]
    assert Counter(labels) == {"25-40": 12, ">=40": 12}


def test_regions_follow_from_the_landmarks(folder):
    none, mild, _, severe = everything(Aasce(str(folder)))[:8:2]
    regions = severe.read_regions()
    assert {k.reference for k in regions} == {"derived"}
    assert {k.name for k in regions} >= set(Aasce(str(folder)).regions)
    assert all(r.state == "drawn" and r.mask.shape == (HEIGHT, WIDTH) for r in regions.values())
    assert (regions[R1].mask <= regions[R2].mask).all()
    assert none.read_regions()[R1].state == "marked_nothing"
    assert none.read_regions()[RegionKey("column", "derived")].state == "drawn"
    assert mild.read_regions()[R2].state == "drawn"
    assert cobb_angle(severe.read_corners()).degrees == pytest.approx(50)


def test_players_follow_from_the_landmarks(folder):
    sample = everything(Aasce(str(folder)))[6]
    players, column = sample.read_players(), sample.read_regions()[RegionKey("column", "derived")].mask
    assert np.array_equal(players.labels > 0, column)
    names = [p.name for p in players.players.values()]
    assert names[:3] == ["T1", "T1-T2", "T2"] and names[30:33] == ["L4", "L4-L5", "L5"]
    assert names[33:] == ["thoracic spine", "lumbar spine", "spine"]


def test_a_film_goes_through_the_reader_with_its_regions(folder):
    picture = read_picture(everything(Aasce(str(folder)))[6], Input())
    assert picture.image.shape == (1, 224, 224)
    assert picture.regions[R1][1].any()


def test_two_curves_of_nearly_one_size_are_flagged(tmp_path):
    films = films_of()
    double = np.concatenate([corners_of(44)[::2][:8], (corners_of(40)[::2] * [-1, 1])[:, [1, 0, 3, 2]]])
    double = double - double.mean(1, keepdims=True) + np.stack([np.full(17, 40), np.linspace(20, 220, 17)], 1)[:, None]
    films[6] = (films[6][0], double, (40, 40, 0))
    sample = everything(Aasce(str(write(tmp_path, films))))[6]
    assert len(sample.meta["curve_degrees"]) == 2 and sample.meta["close_curves"]
    assert not everything(Aasce(str(tmp_path)))[7].meta["close_curves"]


def test_odd_films_are_reported_and_none_is_dropped(tmp_path):
    films = films_of()
    straight = corners_of(50)
    exchanged = straight.copy()
    exchanged[3] = exchanged[3][[1, 0, 3, 2]]
    outside = straight.copy()
    outside[16, :, 1] += 30
    lost = straight.copy()
    lost[5, 2, 0] = np.nan
    twice = straight.copy()
    twice[16] = twice[4] + 0.5
    odd = [np.roll(straight, -1, axis=0), outside, exchanged, lost]
    for place, corners in zip((6, 7, 14, 15, 22), (*odd, twice), strict=True):
        films[place] = (films[place][0], corners, (50, 0, 0))
    dataset = Aasce(str(write(tmp_path, films)))
    samples = {s.id: s for s in everything(dataset)}
    assert len(samples) == 24
    assert dataset.problems() == (
        "aasce-0007: vertebrae are not in order from top to bottom; its vertebrae are used from top to bottom.",
        "aasce-0008: a corner lies outside the frame; its vertebrae are used from top to bottom.",
        "aasce-0015: left and right corners are exchanged; its landmarks are not used: no regions.",
        "aasce-0016: a corner is not a number; its landmarks are not used: no regions.",
        "aasce-0023: vertebrae are not in order from top to bottom, a vertebra is marked twice; "
        "its landmarks are not used: no regions.",
    )
    assert (samples["aasce-0007"].read_corners() == pytest.approx(straight)) and samples[
        "aasce-0015"
    ].read_corners() is None
    assert {samples["aasce-0015"].read_regions()[k].state for k in (R1, R2)} == {"not_read"}
    assert samples["aasce-0015"].read_players() is None and samples["aasce-0007"].read_players() is not None
    assert samples["aasce-0016"].labels == {"severity": ">=40"}


def test_a_changed_landmark_or_pixel_changes_the_digest(folder, tmp_path_factory):
    films = films_of()
    films[3] = (films[3][0], films[3][1] + 0.5, films[3][2])
    other = write(tmp_path_factory.mktemp("other"), films)
    before, after = (everything(Aasce(str(p))) for p in (folder, other))
    assert [a.id for a, b in zip(before, after, strict=True) if a.digest != b.digest] == ["aasce-0004"]


def test_a_folder_that_is_not_aasce_is_refused(tmp_path, folder):
    with pytest.raises(BadInput, match="expected the AASCE folder as distributed"):
        Aasce(str(tmp_path / "nothing")).samples("train")
    with pytest.raises(BadInput, match="split 'dev' does not exist"):
        Aasce(str(folder)).samples("dev")


@pytest.mark.parametrize("table", ["landmarks", "angles"])
def test_damaged_tables_are_refused(folder, table):
    path = folder / "labels" / "training" / f"{table}.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(BadInput, match=r"expected \(24, "):
        Aasce(str(folder)).samples("train")
    path.write_text("\n".join(["one,two", *lines[1:]]))
    with pytest.raises(BadInput, match="not a number"):
        Aasce(str(folder)).samples("train")


def test_a_lost_angle_a_film_listed_twice_and_a_missing_picture_are_refused(folder):
    labels = folder / "labels" / "training"
    angles = (labels / "angles.csv").read_text()
    (labels / "angles.csv").write_text(angles.replace(angles.split(",")[0], "nan", 1))
    with pytest.raises(BadInput, match="'aasce-0001' has an angle that is not a number"):
        read_films(folder)
    (labels / "angles.csv").write_text(angles)
    names = (labels / "filenames.csv").read_text().splitlines()
    (labels / "filenames.csv").write_text("\n".join([names[1], *names[1:]]))
    with pytest.raises(BadInput, match="1 of them more than once"):
        read_films(folder)
    (labels / "filenames.csv").write_text("\n".join(names))
    (folder / "data" / "training" / names[2]).unlink()
    with pytest.raises(BadInput, match="'aasce-0003' does not exist") as caught:
        read_films(folder)
    assert names[2] not in str(caught.value)


def test_the_patient_is_the_number_after_the_date_and_coronal_films_are_one_group():
    names = [
        f"set-1th-{day}-Jan-2017-165 {letter} AP{end}.jpg"
        for day, letter, end in (("03", "A", ""), ("04", "B", "1"), ("04", "C", " (2)"))
    ]
    assert {patient_of(name) for name in names} == {"p165"}
    assert {patient_of(f"set-1th-02-Jul-2016-coronal{i}.jpg") for i in (3, 14)} == {"coronal"}
    with pytest.raises(BadInput, match="its patient is not known"):
        patient_of("film.jpg")


# --- the real films -------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_angles_agree_with_the_labels_within_a_tenth_of_a_degree(aasce_folder):
    films = read_films(aasce_folder)
    usable = [f for f in films if f.corners is not None]
    gap = [abs(cobb_angle(f.corners).degrees - f.degrees) for f in usable]
    assert len(films) == 481 and len(usable) == 468
    assert np.median(gap) <= 0.1
    assert max(gap) <= 0.1


@pytest.mark.data
def test_the_conventions_of_measuring_disagree_on_the_severity_of_many_films(aasce_folder):
    films = [f for f in read_films(aasce_folder) if f.corners is not None]
    severity = {
        c: np.digitize([cobb_angle(f.corners, c).degrees for f in films], [10, 25, 40])
        for c in ("mean_edge", "end_plate")
    }
    assert 50 < (severity["mean_edge"] != severity["end_plate"]).sum() < 70


@pytest.mark.data
def test_the_largest_curve_is_nearly_always_the_largest_angle(aasce_folder):
    films = [f for f in read_films(aasce_folder) if f.corners is not None and f.degrees >= 10.1]
    gaps = [f.degrees - max(c.degrees for c in curves(f.corners)) for f in films]
    assert min(gaps) > -0.1  # no curve is larger than the largest angle
    assert sum(gap > 0.1 for gap in gaps) <= 5


@pytest.mark.data
def test_landmarks_agree_with_the_matlab_files(aasce_folder):
    from scipy.io import loadmat

    labels = aasce_folder / "labels" / "training"
    names = (labels / "filenames.csv").read_text().splitlines()
    for name, film in list(zip(names, read_films(aasce_folder), strict=True))[::8]:
        points = loadmat(labels / f"{name}.mat")["p2"].astype(float).reshape(17, 4, 2)
        found = points[np.argsort(points.mean(1)[:, 1], kind="stable")]
        assert film.corners is None or np.abs(film.corners - found).max() < 0.05


@pytest.mark.data
def test_patients_of_the_real_films(aasce_folder):
    names = (aasce_folder / "labels" / "training" / "filenames.csv").read_text().splitlines()
    assert {patient_of(n) for n in names if any(f"-165 {letter} " in n for letter in "ABC")} == {"p165"}
    assert sum(f"-165 {letter} " in n for n in names for letter in "ABC") == 3
    assert sum(patient_of(n) == "coronal" for n in names) == sum("coronal" in n for n in names) == 17


@pytest.mark.data
def test_real_splits_are_by_patient_and_even(aasce_folder):
    dataset = Aasce(str(aasce_folder))
    parts = {split: dataset.samples(split) for split in SPLITS}
    patients = [{s.patient for s in part} for part in parts.values()]
    assert sum(map(len, parts.values())) == 481
    assert len(set.union(*patients)) == sum(map(len, patients))
    for part in parts.values():
        shares = Counter(s.labels["severity"] for s in part)
        assert shares[">=40"] / len(part) == pytest.approx(201 / 481, abs=0.05)
    subset = stratified_order([s for s in parts["test"] if s.labels["severity"] != "<25"])[:24]
    assert len({s.patient for s in subset}) == 24


@pytest.mark.data
def test_real_odd_films_are_all_reported(aasce_folder):
    dataset = Aasce(str(aasce_folder))
    assert len(dataset.problems()) == 29
    assert sum("no regions" in p for p in dataset.problems()) == 13


@pytest.mark.data
def test_a_real_film_with_its_regions(aasce_folder):
    sample = next(s for s in Aasce(str(aasce_folder)).samples("test") if s.labels["severity"] == ">=40")
    regions = sample.read_regions()
    assert sample.read_image().shape == regions[R1].mask.shape
    inner, middle, outer = (regions[RegionKey(name, "derived")].mask for name in Aasce(str(aasce_folder)).regions)
    assert inner.any() and (inner <= middle).all() and (middle <= outer).all()
    assert inner.sum() < outer.sum() < outer.size / 2
