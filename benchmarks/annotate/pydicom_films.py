"""pydicom's own test films: each opens, or is refused with a reason. Only those shipped with the package are read.

    python benchmarks/annotate/pydicom_films.py        # minutes: a process for each of 169 files

Prints a table in Markdown and how many opened; fails where a file ends the decoder instead of being refused.

Without the extra `dicom`: 67 opened, 102 refused, 0 ended the decoder. With it (python-gdcm 3.2.6, pylibjpeg-openjpeg
2.6.0): 74 opened, 95 refused, 0 ended the decoder. Of these 95, 83 hold no single picture of 8 to 16 bits, 6 no
DICOM preamble, 2 are deflated or name no syntax, 2 are 12-bit JPEG and 2 are damaged.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pydicom
from xai_bench_annotations.films.decode import decode

from xai_bench.errors import BadInput


def films() -> list[Path]:
    """The files that pydicom ships; `get_testdata_files` would download the others."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".json", ".txt", ".dump", ".icc"))


def verdict(path: Path) -> tuple[str, str]:
    """Opened or refused, and what it is or why."""
    try:
        film = decode(path.read_bytes())
    except BadInput as error:
        return "refused", str(error)
    info = film.info
    low, high = (value * info.slope + info.intercept for value in (int(film.pixels.min()), int(film.pixels.max())))
    parts = [f"{info.width} x {info.height}", f"{info.bits} bit", f"{low:g} to {high:g}"]
    if info.photometric == "MONOCHROME1":
        parts.append("inverted")
    if info.window_width:
        parts.append(f"window {info.window_center:g} / {info.window_width:g}")
    if info.spacing_row:
        parts.append(f"{info.spacing_row:g} x {info.spacing_column:g} mm ({info.spacing_source})")
    return "opened", ", ".join(parts)


def main() -> None:
    """The table."""
    warnings.simplefilter("ignore")
    extra = {name: find_spec(name) is not None for name in ("gdcm", "openjpeg")}
    print("decoders:", ", ".join(f"{name} {'there' if found else 'absent'}" for name, found in extra.items()))
    print("\n| file | | |\n|---|---|---|")
    begun, counts = time.monotonic(), Counter[str]()
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    for path in films():
        what, why = verdict(path)
        counts[what] += 1
        counts["ended"] += "exit code" in why or "nonsense" in why
        print(f"| {path.relative_to(root).as_posix()} | {what} | {why} |", flush=True)
    print(f"\n{counts['opened']} opened, {counts['refused']} refused, {counts['ended']} ended the decoder;", end=" ")
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(counts["ended"] > 0)


if __name__ == "__main__":
    main()
