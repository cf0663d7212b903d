"""Thousands of damaged films: each is opened or refused with a sentence; memory, time and crashes are counted.

    python benchmarks/annotate/hostile_films.py                       # some minutes on one core
    python benchmarks/annotate/hostile_films.py --films 500 --seed 1

DICOM, PNG and JPEG films made here and those that pydicom ships are changed by flipped bytes, cut and repeated parts,
exchanged numbers in headers, claimed sizes and spliced halves of two films. The server decodes every film in a process
of its own; here one process with the same limits takes them one after another and is started anew when it ends, and
the first few are decoded by the server's own function too. Fails where a film takes over 5 s of computing or a process
grows beyond 1 GiB. What is neither a film nor a sentence ends the process.

Without the extra `dicom`: 5000 films (seed 0): 849 opened, 4151 refused, 0 ended the process; of the first 25, 0 came
out otherwise in the server's own function; slowest 0.05 s, peak memory 75 MiB.
With it (python-gdcm 3.2.6, pylibjpeg-openjpeg 2.6.0): 3000 films (seed 1): 502 opened, 2498 refused, 0 ended the
process; slowest 0.33 s, peak memory 334 MiB.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import numpy as np
import pydicom
from PIL import Image
from xai_bench_annotations.films.decode import decode

from xai_bench.errors import BadInput

SECONDS = 5.0
PATIENCE = 30.0  # of the clock, on a machine that has other work too
GIB = 1 << 30
COMPARED = 25


# --- films ----------------------------------------------------------------------------------------------------------


def sources() -> list[bytes]:
    """Sound films: PNG and JPEG of several modes, and what pydicom ships, up to 400 kB."""
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (96, 64), dtype=np.uint8)
    pictures = [
        (Image.fromarray(gray), "PNG", {}),
        (Image.fromarray(gray.astype(np.uint16) * 200), "PNG", {}),
        (Image.fromarray(gray > 99), "PNG", {}),
        (Image.fromarray(np.dstack([gray, gray.T.reshape(gray.shape), gray])), "PNG", {}),
        (Image.fromarray(gray).convert("P"), "PNG", {"transparency": 3}),
        (Image.fromarray(np.dstack([gray] * 4)), "PNG", {}),
        (Image.fromarray(gray), "JPEG", {}),
        (Image.fromarray(np.dstack([gray, gray[::-1], gray])), "JPEG", {"progressive": True}),
        (Image.fromarray(np.dstack([gray, gray[::-1], gray])), "JPEG", {"quality": 30, "dpi": (72, 72)}),
    ]
    made = []
    for picture, form, options in pictures:
        stream = io.BytesIO()
        picture.save(stream, form, **options)
        made.append(stream.getvalue())
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    shipped = [p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size < 400_000]
    dicom = [data for data in shipped if data[128:132] == b"DICM" and b"\xe0\x7f\x10\x00" in data]
    return made * max(1, len(dicom) // len(made)) + dicom  # as many PNG and JPEG as DICOM


def damaged(data: bytes, others: list[bytes], random: Random) -> bytes:
    """One film changed in one or two ways; what says its kind and syntax mostly stays, or no more would be tried."""
    film = bytearray(data)
    for _ in range(random.randint(1, 2)):
        film = _changed(film, others, random)
    kept = 360 if data[128:132] == b"DICM" else 8
    if random.random() < 0.85:
        film[:kept] = data[:kept]
    return bytes(film)


def _changed(film: bytearray, others: list[bytes], random: Random) -> bytearray:
    size = max(1, len(film))
    start = random.randrange(size) if random.random() < 0.5 else random.randrange(min(size, 600))  # headers twice
    length = random.choice([1, 2, 4, 8, 64, size // 3])
    match random.randrange(7):
        case 0:  # flipped bits
            for _ in range(random.randint(1, 12)):
                film[random.randrange(len(film))] ^= 1 << random.randrange(8)
        case 1:  # an extreme number
            film[start : start + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\x7f\0\0", b"\0\0\0\x7f"])
        case 2:  # cut off
            del film[start + 140 :]
        case 3:  # a part is missing
            del film[start : start + length]
        case 4:  # a part twice
            film[start:start] = film[start : start + length]
        case 5:  # noise
            film[start : start + length] = random.randbytes(length)
        case 6:  # the end of another film
            other = random.choice(others)
            film[start:] = other[min(start, len(other) // 2) :]
    return film or bytearray(b"\0")


# --- the process ----------------------------------------------------------------------------------------------------


def serve(asks: Connection) -> None:
    """Decode each file that is named, within the limits of `child`; answer what came of it, CPU seconds, peak bytes."""
    from xai_bench_annotations.films import child

    warnings.simplefilter("ignore")
    child.limit(cpu_seconds=100_000)  # of all films together; each is timed by who asks
    while path := asks.recv():
        begun = time.process_time()
        try:
            film = child.decoded(path)
            answer = f"opened {film.info.width} x {film.info.height}"
        except BadInput as error:
            answer = f"refused: {error}"
        asks.send((answer, time.process_time() - begun, peak_memory()))


def peak_memory() -> int:
    """Of this process, in bytes; `resource` would count the process that started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@dataclass
