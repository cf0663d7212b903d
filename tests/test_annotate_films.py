"""Films are stored once, found by their digest, and come back as they were."""

import gzip
import stat

import numpy as np
import pytest
from dicom_cases import NAME, dicom
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Picture
from typer.testing import CliRunner
from xai_bench_annotations.cli import app
from xai_bench_annotations.films.decode import decode
from xai_bench_annotations.films.pixels import as_gray, film_of
from xai_bench_annotations.films.store import AlreadyThere, add_pixels, film_digest, film_path, read_pixels, store_film
from xai_bench_annotations.server.api.projects import _add_film
from xai_bench_annotations.server.database import open_database
from xai_bench_annotations.server.tables import Image, Project

from xai_bench.errors import BadInput
from xai_bench.images import read_image

LABELS = {"labels": [{"code": "apex", "name": "Apex", "color": "#000000"}]}
FILM = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300


@pytest.fixture
def place(tmp_path):
    """(a writing session's maker, the folder, the project's id)."""
    database = open_database(tmp_path / "folder", create=True)
    with database.writing() as session:
        project = Project(name="p", labels=LABELS)
        session.add(project)
        session.flush()
        return database, project


def test_a_film_that_cannot_be_kept_leaves_nothing(place, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    database, project = place
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match="No space left on device"), database.writing() as session:
        add_pixels(session, database.folder, project, FILM)
    assert list((database.folder / "films").iterdir()) == []


def test_a_film_is_stored_and_read_back(place):
    database, project = place
    with database.writing() as session:
        image = add_pixels(session, database.folder, project, FILM, spacing=(0.2, 0.3))
    assert (read_pixels(database.folder, image) == FILM).all()
    assert (image.number, image.height, image.width, image.bits) == (1, 3, 4, 12)
    assert (image.spacing_row, image.spacing_column, image.spacing_source) == (0.2, 0.3, "dataset")
    assert image.sha256 == film_digest(FILM)
    path = film_path(database.folder, image)
    assert gzip.decompress(path.read_bytes()) == FILM.astype("<u2").tobytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and list(path.parent.iterdir()) == [path]


def test_numbers_count_up_and_a_film_is_added_once(place):
    database, project = place
    with database.writing() as session:
        first = add_pixels(session, database.folder, project, FILM)
        second = add_pixels(session, database.folder, project, FILM + 1)
        with pytest.raises(AlreadyThere, match="film 1") as caught:
            add_pixels(session, database.folder, project, FILM.astype(np.int64))
        assert caught.value.image.id == first.id and second.number == 2


def test_a_file_and_the_dataset_that_reads_it_are_one_film(place, tmp_path):
    database, project = place
    path = tmp_path / "film.png"
    Picture.fromarray(FILM).save(path)
    with database.writing() as session:
        image = store_film(session, database.folder, project, decode(path.read_bytes()))
        assert image.sha256 == film_digest(read_image(path, name="film"))
        with pytest.raises(AlreadyThere):
            add_pixels(session, database.folder, project, read_image(path, name="film"))


def test_damaged_and_missing_pixels_are_said(place):
    database, project = place
    with database.writing() as session:
        image = add_pixels(session, database.folder, project, FILM)
    path = film_path(database.folder, image)
    for data in (gzip.compress(b"\0" * 24), gzip.compress(b"\0"), b"nonsense", path.read_bytes()[:9]):
        path.write_bytes(data)
        with pytest.raises(BadInput, match="film 1 are missing or damaged"):
            read_pixels(database.folder, image)
    path.unlink()
    with pytest.raises(BadInput, match="restore"):
        read_pixels(database.folder, image)


def test_no_row_of_a_film_holds_anything_but_numbers():
    columns = {c.key for c in Image.__table__.columns}
    assert not {c for c in columns if "name" in c or "file" in c or "path" in c or "patient" in c}


# --- pixels ---------------------------------------------------------------------------------------------------------

pictures = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5))


@given(pictures, pictures)
def test_digests_are_equal_where_pictures_are(a, b):
    same = a.shape == b.shape and (a == b).all()
    assert (film_digest(a) == film_digest(b)) == same
    assert film_digest(a) == film_digest(a.astype(np.int32)) == film_digest(np.asfortranarray(a))
    assert film_digest(a) == film_digest(np.dstack([a, a, a]))


def test_floats_and_colors_have_digests_of_their_own():
    gray = np.array([[0, 1]], np.uint8)
    assert film_digest(gray) != film_digest(gray.astype(float)) == film_digest(gray.astype(np.float32))
    color = np.dstack([gray, gray, 1 - gray])
    assert film_digest(color) not in (film_digest(gray), film_digest(color[..., ::-1]))


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(3))))
def test_gray_is_what_pillow_makes_of_color(color):
    assert (as_gray(color) == np.asarray(Picture.fromarray(color).convert("L"))).all()


def test_gray_is_made_a_band_of_rows_at_a_time():
    color = np.random.default_rng(0).integers(0, 65536, (600, 3, 3), dtype=np.uint16)
    expected = np.floor(color @ (np.array([19595, 38470, 7471]) / 65536) + 0.5)
    assert np.abs(as_gray(color) - expected).max() == 0


def test_floats_take_sixteen_bits_and_narrow_pictures_eight():
    film = film_of(np.array([[0.0, 0.5, 1.0]]))
    assert film.pixels.tolist() == [[0, 32768, 65535]] and film.info.bits == 16
    assert film_of(np.array([[3]], np.uint8)).info.bits == 8


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2, 4)), np.zeros(3), np.zeros((0, 2)), np.array([[1.5]]), np.array([[np.nan]]), np.array([[-1]]),
     np.array([[70000]]), np.array([[1j]])],
)  # fmt: skip
def test_what_is_no_picture_is_refused(array):
    with pytest.raises(BadInput, match="expected"):
        film_digest(array)


# --- from files -----------------------------------------------------------------------------------------------------


def test_who_adds_a_dicom_film_is_warned_of_text_in_it_and_learns_no_name(place, tmp_path):
    database, project = place
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom(FILM, BurnedInAnnotation="YES"))
    done = CliRunner().invoke(app, ["add-films", project.name, str(path), "--folder", str(database.folder)])
    assert done.exit_code == 0 and "text is burned into the picture" in done.output
    answer = _add_film(database, project.id, dicom(FILM + 1), "a" * 32)
    assert "does not say" in answer.notes[0] and answer.number == 2
    kept = b"".join(p.read_bytes() for p in database.folder.rglob("*") if p.is_file())
    assert not any(part.encode() in kept + done.output.encode() for part in (*NAME.split("^"), "19700101"))
    assert "film.dcm" not in kept.decode(errors="ignore")
