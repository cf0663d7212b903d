"""What is drawn survives every format as far as the format can hold it, and what it cannot is said."""

import json

import numpy as np
import pytest
from annotation_contents import FILMS, LABELS, SHAPE, contents
from hypothesis import HealthCheck, given, settings
from pycocotools import mask as masks
from pycocotools.coco import COCO
from xai_bench_annotations.drawings import AREAS
from xai_bench_annotations.films.raster import mask_of
from xai_bench_annotations.formats import coco, native, png
from xai_bench_annotations.formats.archive import pack, unpacked
from xai_bench_annotations.formats.content import Content

from xai_bench.datasets.image_folder import ImageFolder
from xai_bench.errors import BadInput
from xai_bench.samples import RegionKey

few = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
TIMES = {"created", "updated", "opened", "done", "active_seconds", "position", "view_state"}


def there_and_back(write, read, content):
    notes = []
    with unpacked(pack([*write(content, notes), ("report.txt", b"")])) as folder:
        return read(folder), notes


def plain(reading, without=frozenset()):
    found = {k: v for k, v in reading.model_dump(mode="json").items() if k not in without | {"drawings"}}
    drawn = [{k: v for k, v in d.model_dump(mode="json").items() if k not in without} for d in reading.drawings]
    return found | {"drawings": drawn}


def regions(reading):
    """Label -> pixels of a reading's areas, and zeros of its labels with nothing to mark."""
    found = {code: np.zeros(SHAPE, bool) for code in reading.nothing_in}
    for drawing in reading.drawings:
        if drawing.drawn.kind in AREAS:
            found[drawing.label] = found.get(drawing.label, False) | mask_of(drawing.drawn, SHAPE)
    return found


# --- native ---------------------------------------------------------------------------------------------------------


@few
@given(contents())
def test_native_loses_nothing(content):
    found, notes = there_and_back(native.write, native.read, content)
    assert found.readings == content.readings and found.films == content.films and notes == []


def test_native_says_what_is_no_part_of_the_content():
    content = Content(labels=LABELS, films=FILMS, deleted=3)
    assert "3 deleted drawings" in there_and_back(native.write, native.read, content)[1][0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "project.json cannot be used"),
        (b"{}", "labels"),
        (json.dumps({"format": "else", "labels": LABELS.model_dump()}).encode(), "format"),
        (b'{"labels": {"labels": []}}', "labels"),
    ],
)
def test_native_refuses_another_file(data, reason):
    with pytest.raises(BadInput, match=reason), unpacked(data) as folder:
        native.read(folder)


# --- COCO -----------------------------------------------------------------------------------------------------------


@few
@given(contents())
def test_coco_loses_view_states_and_times_and_holes_become_pixels(content):
    found, notes = there_and_back(coco.write, lambda folder: coco.read(folder, FILMS, None), content)
    assert list(found.notes) == []
    holes = 0
    for before, after in zip(content.readings, found.readings, strict=True):
        assert {k: v for k, v in plain(before, TIMES).items() if k != "drawings"} == {
            k: v for k, v in plain(after, TIMES).items() if k != "drawings"
        }
        for b, a in zip(plain(before, TIMES)["drawings"], plain(after, TIMES)["drawings"], strict=True):
            if b["geometry"].get("holes"):
                holes += 1
                assert a["geometry"]["kind"] == "mask"
                assert (mask_of(a["geometry"], SHAPE) == mask_of(b["geometry"], SHAPE)).all()
                assert {k: v for k, v in a.items() if k != "geometry"} == {
                    k: v for k, v in b.items() if k != "geometry"
                }
            else:
                assert a == b
    assert any(note.startswith(f"{holes} outlines with holes") for note in notes) == (holes > 0)


@few
@given(contents())
def test_coco_is_what_pycocotools_reads(content):
    (_, data), notes = *coco.write(content, []), []
    assert notes == []
    document = COCO()
    document.dataset = json.loads(data)
    document.createIndex()
    drawings = [d for r in content.readings for d in r.drawings]
    for drawing, annotation in zip(drawings, document.loadAnns(document.getAnnIds()), strict=True):
        geometry = drawing.drawn
        if geometry.kind == "mask" or getattr(geometry, "holes", None):
            ours = mask_of(geometry, SHAPE)
            assert (document.annToMask(annotation).astype(bool) == ours).all()
            assert annotation["area"] == ours.sum()
            assert annotation["bbox"] == masks.toBbox(document.annToRLE(annotation)).tolist()
    names = [c["name"] for c in document.loadCats(document.getCatIds())]
    assert names == [label.code for label in LABELS.labels]


