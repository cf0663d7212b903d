"""The process in which one film is decoded: `python -m xai_bench_annotations.films.child < film > answer`.

The answer is one line of JSON, either what is known of the film or why it is refused, and then its pixels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import warnings
from pathlib import Path

import numpy as np

from xai_bench.errors import BadInput
from xai_bench_annotations.films.decode import CPU_SECONDS, HEADER, MAX_MEGAPIXELS, MEMORY, kind_of
from xai_bench_annotations.films.pixels import Film, film_of

_ANSWER_BYTES = int(MAX_MEGAPIXELS * 2e6) + 100_000


def limit(cpu_seconds: int = CPU_SECONDS) -> None:
    """From now on this process has 1 GiB, little time, writes no more than an answer and leaves no core dump."""
    limits = {
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: _ANSWER_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for what, amount in limits.items():
        hard = resource.getrlimit(what)[1]
        amount = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        with contextlib.suppress(ValueError, OSError):  # some systems have no such limit
            resource.setrlimit(what, (amount, amount))


def decoded(path: str) -> Film:
    """The film in a file. Raises BadInput with the reason; no message holds more of the file than sizes and formats."""
    with Path(path).open("rb") as file:
        kind = kind_of(file.read(HEADER))
    try:
        if kind == "dicom":
            from xai_bench_annotations.films.dicom import read_dicom

            return read_dicom(path, MAX_MEGAPIXELS)
        from xai_bench.images import read_image

        return film_of(read_image(path, name="this film", max_megapixels=MAX_MEGAPIXELS))
    except MemoryError:
        raise BadInput(f"this film needs more than {MEMORY >> 20} MiB of memory to decode; shrink it.") from None
    except BadInput as error:
        if "MemoryError" in str(error):
            raise BadInput(f"this film needs more than {MEMORY >> 20} MiB of memory; shrink it.") from None
        raise
    except Exception as error:  # whatever a damaged file makes a library do
        raise BadInput(f"this film is damaged ({type(error).__name__}); copy it again or leave it out.") from None


def main() -> None:
    """Decode what stands at the input and answer."""
    limit()
    warnings.simplefilter("ignore")
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # what libraries print must not stand in the answer
        try:
            film = decoded("/dev/stdin")
        except BadInput as error:
            answer.write(json.dumps({"refused": str(error)}).encode() + b"\n")
            return
        answer.write(json.dumps(dataclasses.asdict(film.info)).encode() + b"\n")
        answer.write(np.ascontiguousarray(film.pixels, dtype="<u2").data)


if __name__ == "__main__":
    main()