class Worker:
    """The process, started when it is needed and again after it has ended."""

    path: Path
    peak: int = 0
    ends: list[str] = field(default_factory=list)
    _process: multiprocessing.process.BaseProcess | None = None
    _asks: Connection | None = None

    def verdict(self, data: bytes) -> tuple[str, float]:
        """opened, refused: why, or ended: how; and the CPU seconds that it took."""
        if self._process is None:
            self._start()
        assert self._asks is not None and self._process is not None
        self.path.write_bytes(data)
        self._asks.send(str(self.path))
        try:
            if not self._asks.poll(PATIENCE):
                return self._end("ended: too slow"), PATIENCE
            answer, seconds, peak = self._asks.recv()
        except (EOFError, OSError):
            self._process.join(5)
            return self._end(f"ended: exit code {self._process.exitcode}"), 0.0
        self.peak = max(self.peak, peak)
        return answer, seconds

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._asks, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.path.write_bytes(b"")
        self._asks.send(str(self.path))  # libraries are loaded before films are timed
        self._asks.recv()

    def close(self) -> None:
        """Let the process end."""
        if self._process is not None and self._asks is not None:
            self._asks.send("")
            self._process.join()

    def _end(self, how: str) -> str:
        assert self._process is not None
        self._process.kill()
        self._process.join()
        self._process = self._asks = None
        self.ends.append(how)
        return how


# --- the count ------------------------------------------------------------------------------------------------------


def hostile(count: int, seed: int) -> Iterator[bytes]:
    """Damaged films, the same for the same seed."""
    random, sound = Random(seed), sources()
    return (damaged(random.choice(sound), sound, random) for _ in range(count))


def sentence(reason: str) -> str:
    """A reason without its numbers, so that equal ones can be counted."""
    return "".join("#" if c.isdigit() else c for c in reason)[:110]


def main() -> None:
    """Try them all and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    begun, slowest, kinds, reasons = time.monotonic(), 0.0, Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(Path(folder) / "film")
        for number, data in enumerate(hostile(chosen.films, chosen.seed)):
            answer, seconds = worker.verdict(data)
            kind = answer.split(" ")[0].rstrip(":")
            kinds[kind] += 1
            reasons[sentence(answer if kind != "opened" else "opened")] += 1
            slowest = max(slowest, seconds)
            if number < COMPARED:
                kinds["differs from the server"] += outcome(data) != ("opened" if kind == "opened" else "refused")
        worker.close()
    for reason, times in reasons.most_common():
        print(f"{times:6d}  {reason}")
    differ, took = kinds["differs from the server"], time.monotonic() - begun
    print(f"\n{chosen.films} films: {kinds['opened']} opened, {kinds['refused']} refused,", end=" ")
    print(f"{kinds['ended']} ended the process, which the server refuses;")
    print(f"of the first {COMPARED}, {differ} came out otherwise in the server's own function;")
    print(f"slowest {slowest:.2f} s, peak memory {worker.peak / 2**20:.0f} MiB, {took:.0f} s in all")
    sys.exit(slowest > SECONDS or worker.peak > GIB or differ > 0)


def outcome(data: bytes) -> str:
    """What the server says."""
    try:
        decode(data)
        return "opened"
    except BadInput:
        return "refused"


if __name__ == "__main__":
    main()
