"""DICOM films keep their values, window and spacing, and nothing that says who is on them."""

import dataclasses

import numpy as np
import pytest
from dicom_cases import GONE, NAME, dicom, ramp
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from xai_bench_annotations.films.dicom import ALLOWED, read_dicom
from xai_bench_annotations.films.pixels import film_digest

from xai_bench.errors import BadInput


@pytest.fixture
def read(tmp_path):
    def _read(data, max_megapixels=64.0):
        path = tmp_path / "film"
        path.write_bytes(data)
        return read_dicom(str(path), max_megapixels)

    return _read


def shown(film):
    return film.pixels * film.info.slope + film.info.intercept


@pytest.mark.parametrize("stored", [10, 12, 14, 16])
def test_unsigned_pixels_keep_their_values(read, stored):
    values = ramp(high=(1 << stored) - 1)
    film = read(dicom(values, stored=stored))
    assert (film.pixels == values).all() and film.info.bits == stored
    assert film.info.digest == film_digest(values)


@pytest.mark.parametrize("stored", [8, 12, 13, 16])
def test_signed_pixels_are_shifted_and_shown_as_they_were(read, stored):
    values = ramp(np.int16, -(1 << stored - 1), (1 << stored - 1) - 1)
    film = read(dicom(values, stored=stored, RescaleSlope="2", RescaleIntercept="-1024"))
    assert film.pixels.min() == 0
    assert (shown(film) == values * 2.0 - 1024).all()
    assert film.info.bits == {13: 14}.get(stored, stored)


def test_eight_bits_and_odd_sizes(read):
    values = ramp(np.uint8, high=255, shape=(3, 5))
    film = read(dicom(values))
    assert (film.pixels == values).all() and film.info.bits == 8


def test_bits_above_those_stored_are_cut_off(read):
    values = ramp(high=4095)
    film = read(dicom(values | np.uint16(0x3000), stored=12))
    assert (film.pixels == values).all()


def test_signed_pixels_with_bits_above(read):
    values = ramp(np.int16, -2048, 2047)
    film = read(dicom(values & np.int16(0x0FFF), stored=12))
    assert (shown(film) == values).all()


def test_monochrome1_is_kept_and_said(read):
    values = ramp()
    film = read(dicom(values, stored=12, PhotometricInterpretation="MONOCHROME1"))
    assert film.info.photometric == "MONOCHROME1" and (film.pixels == values).all()


def test_a_lookup_table_makes_the_values(read):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], (np.arange(256) * 200).astype("<u2").tobytes()
    table.ModalityLUTType = "US"
    values = ramp(np.uint8, high=255)
    film = read(
        dicom(values, ModalityLUTSequence=[table], RescaleSlope=GONE)
        if False
        else dicom(values, ModalityLUTSequence=[table])
    )
    assert (film.pixels == values.astype(int) * 200).all() and film.info.slope == 1 and film.info.bits == 16


def test_color_becomes_gray_and_keeps_the_digest_of_its_colors(read):
    color = np.dstack([ramp(np.uint8, high=255), ramp(np.uint8, 255, 0), ramp(np.uint8, 9, 90)])
    film = read(dicom(color))
    assert np.abs(film.pixels - color @ [0.299, 0.587, 0.114]).max() <= 0.51
    assert film.info.digest == film_digest(color) and "shown in gray" in film.info.notes[0]


def test_the_window_is_the_first_one_and_only_a_whole_one(read):
    info = read(dicom(ramp(), stored=12, WindowCenter=[2000, 100], WindowWidth=[3000.5, 5])).info
    assert (info.window_center, info.window_width) == (2000, 3000.5)
    assert read(dicom(ramp(), stored=12, WindowCenter=9)).info.window_center is None
    assert read(dicom(ramp(), stored=12, WindowCenter=9, WindowWidth=0)).info.window_width is None


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, (None, None, None)),
        ({"PixelSpacing": [0.2, 0.3]}, (0.2, 0.3, "PixelSpacing")),
        ({"ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3, "ImagerPixelSpacing")),
        ({"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3, "ImagerPixelSpacing")),
        ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.2, 0.3]}, (0.1, 0.1, "PixelSpacing")),
        ({"NominalScannedPixelSpacing": [0.2, 0.3]}, (0.2, 0.3, "NominalScannedPixelSpacing")),
        ({"PixelSpacing": [0, 0.3]}, (None, None, None)),
    ],
)
def test_spacing_says_where_it_is_from(read, tags, expected):
    info = read(dicom(ramp(), stored=12, **tags)).info
    assert (info.spacing_row, info.spacing_column, info.spacing_source) == expected


