"""Thousands of damaged pictures, masks and studies: each is opened or refused in a sentence, soon and in little memory.

    python benchmarks/reliability/hostile.py [--pictures 10000] [--masks 5000] [--studies 5000] [--seed 0]

Pictures (PNG and JPEG of every mode, and formats that are not read) go where `image_folder` opens its films; masks are
PNG files that it reads, and drawings as COCO or native JSON that `xai-bench annotate import` takes; studies are TOML
files. They are changed by flipped bits, cut, doubled and missing parts, noise, other sizes in their headers, and
hostile values; one picture in 500 is a sound one of up to 64 megapixels, or a little more. A process of its own opens
the files of a kind one after another and is started anew when it ends. Wrong is whatever is no error of `xai_bench`:
another exception, the end of the process, more than 5 s of computing. Fails where anything is wrong, or where a
process, with all that it has imported, grows beyond 1 GiB. (Films for annotations: `annotate/hostile_films.py`.)

Last output, with --pictures 200 --masks 1000 --studies 1000 --seed 3 (the whole numbers were not run yet):

                opened  refused  wrong   slowest   peak memory
    pictures        21      179      0    3.09 s       648 MiB
    masks          202      798      0    0.10 s        94 MiB
    studies         78      922      0    2.52 s       441 MiB
"""

from __future__ import annotations

import argparse
import io
import json
import math
import multiprocessing
import re
import resource
import struct
import sys
import tempfile
import time
import tomllib
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from xai_bench.errors import XaiBenchError

SECONDS = 5.0
PATIENCE = 60.0  # of the clock, on a machine that has other work too
GIB = 1 << 30
LARGE = 500  # one picture in so many
SIZE = (64, 48)
Open = Callable[[bytes], None]

STUDY = """
name = "hostile"
split = "test"
batch_size = 4
precision = "float32"
regions = ["scoliosis.R2", "column"]
references = ["derived"]
summaries = ["retrain_stability", {name = "shuffled"}]
reader = {resize = {height = 48, width = 40, mode = "letterbox"}, intensity = {mode = "percentile", low = 0.5}}
dataset = {name = "phantom", height = 48, width = 40, films = {train = 8, validation = 4, test = 4}, seed = 1}
target = {of = "label"}
explainers = [
    "grad_cam", {name = "lime", samples = 30, pictures = 2, label = "mine"}, {name = "rise", repeats = 2},
    {name = "smooth_grad", explainer = {name = "saliency"}},
    {name = "occlusion", imputer = {name = "blur", sigma = 3.0}},
]
metrics = ["relevance_mass", {name = "deletion", steps = 4, imputer = "training_mean"}, {name = "iou_tuned", films = 3}]

[[classifiers]]
name = "small"
architecture = {name = "small_cnn", width = 8}
training = {epochs = 1, batch_size = 4, learning_rate = 1e-3}
seeds = [0, 1]

[[classifiers]]
name = "other"
architecture = "torchvision:resnet18"
folds = 3
dataset = {name = "phantom", height = 48, width = 40, films = {train = 8, validation = 4, test = 4}, seed = 2}
"""
DEEP = "deeper than anybody reads"
VALUES: tuple[Any, ...] = (
    0, -1, 1, 1.5, 1e308, -math.inf, math.nan, 10**20, True, None, "", "lime", "../../etc", "\0", "x" * 20_000, [], {},
    [[]], [1, 2, 3], ["a", 1], {"name": 1}, {"name": "lime"}, {"a": {}}, [{}], DEEP,
)  # fmt: skip
LABELS = [
    {"code": "column", "name": "Column", "color": "#2a9d8f"},
    {"code": "cobb", "name": "Cobb", "color": "#4895ef", "kinds": ["cobb"], "required": False},
    {"code": "corner", "name": "Corner", "color": "#b5179e", "kinds": ["landmark"], "required": False},
]
RING = [[1, 1], [9, 2], [8, 30.5]]
DRAWN = [
    ("column", {"kind": "polygon", "exterior": RING, "holes": [[[3, 3], [5, 3], [4, 9]]]}),
    ("column", {"kind": "freehand", "exterior": RING}),
    ("column", {"kind": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4}),
    ("column", {"kind": "mask", "size": SIZE, "counts": [100, 50, SIZE[0] * SIZE[1] - 150]}),
    ("cobb", {"kind": "cobb", "upper": [[1, 2], [9, 3]], "lower": [[1, 40], [9, 44]]}),
    ("corner", {"kind": "landmark", "at": [5, 6]}),
]


