"""What lies in a folder of films: classes, splits, patients and masks. Files are named relative to the folder."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xai_bench.errors import BadInput
from xai_bench.samples import SPLITS, RegionKey

_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class File:
    """A picture. `file` is relative to the folder, `name` begins with the class; `split` only in split folders."""

    file: str
    name: str
    label: str
    split: str | None


@dataclass(frozen=True)
class Masks:
    """Mask files of each film (by its `file`), all regions and readers, and how many masks belong to no film."""

    of: Mapping[str, Mapping[RegionKey, Path]]
    keys: tuple[RegionKey, ...]
    stray: int


def find_films(root: Path, masks: Path | None) -> tuple[tuple[File, ...], int]:
    """All PNG and JPEG files in class folders, and how many other files lie there. Raises BadInput where there is none.

    Class folders lie in `root`, or in its folders `train`, `validation` and `test`; the masks' folder is no class.
    """
    if not root.is_dir():
        raise BadInput(f"folder '{root}' does not exist; give the folder that holds one folder a class.")
    splits: list[str | None] = [name for name in SPLITS if (root / name).is_dir()]
    if splits and len(splits) < len(SPLITS):
        raise BadInput(
            f"folder '{root}' has {' and '.join(map(str, splits))} only; expected {', '.join(SPLITS)}, or class "
            "folders alone."
        )
    films, ignored = [], 0
    for split in splits or [None]:
        top = root / split if split else root
        for folder in sorted(p for p in _visible(top.iterdir()) if p.is_dir() and p != masks):
            for path in sorted(p for p in _visible(folder.rglob("*")) if p.is_file()):
                if path.suffix.lower() in _SUFFIXES:
                    files = path.relative_to(root).as_posix(), path.relative_to(top).as_posix()
                    films.append(File(*files, folder.name, split))
                else:
                    ignored += 1
    if not films:
        raise BadInput(f"folder '{root}' holds no PNG or JPEG file in a class folder; expected <class>/<film>.png.")
    return tuple(films), ignored


def _visible(paths: Iterable[Path]) -> Iterator[Path]:
    return (p for p in paths if not p.name.startswith("."))


def find_masks(root: Path, films: Sequence[File]) -> Masks:
    """Masks `<reader>/<region>/<image>.png`, where <image> is a film's name; `<class>/<name>` where that is not unique.

    None where `root` does not exist. Raises BadInput where a mask's name fits several films, or a film has two masks of
    one region and reader.
    """
    calls, stray = _calls(films), 0
    found: dict[str, dict[RegionKey, Path]] = defaultdict(dict)
    for path in sorted(_visible(root.glob("*/*/**/*.png"))):
        reader, region, *image = path.relative_to(root).parts
        who = f"mask {'/'.join((reader, region, *image))!r}"
        film, key = _one(calls, "/".join(image).removesuffix(".png"), who), RegionKey(region, reader)
        if film is None:
            stray += 1
        elif key in found[film]:
            raise BadInput(f"{who} is a second one of its film; keep one of them.")
        else:
            found[film][key] = path
    return Masks(dict(found), tuple(sorted({key for own in found.values() for key in own})), stray)


def patients_by_pattern(films: Sequence[File], pattern: str) -> dict[str, str]:
    """Each film's patient: the one group of a regular expression that is searched in `<class>/<name>`.

    Raises BadInput for a pattern that is none, has not exactly one group, or does not fit every film.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BadInput(f"patient_pattern {pattern!r} is not a regular expression: {error}.") from None
    if expression.groups != 1:
        raise BadInput(
            f"patient_pattern {pattern!r} has {expression.groups} groups; expected one, such as '(P[0-9]+)_'."
        )
    matches = {f.file: expression.search(f.name) for f in films}
    patients = {file: match.group(1) for file, match in matches.items() if match and match.group(1)}
    _check_complete(films, patients, f"patient_pattern {pattern!r} does not fit", "change it")
    return patients


def patients_by_table(films: Sequence[File], path: Path) -> tuple[dict[str, str], int]:
    """Each film's patient from a CSV file with columns `image` and `patient`, and how many rows belong to no film.

    Raises BadInput for a table without these columns, a film without a row, or one with two patients.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise BadInput(
            f"patients_csv '{path}' cannot be read; expected a CSV file with columns image, patient."
        ) from None
    if not rows or not {"image", "patient"} <= set(rows[0]):
        raise BadInput(f"patients_csv '{path}' has no columns image, patient, or no row; add them.")
    calls, patients, stray = _calls(films), dict[str, str](), 0
    for row in rows:
        image, patient = (row["image"] or "").strip(), (row["patient"] or "").strip()
        film = _one(calls, image, f"image {image!r} of patients_csv")
        if film is None:
            stray += 1
        elif not patient or patients.setdefault(film, patient) != patient:
            raise BadInput(f"image {image!r} of patients_csv has no patient or two of them; write one in one row.")
    _check_complete(films, patients, f"patients_csv '{path}' has no row for", "add the rows")
    return patients, stray


def _check_complete(films: Sequence[File], patients: Mapping[str, str], what: str, remedy: str) -> None:
    missing = [f.file for f in films if f.file not in patients]
    if missing:
        raise BadInput(f"{what} {len(missing)} of {len(films)} films, the first being {missing[0]!r}; {remedy}.")


def _calls(films: Sequence[File]) -> dict[str, set[str]]:
    """The names by which a film may be called, with and without suffix, and the films that each fits."""
    calls: dict[str, set[str]] = defaultdict(set)
    for film in films:
        for call in (film.file, film.name, Path(film.name).name):
            calls[call].add(film.file)
            calls[call.removesuffix(Path(call).suffix)].add(film.file)
    return dict(calls)


def _one(calls: Mapping[str, set[str]], call: str, who: str) -> str | None:
    fits = calls.get(call, set())
    if len(fits) > 1:
        raise BadInput(f"{who} fits {len(fits)} films; write <class>/<name> where film names are not unique.")
    return next(iter(fits), None)