def test_burned_in_text_is_warned_of_unless_the_header_denies_it(read):
    assert "text is burned into" in read(dicom(ramp(), stored=12, BurnedInAnnotation="YES")).info.notes[0]
    assert "does not say" in read(dicom(ramp(), stored=12)).info.notes[0]
    assert read(dicom(ramp(), stored=12, BurnedInAnnotation="NO")).info.notes == ()


def test_nothing_of_the_patient_comes_through(read):
    film = read(dicom(ramp(), stored=12, ViewPosition=NAME.replace("^", " ")))
    said = str(dataclasses.asdict(film.info))
    assert not any(word in said for word in ("DOE", "JANE", "1970", "Clinic")) and film.info.view == ""
    assert read(dicom(ramp(), stored=12, ViewPosition="AP")).info.view == "AP"
    assert not any("Patient" in keyword or "Name" in keyword or "UID" in keyword for keyword in ALLOWED)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PixelData": GONE}, "no picture"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"Rows": 60000, "Columns": 60000}, "over 64 megapixels"),
        ({"Rows": 60}, "cannot be decoded"),
        ({"Rows": GONE}, "0 pixels"),
        ({"SamplesPerPixel": 3}, "3 samples a pixel"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "32 of 32 bits"),
        ({"HighBit": 15}, "upper bits"),
        ({"PixelRepresentation": 7}, "signed"),
        ({"RescaleSlope": "0"}, "slope"),
    ],
)
def test_what_is_no_film_is_refused_with_its_reason(read, tags, reason):
    with pytest.raises(BadInput, match=reason) as caught:
        read(dicom(ramp(), stored=12, **tags))
    assert "DOE" not in str(caught.value)


def test_deflated_and_unknown_syntaxes_are_refused_before_they_are_read(read):
    plain = dicom(ramp())
    for uid, reason in ((b"1.2.840.10008.1.2.1.99", "deflated"), (b"1.2.840.10008.1.2.4.100", "transfer syntax")):
        old = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
        assert old in plain
        new = b"\x02\x00\x10\x00UI" + bytes([len(uid) + len(uid) % 2, 0]) + uid + b"\0" * (len(uid) % 2)
        with pytest.raises(BadInput, match=reason):
            read(plain.replace(old, new))


def test_a_syntax_that_needs_the_extra_names_it(read, monkeypatch):
    from xai_bench_annotations.films import dicom as module

    class Missing:
        is_available = False

    monkeypatch.setattr(module, "get_decoder", lambda uid: Missing)
    with pytest.raises(BadInput, match=r"JPEG-LS; pip install 'xai-bench\[dicom\]'"):
        read(dicom(ramp(), syntax=JPEGLSLossless, PixelData=encapsulate([b"\0\0"])))


def test_run_length_encoded_films_need_no_extra(read, tmp_path):
    from pydicom import dcmread

    (tmp_path / "a").write_bytes(dicom(ramp(), stored=12))
    film = dcmread(tmp_path / "a")
    film.compress(RLELossless)
    film.save_as(tmp_path / "b")
    assert (read((tmp_path / "b").read_bytes()).pixels == ramp()).all()


def test_jpeg_2000_keeps_sixteen_bits(read, tmp_path):
    openjpeg = pytest.importorskip("openjpeg", reason="the extra `dicom` is not installed")
    assert openjpeg
    from pydicom import dcmread

    (tmp_path / "a").write_bytes(dicom(ramp(shape=(200, 150)), stored=12))
    film = dcmread(tmp_path / "a")
    film.compress(JPEG2000Lossless)
    film.save_as(tmp_path / "b")
    assert (read((tmp_path / "b").read_bytes()).pixels == ramp(shape=(200, 150))).all()


def test_a_smaller_cap_holds_too(read):
    with pytest.raises(BadInput, match="over 1e-05 megapixels"):
        read(dicom(ramp(), stored=12), max_megapixels=1e-5)