def document(*annotations, images=None, **more):
    images = images or [{"id": 70, "file_name": "0001.png", "height": SHAPE[0], "width": SHAPE[1]}]
    categories = [{"id": 5, "name": "apex"}, {"id": 6, "name": "corner"}]
    return {"images": images, "categories": categories, "annotations": list(annotations), **more}


def read_coco(content, reader="anna"):
    with unpacked(json.dumps(content).encode()) as folder:
        return coco.read(folder, FILMS, reader)


def annotation(category=5, **more):
    return {"id": 1, "image_id": 70, "category_id": category, **more}


def test_coco_of_other_tools_is_read():
    two_parts = [[1, 1, 4, 1, 4, 4, 1, 4], [5, 5, 8, 5, 8, 8]]
    found = read_coco(document(
        annotation(segmentation=two_parts, bbox=[1, 1, 7, 7]),
        annotation(segmentation=[], bbox=[1, 2, 3, 4]),
        annotation(segmentation={"size": list(SHAPE), "counts": [10, 2, 60]}, iscrowd=1),
        annotation(6, keypoints=[1, 2, 2, 3, 4, 1, 0, 0, 0], num_keypoints=2, bbox=[1, 2, 2, 2]),
    ))  # fmt: skip
    (reading,) = found.readings
    assert (reading.film, reading.reader, reading.state) == (1, "anna", "in_progress")
    kinds = [d.drawn.kind for d in reading.drawings]
    assert kinds == ["polygon", "polygon", "rectangle", "mask", "landmark", "landmark"]
    assert all(d.id is None for d in reading.drawings)
    assert [note.split(" (")[0] for note in found.notes] == [
        "boxes without an outline, taken over as rectangles",
        "outlines of several parts, taken over as several drawings",
    ]


def test_coco_films_that_are_not_there_are_said():
    odd = [{"id": 70, "file_name": "0009.png", "height": 1, "width": 1},
           {"id": 71, "file_name": "0001.png", "sha256": "f" * 64, "height": 1, "width": 1}]  # fmt: skip
    found = read_coco(document(annotation(bbox=[0, 0, 1, 1]), images=odd))
    assert list(found.readings) == [] and found.notes[0].endswith("(2)")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "no images"),
        (document(annotation(category=9, bbox=[0, 0, 1, 1])), "KeyError"),
        (document(annotation(segmentation=[[1, 2, 3]])), "cannot be used"),
        (document(annotation(segmentation=[[1, 2, 3, 4]])), "exterior"),
        (document(annotation(segmentation=[["a"] * 6])), "cannot be used"),
        (document(annotation(segmentation={"size": [2, 2], "counts": [4]})), r"film of \(2, 2\)"),
        (document(annotation(segmentation={"size": list(SHAPE), "counts": [4]})), "cover 4 pixels"),
        (document(annotation(segmentation={"size": list(SHAPE), "counts": "\u00e9"})), "COCO's"),
        (document(annotation(bbox=[0, 0, -1, 1])), "greater than 0"),
        (document(annotation(bbox=[0, 0, 1, 1], attributes={"id": "../x"})), "pattern"),
        (document(annotation(bbox=[0, 0, 1, 1], attributes={"note": "a\u0000"})), "control"),
        (document(images=[{"id": 70, "file_name": "0001.png", "height": 1, "width": 1}]), "another size"),
        (document(readings=[{"film": 70, "reader": "x", "state": "lost"}]), "cannot be used"),
        (document(readings=3), "cannot be used"),
        (document(annotation(bbox=[0, 0, 1, 1])) | {"images": 3}, "cannot be used"),
    ],
)
def test_coco_that_cannot_be_used_is_refused(content, reason):
    with pytest.raises(BadInput, match=reason):
        read_coco(content)


def test_coco_without_a_reader_asks_for_one():
    with pytest.raises(BadInput, match="name the reader"):
        read_coco(document(annotation(bbox=[0, 0, 1, 1])), reader=None)


# --- PNG ------------------------------------------------------------------------------------------------------------


@few
@given(contents())
def test_png_keeps_the_pixels_of_finished_readings(content):
    found, notes = there_and_back(png.write, lambda folder: png.read(folder, FILMS), content)
    after = {(r.film, r.reader, r.read): r for r in found.readings}
    for reading in content.readings:
        before = regions(reading) if reading.state == "done" else {}
        same = regions(after.pop((reading.film, reading.reader, reading.read))) if before else {}
        assert before.keys() == same.keys() and all((before[k] == same[k]).all() for k in before)
    assert not after
    points = sum(d.drawn.kind not in AREAS for r in content.readings if r.state == "done" for d in r.drawings)
    assert any(note.startswith(f"{points} landmarks") for note in notes) == (points > 0)