# --- sound files ----------------------------------------------------------------------------------------------------


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def pictures() -> list[bytes]:
    """Small ones of every mode, and of formats that are refused."""
    gray = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    image, color = Image.fromarray(gray), Image.fromarray(np.dstack([gray, gray[::-1], gray]))
    turned = Image.Exif()
    turned[0x0112] = 6
    png = [image, Image.fromarray(gray.astype(np.uint16) * 200), image.convert("1"), color, image.convert("LA")]
    made = [encoded(p, "PNG") for p in (*png, color.convert("RGBA"))]
    made += [encoded(color.convert("P"), "PNG", transparency=3), encoded(image, "PNG", exif=turned)]
    made += [encoded(image, "JPEG"), encoded(color, "JPEG", progressive=True), encoded(color, "JPEG", exif=turned)]
    made += [encoded(color.convert("CMYK"), "JPEG")] + [encoded(color, form) for form in ("TIFF", "BMP", "GIF", "WEBP")]
    array = io.BytesIO()
    np.save(array, gray)
    return [*made * 3, array.getvalue()]


def large(random: Random) -> bytes:
    """A sound picture of 64 megapixels or a little more, which a file of a few kB can be."""
    side = random.choice([8_000, 7_900, 8_001, 20_000])
    mode = random.choice(["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
    picture = Image.new(mode, (side, side if side < 9_000 else 4_000))
    options = {"transparency": 1} if mode == "P" and random.random() < 0.5 else {}
    return encoded(picture, "PNG", compress_level=1, **options)


def masks() -> list[bytes]:
    """Masks as PNG files, and drawings as COCO and as our own JSON."""
    inside = np.zeros(SIZE, np.uint8)
    inside[9:30, 5:40] = 255
    image = Image.fromarray(inside)
    made = [encoded(p, "PNG") for p in (image, image.convert("1"), image.convert("P"), image.convert("RGB"))]
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        desk.take(desk.native(), "native", dry_run=False)
        both = [desk.json(form) for form in ("coco", "native")]
    return made + both * 4


class Desk:
    """A folder of annotations with one film and a reader, into which drawings are imported."""

    def __init__(self, folder: Path) -> None:
        from xai_bench_annotations.drawings import LabelSchema
        from xai_bench_annotations.films.pixels import film_digest
        from xai_bench_annotations.films.store import add_pixels
        from xai_bench_annotations.server.database import open_database
        from xai_bench_annotations.server.projects import add_project
        from xai_bench_annotations.server.readers import add_reader
        from xai_bench_annotations.server.shapes import NewProject

        self.database = open_database(folder / "desk", create=True)
        film = np.random.default_rng(1).integers(0, 4096, SIZE, dtype=np.uint16)
        self.digest = film_digest(film)
        with self.database.writing() as session:
            add_reader(session, "anna")
            made = add_project(session, NewProject(name="spine", labels=LabelSchema.model_validate({"labels": LABELS})))
            add_pixels(session, self.database.folder, made, film)

    def native(self) -> bytes:
        """One reading with a drawing of each kind."""
        film = {"number": 1, "sha256": self.digest, "width": SIZE[1], "height": SIZE[0]}
        drawings = [{"label": label, "geometry": geometry, "confidence": 3} for label, geometry in DRAWN]
        reading = {"film": 1, "reader": "anna", "state": "done", "drawings": drawings}
        said = {"labels": {"labels": LABELS}, "films": [film], "readings": [reading]}
        return json.dumps({"format": "xai-bench annotations 1", **said}).encode()

    def take(self, data: bytes, form: Any, *, dry_run: bool = True) -> None:
        """Import it."""
        from xai_bench_annotations.formats.exchange import import_project

        import_project(self.database, "spine", data, form, dry_run=dry_run)

    def json(self, form: Any) -> bytes:
        """The project's drawings."""
        from xai_bench_annotations.formats.exchange import export_project

        with zipfile.ZipFile(io.BytesIO(export_project(self.database, "spine", form).data)) as archive:
            return next(archive.read(name) for name in archive.namelist() if name.endswith(".json"))


# --- damage ---------------------------------------------------------------------------------------------------------


def damaged(data: bytes, random: Random) -> bytes:
    """The file changed in one to three ways; text in its values or in its bytes, pictures in headers or bytes."""
    for _ in range(random.choice([1, 1, 1, 2])):
        ways = [_bytes, *[_revalued] * 3] if _is_text(data) else [_bytes, _resized]
        data = random.choice(ways)(data, random) or b"\0"
    return data


def _is_text(data: bytes) -> bool:
    return data[:1] in (b"{", b"\n")


def _bytes(data: bytes, random: Random) -> bytes:
    found, size = bytearray(data), len(data)
    start = random.randrange(size) if random.random() < 0.5 else random.randrange(min(size, 200))  # headers twice
    length = random.choice([1, 2, 4, 8, 64, max(1, size // 3)])
    match random.randrange(5):
        case 0:
            for _ in range(random.randint(1, 12)):
                found[random.randrange(size)] ^= 1 << random.randrange(8)
        case 1:
            del found[start:]
        case 2:
            del found[start : start + length]
        case 3:
            found[start:start] = found[start : start + length]
        case 4:
            found[start : start + length] = random.randbytes(length)
    return bytes(found)


def _resized(data: bytes, random: Random) -> bytes:
    """Another size, depth or color type in the header of a PNG, with its checksum, or another size in a JPEG's."""
    sizes = (0, 1, 47, 49, 8_000, 65_500, 2**31 - 1, 2**32 - 1)
    if data[:4] == b"\x89PNG" and len(data) > 33:
        fields = list(struct.unpack(">IIBBBBB", data[16:29]))
        place = random.randrange(7)
        fields[place] = random.choice(sizes) if place < 2 else random.randrange(17)
        head = b"IHDR" + struct.pack(">IIBBBBB", *fields)
        return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    frame = re.search(rb"\xff[\xc0-\xc2]..\x08", data, re.DOTALL)
    if data[:2] == b"\xff\xd8" and frame:
        size = struct.pack(">HH", *(random.choice(sizes[:-2]) for _ in range(2)))
        return data[: frame.end()] + size + data[frame.end() + 4 :]
    return _bytes(data, random)


def _revalued(data: bytes, random: Random) -> bytes:
    """A value of a text is another one, has another name, stands twice or is gone; the text itself stays sound."""
    is_json = data[:1] == b"{"
    try:
        tree = json.loads(data) if is_json else tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return _bytes(data, random)
    places = list(_places(tree))
    for _ in range(random.choice([1, 1, 2])):
        inside, key = random.choice(places)
        if isinstance(inside, list):
            inside.insert(key, random.choice(VALUES))
        if random.random() < 0.8:
            inside[key] = random.choice([random.choice(VALUES), _value(*random.choice(places))])
        elif isinstance(inside, dict):
            inside[random.choice(["", "name", "label", f"{key}s"])] = _value(inside, key)
        if random.random() < 0.2 and isinstance(inside, dict):
            inside.pop(key, None)
    try:
        text = json.dumps(tree) if is_json else "".join(f"\n{json.dumps(k)} = {_toml(v)}" for k, v in tree.items())
    except (ValueError, RecursionError):  # a value within itself
        return _bytes(data, random)
    return text.replace(f'"{DEEP}"', "[" * 3_000 + "]" * 3_000).encode()


def _value(inside: Any, key: Any) -> Any:
    return inside.get(key) if isinstance(inside, dict) else inside[min(key, len(inside) - 1)] if inside else None


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every table or list, with each name or number in it."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _toml(value: Any) -> str:
    """A value in one line; what TOML has not becomes a string."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value) if isinstance(value, bool | int | str) else f'"{value}"'


# --- the process that opens them ------------------------------------------------------------------------------------


def open_picture(folder: Path) -> Open:
    """As a film of `image_folder`."""
    from xai_bench.images import image_size, read_image

    path = folder / "film.png"

    def look(data: bytes) -> None:
        path.write_bytes(data)
        picture = read_image(path, name="this picture")
        assert picture.shape[:2] == image_size(path, name="this picture")

    return look


def open_mask(folder: Path) -> Open:
    """As a mask of `image_folder`, or as drawings that are imported, which change nothing."""
    from xai_bench.images import read_mask

    desk, path = Desk(folder), folder / "mask.png"

    def look(data: bytes) -> None:
        if data.lstrip()[:1] != b"{":
            path.write_bytes(data)
            read_mask(path, name="this mask")
        else:
            desk.take(data, "coco" if b'"annotations"' in data else "native")

    return look


def open_study(folder: Path) -> Open:
    """As a file that `xai-bench run` takes."""
    from xai_bench.study import Study

    path = folder / "study.toml"

    def look(data: bytes) -> None:
        path.write_bytes(data)
        assert len(Study.read(path).key) == 12

    return look


def serve(asks: Connection, opener: Callable[[Path], Open]) -> None:
    """Open each file that comes in; answer what came of it, seconds of computing, and the process's peak in bytes."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        look = opener(Path(folder))
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 4 * GIB,) * 2)  # so that this machine outlives a mistake
        asks.send(("ready", 0.0, peak_memory()))
        while data := asks.recv():
            begun = time.process_time()
            try:
                look(data)
                said = "opened"
            except XaiBenchError:
                said = "refused"
            except Exception as error:  # what this script is about
                said = f"{type(error).__name__}: {str(error)[:100]}"
            asks.send((said, time.process_time() - begun, peak_memory()))


def peak_memory() -> int:
    """Of this process, in bytes; `resource` would count the process that started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@dataclass
class Trial:
    """All files of one kind: what came of them."""

    name: str
    opener: Callable[[Path], Open]
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0
    _process: multiprocessing.process.BaseProcess | None = None
    _asks: Connection | None = None

    def try_(self, number: int, data: bytes) -> None:
        """Count one file."""
        said, seconds = self._answer(data)
        self.slowest = max(self.slowest, seconds)
        if said in ("opened", "refused") and seconds <= SECONDS:
            self.counts[said] += 1
        else:
            self.counts["wrong"] += 1
            self.wrong.append(f"{self.name} {number} ({len(data)} bytes, {seconds:.1f} s): {said}")

    def _answer(self, data: bytes) -> tuple[str, float]:
        if self._asks is None:
            context = multiprocessing.get_context("spawn")
            self._asks, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs, self.opener), daemon=True)
            self._process.start()
            theirs.close()
            self._asks.recv()
        assert self._process is not None
        try:
            self._asks.send(data)
            if self._asks.poll(PATIENCE):
                said, seconds, peak = self._asks.recv()
                self.peak = max(self.peak, peak)
                return said, seconds
            self._process.kill()
        except (EOFError, OSError):
            pass
        self._process.join()
        code, self._asks = self._process.exitcode, None
        return f"the process ended with {code}", PATIENCE if code == -9 else 0.0

    def close(self) -> None:
        """Let the process end."""
        if self._asks is not None and self._process is not None:
            self._asks.send(b"")
            self._process.join()


def main() -> None:
    """Try them all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("pictures", 10_000), ("masks", 5_000), ("studies", 5_000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    chosen = parser.parse_args()
    kinds: dict[str, tuple[list[bytes], Callable[[Path], Open]]] = {
        "pictures": (pictures(), open_picture),
        "masks": (masks(), open_mask),
        "studies": ([STUDY.encode()], open_study),
    }
    trials = []
    for name, (sound, opener) in kinds.items():
        random, trial = Random(f"{chosen.seed} {name}"), Trial(name, opener)
        trials.append(trial)
        for number in range(getattr(chosen, name)):
            is_large = name == "pictures" and number % LARGE == LARGE // 2
            trial.try_(number, large(random) if is_large else damaged(random.choice(sound), random))
        trial.close()
    print(f"{'':10}{'opened':>8}{'refused':>9}{'wrong':>7}{'slowest':>10}{'peak memory':>14}")
    for t in trials:
        opened, refused, wrong = (t.counts[state] for state in ("opened", "refused", "wrong"))
        print(f"{t.name:10}{opened:8}{refused:9}{wrong:7}{t.slowest:8.2f} s{t.peak / 2**20:10.0f} MiB")
    print("\n".join(line for t in trials for line in t.wrong[:20]))
    sys.exit(any(t.wrong or t.peak > GIB for t in trials))


if __name__ == "__main__":
    main()
