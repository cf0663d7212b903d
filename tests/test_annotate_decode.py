"""Files of unknown origin are decoded in a process of their own: opened, or refused with a reason."""

import io
import json
import struct
import time
import zlib

import numpy as np
import pytest
from dicom_cases import NAME, dicom, ramp
from PIL import Image
from xai_bench_annotations.films import child, decode
from xai_bench_annotations.films.pixels import film_digest

from xai_bench.errors import BadInput
from xai_bench.images import read_image

GRAY = ramp(np.uint8, high=255, shape=(20, 30))
DEEP = ramp(np.uint16, high=65535, shape=(20, 30))
COLOR = np.dstack([GRAY, GRAY[::-1], 255 - GRAY])


def saved(array, form="PNG", **options):
    stream = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(stream, form, **options)
    return stream.getvalue()


def png(width, height, *more):
    """A PNG that says that it is as large as this, with chunks of one's own."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *(chunk(*m) for m in more), chunk(b"IDAT", zlib.compress(b"\0" * 99))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def test_a_film_comes_back_from_its_process_whole():
    film = decode.decode(saved(DEEP))
    assert film.pixels.dtype == np.uint16 and (film.pixels == DEEP).all()
    assert film.info.digest == film_digest(DEEP) and film.info.bits == 16


def test_a_dicom_film_comes_back_without_the_patient():
    film = decode.decode(dicom(ramp(), stored=12, PixelSpacing=[0.2, 0.3]))
    assert (film.pixels == ramp()).all() and film.info.spacing_row == 0.2
    assert not any(part in repr(film) for part in NAME.split("^"))


def test_a_refusal_comes_back_as_a_sentence():
    with pytest.raises(BadInput, match="damaged"):
        decode.decode(saved(DEEP)[:-40])


@pytest.mark.parametrize("kind", ["a", "b", "c"])
def test_digests_are_those_of_the_benchmarks_reader(tmp_path, kind):
    """In this process, for its speed; the others show that the process gives the same."""
    arrays = {"a": GRAY, "b": DEEP, "c": COLOR}
    path = tmp_path / "film.png"
    path.write_bytes(saved(arrays[kind]))
    assert child.decoded(str(path)).info.digest == film_digest(read_image(path, name="film"))


def test_jpegs_that_lie_on_their_side_are_turned_as_the_benchmark_turns_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "film.jpg"
    path.write_bytes(saved(COLOR, "JPEG", quality=95, exif=exif))
    film = child.decoded(str(path))
    assert film.pixels.shape == (30, 20)
    assert film.info.digest == film_digest(read_image(path, name="film"))
    assert film.info.notes == ("The film is in color and is shown in gray.",)


@pytest.mark.parametrize(
    "data",
    [b"", b"<svg xmlns='w'/>", b"II*\0", b"MM\0*", b"GIF89a", b"RIFF", b"%PDF-", b"8BPS", b"\0" * 200],
    ids=["empty", "svg", "tiff", "big endian tiff", "gif", "webp", "pdf", "psd", "zeros"],
)  # fmt: skip
def test_other_kinds_are_refused_without_a_process(monkeypatch, data):
    monkeypatch.setattr(decode.subprocess, "Popen", None)
    with pytest.raises(BadInput, match="no PNG, JPEG or DICOM"):
        decode.decode(data)


def test_a_file_that_is_too_long_is_refused_without_a_process(monkeypatch):
    monkeypatch.setattr(decode, "MAX_BYTES", 100)
    with pytest.raises(BadInput, match="at most 0"):
        decode.decode(saved(DEEP))


def test_bombs_are_refused_by_the_size_they_claim(tmp_path):
    path = tmp_path / "film.png"
    path.write_bytes(png(9000, 9000))
    with pytest.raises(BadInput, match="over 64 megapixels"):
        child.decoded(str(path))


def test_a_guess_of_pillow_is_an_error(tmp_path):
    """A palette's transparency in a picture without a palette is what Pillow only warns of, as it does of odd EXIF."""
    path = tmp_path / "film.png"
    path.write_bytes(png(30, 20, (b"acTL", struct.pack(">II", 0, 0))))
    with pytest.raises(BadInput, match="damaged"):
        child.decoded(str(path))


def test_a_process_that_takes_too_long_is_killed(monkeypatch):
    monkeypatch.setattr(decode.sys, "executable", "/bin/sleep")
    monkeypatch.setattr(decode.subprocess, "Popen", _instead(["/bin/sleep", "60"]))
    begun = time.monotonic()
    with pytest.raises(BadInput, match=r"longer than 0\.2 s"):
        decode.decode(saved(DEEP), seconds=0.2)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -9 $$", "exit code -9"),
        ("kill -XCPU $$", "more than 20 s of computing"),
        ("exit 1", "exit code 1"),
        ("echo nonsense", "nonsense"),
        ("echo []", "nonsense"),
        ("""echo '{"width": 3, "height": 3, "bits": 8, "digest": "a"}'""", "nonsense"),
        ("""echo '{"width": -3, "height": 3, "bits": 8, "digest": "a"}'""", "cannot be used"),
        ("""echo '{"width": 1e9, "height": 1, "bits": 8, "digest": "a"}'""", "nonsense"),
    ],
)
def test_whatever_becomes_of_the_process_is_a_sentence(monkeypatch, script, reason):
    monkeypatch.setattr(decode.subprocess, "Popen", _instead(["/bin/sh", "-c", script]))
    with pytest.raises(BadInput, match=reason):
        decode.decode(saved(DEEP))


def _instead(command):
    """Popen with another command."""
    real = decode.subprocess.Popen

    def popen(_, **options):
        return real(command, **options)

    return popen


def test_the_process_has_little_memory_time_and_nothing_to_write(monkeypatch):
    code = """
import json, resource
from xai_bench_annotations.films import child
child.limit()
names = ["RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE"]
print(json.dumps({n: resource.getrlimit(getattr(resource, n)) for n in names}))
"""
    done = decode.subprocess.run([decode.sys.executable, "-c", code], capture_output=True, check=True)
    limits = json.loads(done.stdout)
    assert limits["RLIMIT_AS"] == [1 << 30] * 2 and limits["RLIMIT_CPU"] == [20, 20]
    assert limits["RLIMIT_FSIZE"][1] < 129_000_000 and limits["RLIMIT_CORE"] == [0, 0]
