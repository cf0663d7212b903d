"""One's own films in class folders: patients, splits, masks, and one clear sentence for each mistake."""

import csv
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from xai_bench.datasets.image_folder import ImageFolder
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, read_picture
from xai_bench.samples import SPLITS, RegionKey
from xai_bench.spec import build, spec_of

STEP = RegionKey("step", "anna")


def write(path, value=0, shape=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(shape, value, np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_mask(path, shape=(12, 10), scale=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(shape, np.uint8)
    pixels[3:6, 2:5] = scale
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes, ten patients each, two films a patient."""
    root = tmp_path / "films"
    for label, value in (("normal", 50), ("slip", 90)):
        for patient in range(10):
            for copy in "ab":
                number = patient + (100 if label == "slip" else 0)
                write(root / label / f"mrs-miller{number}-{copy}.png", value + 2 * patient + (copy == "b"))
    return root


def everything(dataset):
    return [s for split in SPLITS for s in dataset.samples(split)]


PATTERN = r"miller(\d+)-"


def test_class_folders_are_the_classes_and_films_are_split_by_patient(folder):
    dataset = ImageFolder(str(folder), patient_pattern=PATTERN, finding_classes=("slip",))
    samples = everything(dataset)
    assert dataset.heads[0].name == "class" and dataset.heads[0].classes == ("normal", "slip")
    assert dataset.findings == {"class": ("slip",)} and dataset.problems() == ()
    assert Counter(s.labels["class"] for s in samples) == {"normal": 20, "slip": 20}
    assert set(Counter(s.patient for s in samples).values()) == {2}
    assert [len(dataset.samples(split)) for split in SPLITS] == [24, 8, 8]
    assert len({s.id for s in samples}) == len({s.digest for s in samples}) == 40
    assert build("dataset", spec_of(dataset)) == dataset


def test_ids_and_patients_are_pseudonyms(folder):
    dataset = ImageFolder(str(folder), patient_pattern=r"(mrs-miller\d+)-")
    assert "miller" not in repr(everything(dataset)) + repr(dataset.problems())
    assert all(re.fullmatch(r"(normal|slip)-[0-9a-f]{12}", s.id) for s in everything(dataset))


def test_without_patients_each_film_is_its_own_and_the_user_is_told(folder):
    dataset = ImageFolder(str(folder))
    assert len({s.patient for s in everything(dataset)}) == 40
    assert any("each film counts as a patient of its own" in p for p in dataset.problems())


def test_a_dataset_without_regions_is_fine(folder):
    dataset = ImageFolder(str(folder), patient_pattern=PATTERN)
    picture = read_picture(everything(dataset)[0], Input())
    assert dataset.regions == () and picture.regions == {} and picture.image.shape == (1, 224, 224)
    assert not any("mask" in p for p in dataset.problems())


def table(path, rows, columns=("image", "patient")):
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return str(path)


def test_patients_from_a_table_are_those_of_the_pattern(folder, tmp_path):
    calls = [lambda f: f.name, lambda f: f.stem, lambda f: f"{f.parent.name}/{f.name}"]
    files = sorted(folder.rglob("*.png"))
    rows = [(calls[i % 3](f), f.stem.rsplit("-", 1)[0]) for i, f in enumerate(files)]
    dataset = ImageFolder(str(folder), patients_csv=table(tmp_path / "p.csv", rows))
    other = ImageFolder(str(folder), patient_pattern=r"(mrs-miller\d+)-")
    assert {s.id: s.patient for s in everything(dataset)} == {s.id: s.patient for s in everything(other)}
    more = ImageFolder(str(folder), patients_csv=table(tmp_path / "q.csv", [*rows, ("gone.png", "x")]))
    assert more.problems() == ("rows of patients_csv that belong to no film: 1.",)


def test_a_table_that_does_not_fit_is_refused(folder, tmp_path):
    files = sorted(folder.rglob("*.png"))
    rows = [(f.name, f.stem[:-2]) for f in files]
    wrong = {
        "no columns image, patient": table(tmp_path / "a.csv", rows, ("file", "patient")),
        "has no row for 1 of 40 films": table(tmp_path / "b.csv", rows[1:]),
        "has no patient or two": table(tmp_path / "c.csv", [*rows, (rows[0][0], "other")]),
        "cannot be read": str(tmp_path / "missing.csv"),
    }
    for message, path in wrong.items():
        with pytest.raises(BadInput, match=message):
            ImageFolder(str(folder), patients_csv=path).samples("train")
    write(folder / "slip" / "mrs-miller0-a.png")
    with pytest.raises(BadInput, match="fits 2 films; write <class>/<name>"):
        ImageFolder(str(folder), patients_csv=table(tmp_path / "d.csv", rows)).samples("train")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("miller(", "not a regular expression"),
        ("miller", "has 0 groups"),
        ("(m)(i)", "has 2 groups"),
        ("(1\\d+)-", "does not fit 20 of 40"),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused(folder, pattern, message):
    with pytest.raises(BadInput, match=message):
        ImageFolder(str(folder), patient_pattern=pattern).samples("train")


def test_pattern_and_table_exclude_each_other(folder):
    with pytest.raises(BadInput, match="both given"):
        ImageFolder(str(folder), patient_pattern=PATTERN, patients_csv="p.csv").samples("train")


def test_the_folder_of_a_patient_inside_a_class_can_be_the_patient(tmp_path):
    for label in ("a", "b"):
        for patient in range(4):
            write(tmp_path / label / f"patient{patient}" / "1.png")
            write(tmp_path / label / f"patient{patient}" / "2.JPG")
    samples = everything(ImageFolder(str(tmp_path), patient_pattern="(.*)/"))
    assert set(Counter(s.patient for s in samples).values()) == {2} and len(samples) == 16


# --- splits that the user made --------------------------------------------------------------------------------------


def made_by_hand(root, patient_of):
    for i, split in enumerate(SPLITS):
        for label in ("a", "b"):
            for n in range(3):
                write(root / split / label / f"{patient_of(i, label, n)}-{i}{n}.png")
    return root


def test_split_folders_are_kept(tmp_path):
    made_by_hand(tmp_path, lambda i, label, n: f"p{i}{label}{n}")
    dataset = ImageFolder(str(tmp_path), patient_pattern=r"/(\w+)-")
    assert [len(dataset.samples(split)) for split in SPLITS] == [6, 6, 6]
    assert dataset.heads[0].classes == ("a", "b")


def test_a_leaking_split_is_refused(tmp_path):
    made_by_hand(tmp_path, lambda i, label, n: "p0" if i != 1 and n == 0 and label == "a" else f"p{i}{label}{n}")
    with pytest.raises(BadInput, match=r"1 of 17 patients have films in more than one split \(test, train\)"):
        ImageFolder(str(tmp_path), patient_pattern=r"/(\w+)-").samples("train")


def test_split_folders_must_be_complete(tmp_path):
    made_by_hand(tmp_path, lambda i, label, n: f"p{i}{label}{n}")
    for path in (tmp_path / "validation").rglob("*.png"):
        path.unlink()
    for path in sorted((tmp_path / "validation").iterdir()):
        path.rmdir()
    (tmp_path / "validation").rmdir()
    with pytest.raises(BadInput, match="has train and test only; expected train, validation, test"):
        ImageFolder(str(tmp_path)).samples("train")


# --- masks ----------------------------------------------------------------------------------------------------------


def test_masks_are_read_by_reader_and_region(folder):
    masks = folder / "masks"
    write_mask(masks / "anna" / "step" / "mrs-miller100-a.png", scale=1)
    write(masks / "anna" / "step" / "mrs-miller101-a.png", 0)
    write_mask(masks / "ben" / "segment" / "slip" / "mrs-miller100-a.png")
    dataset = ImageFolder(str(folder), patient_pattern=PATTERN, finding_classes=("slip",))
    assert dataset.heads[0].classes == ("normal", "slip") and dataset.problems() == ()
    assert dataset.regions == ("segment", "step")
    assert ImageFolder(str(folder), region_names=("step", "segment")).regions == ("step", "segment")
    found = [s.read_regions() for s in everything(dataset)]
    assert Counter(r[STEP].state for r in found) == {"drawn": 1, "marked_nothing": 1, "not_read": 38}
    drawn = next(r for r in found if r[STEP].state == "drawn")
    assert drawn[STEP].mask.sum() == 9 and drawn[STEP].mask[3:6, 2:5].all()
    assert (drawn[RegionKey("segment", "ben")].mask == drawn[STEP].mask).all()


def test_masks_may_lie_elsewhere_and_change_the_digest(folder, tmp_path):
    write_mask(tmp_path / "readers" / "anna" / "step" / "mrs-miller3-b.png")
    plain = everything(ImageFolder(str(folder), patient_pattern=PATTERN))
    read = everything(ImageFolder(str(folder), masks=str(tmp_path / "readers"), patient_pattern=PATTERN))
    assert sum(a.digest != b.digest for a, b in zip(plain, read, strict=True)) == 1
    with pytest.raises(BadInput, match=r"masks folder .* does not exist"):
        ImageFolder(str(folder), masks=str(tmp_path / "nowhere")).samples("train")


def test_masks_that_fit_no_film_or_several_are_told(folder):
    masks = folder / "masks" / "anna" / "step"
    write_mask(masks / "mr-nobody.png")
    write_mask(masks / "mrs-miller0-a.png")
    told = ImageFolder(str(folder), patient_pattern=PATTERN).problems()
    assert told == (
        "masks that belong to no film: 1.",
        "there are masks and no finding_classes, so films of every class count for alignment.",
    )
    write(folder / "slip" / "mrs-miller0-a.png")
    with pytest.raises(BadInput, match=r"mask 'anna/step/mrs-miller0-a\.png' fits 2 films"):
        ImageFolder(str(folder)).samples("train")
    write_mask(masks / "normal" / "mrs-miller0-a.png")
    (masks / "mrs-miller0-a.png").rename(masks / "mrs-miller1-a.png")
    write_mask(masks / "normal" / "mrs-miller1-a.png")
    with pytest.raises(BadInput, match="is a second one of its film"):
        ImageFolder(str(folder)).samples("train")


def test_a_mask_of_another_size_is_told_and_refused(folder):
    write_mask(folder / "masks" / "anna" / "step" / "mrs-miller100-a.png", shape=(12, 11))
    dataset = ImageFolder(str(folder), patient_pattern=PATTERN, finding_classes=("slip",))
    (told,) = dataset.problems()
    assert re.fullmatch(
        r"mask 'step' of 'anna' on picture 'slip-\w+' is \(12, 11\) pixels, the picture \(12, 10\)\.", told
    )
    sample = next(s for s in everything(dataset) if s.read_regions()[STEP].state == "drawn")
    with pytest.raises(BadInput, match=r"is \(12, 11\) pixels, the picture \(12, 10\)"):
        read_picture(sample, Input())


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_damaged_picture_is_told_and_refused_when_it_is_read(folder):
    (folder / "slip" / "mrs-miller100-a.png").write_bytes(b"")
    dataset = ImageFolder(str(folder), patient_pattern=PATTERN)
    (told,) = dataset.problems()
    assert "(file 'slip/mrs-miller100-a.png') is an empty file" in told and str(folder) not in told
    bad = [s for s in everything(dataset) if s.id in told]
    with pytest.raises(BadInput, match="is an empty file"):
        bad[0].read_image()
    assert len(bad) == 1 and len(everything(dataset)) == 40


def test_a_picture_over_the_cap_is_refused(folder):
    dataset = ImageFolder(str(folder), max_megapixels=1e-4)
    with pytest.raises(BadInput, match=r"10 x 12 pixels, over 0\.0001 megapixels"):
        everything(dataset)[0].read_image()


def test_other_files_are_counted_and_hidden_ones_are_not(folder):
    (folder / "slip" / "notes.txt").write_text("")
    (folder / "slip" / ".DS_Store").write_text("")
    (folder / ".git").mkdir()
    assert ImageFolder(str(folder), patient_pattern=PATTERN).problems() == (
        "files in class folders that are neither PNG nor JPEG and are not used: 1.",
    )


def test_folders_that_are_no_dataset_are_refused(tmp_path, folder):
    with pytest.raises(BadInput, match="does not exist"):
        ImageFolder(str(tmp_path / "nowhere")).samples("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no PNG or JPEG file in a class folder"):
        ImageFolder(str(tmp_path / "empty")).samples("train")
    write(tmp_path / "one" / "slip" / "a.png")
    with pytest.raises(BadInput, match="one class folder, 'slip'"):
        ImageFolder(str(tmp_path / "one")).samples("train")
    with pytest.raises(BadInput, match=r"finding class 'slipp' is not one of 'normal', 'slip'\. Did you mean 'slip'"):
        _ = ImageFolder(str(folder), finding_classes=("slipp",)).findings


def test_a_class_with_one_patient_is_refused(folder):
    write(folder / "rare" / "mrs-miller999-a.png")
    with pytest.raises(BadInput, match="class 'rare' has films of 1 patient, and 3 splits need one each"):
        ImageFolder(str(folder), patient_pattern=PATTERN).samples("train")


@pytest.mark.data
@pytest.mark.parametrize("part", ["images224", "original_size"])
def test_the_films_of_fraiwan(aasce_folder, part):
    root = aasce_folder.parent / "fraiwan" / part
    if not root.is_dir():
        pytest.skip("the private Fraiwan radiographs are not on this machine; set XAI_BENCH_DATA to their folder")
    dataset = ImageFolder(str(root), patient_pattern=r"^(\w+/[Nn]\d+)", finding_classes=("Scol",))
    samples = everything(dataset)
    assert dataset.problems() == () and dataset.regions == ()
    assert Counter(s.labels["class"] for s in samples) == {"Normal": 71, "Scol": 188 if part == "images224" else 163}
    assert samples[0].read_image().ndim in (2, 3)