def drawn(state="done", nothing=("column",), read=1):
    square = {"kind": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4}
    return Content.model_validate({
        "labels": LABELS, "films": FILMS, "readings": [{
            "film": 1, "reader": "anna", "read": read, "state": state, "nothing_in": list(nothing),
            "drawings": [{"label": "apex", "geometry": square}]}],
    })  # fmt: skip


def test_png_masks_are_reference_regions_of_an_image_folder(tmp_path):
    from PIL import Image
    from xai_bench_annotations.films.pixels import film_digest

    for number, label in enumerate(["Normal", "Scoliosis"]):
        (tmp_path / label).mkdir()
        for place in range(6):
            film = np.random.default_rng(10 * number + place).integers(0, 255, SHAPE, dtype=np.uint8)
            Image.fromarray(film).save(tmp_path / label / f"film {place}.png")
    film = np.asarray(Image.open(tmp_path / "Scoliosis" / "film 3.png"))
    content = drawn().model_copy(update={"films": [FILMS[0].model_copy(update={"sha256": film_digest(film)})]})
    names = png.Names.from_folder(tmp_path)
    files = dict(png.write(content, [], names))
    assert sorted(files) == [f"anna/{label}/Scoliosis/film 3.png" for label in ("apex", "column")]
    for name, data in files.items():
        (tmp_path / "masks" / name).parent.mkdir(parents=True)
        (tmp_path / "masks" / name).write_bytes(data)
    assert png.Names.from_folder(tmp_path) == names
    dataset = ImageFolder(str(tmp_path), finding_classes=("Scoliosis",))
    samples = [s for split in ("train", "validation", "test") for s in dataset.samples(split)]
    found = {s.id: s.read_regions() for s in samples}
    (own,) = [r for r in found.values() if r[RegionKey("apex", "anna")].state == "drawn"]
    assert own[RegionKey("apex", "anna")].mask.sum() == 12 and own[RegionKey("apex", "anna")].mask[2:6, 1:4].all()
    assert own[RegionKey("column", "anna")].state == "marked_nothing"
    assert sum(r[RegionKey("column", "anna")].state == "not_read" for r in found.values()) == len(found) - 1
    assert regions(png.read(tmp_path / "masks", content.films, names).readings[0])["apex"].sum() == 12


def test_a_repeat_reading_is_a_reference_without_a_vote():
    from xai_bench.references import is_reader

    (name, _), _ = sorted(png.write(drawn(read=2), []))
    assert name == "anna#2/apex/0001.png" and not is_reader(name.split("/")[0])


def test_png_says_what_is_left_out_and_what_is_black_though_drawn():
    notes = []
    assert list(png.write(drawn("in_progress"), notes)) == [] and "1 readings with drawings are not done" in notes[0]
    far = {"kind": "rectangle", "x": 100, "y": 2, "width": 3, "height": 4}
    content = drawn()
    content.readings[0].drawings[0] = content.readings[0].drawings[0].model_validate({"label": "apex", "geometry": far})
    assert len(list(png.write(content, notes))) == 2
    assert "Film 1, anna, apex: drawn, but no pixel lies in it; it is black." in notes


def test_png_masks_of_another_size_are_refused_before_they_are_decoded(tmp_path):
    path = tmp_path / "anna" / "apex" / "0001.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(png.png_bytes(np.ones((3, 3), bool)))
    with pytest.raises(BadInput, match=r"\(3, 3\) pixels, the film \(8, 9\)"):
        png.read(tmp_path, FILMS)


def test_png_masks_of_no_film_are_counted(tmp_path):
    path = tmp_path / "anna" / "apex" / "0009.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(png.png_bytes(np.ones(SHAPE, bool)))
    assert png.read(tmp_path, FILMS).notes[0].startswith("1 masks belong to no film")


def test_png_regions_must_be_labels(tmp_path):
    path = tmp_path / "anna" / "scoliosis.R1" / "0001.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(png.png_bytes(np.ones(SHAPE, bool)))
    with pytest.raises(BadInput, match=r"'scoliosis\.R1': expected <reader>/<region>/<film>"):
        png.read(tmp_path, FILMS)
