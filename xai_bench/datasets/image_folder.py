"""Films in class folders, with optional masks: one's own data without writing code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from xai_bench.datasets._folder import File, Masks, find_films, find_masks, patients_by_pattern, patients_by_table
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.images import MAX_MEGAPIXELS, image_size, read_image, read_mask
from xai_bench.references import is_reader
from xai_bench.registry import dataset
from xai_bench.samples import SPLITS, Head, Region, RegionKey, Sample, pick_split
from xai_bench.splits import Fractions, refuse_leak, split_by_patient


@dataclass(frozen=True)
class _Folder:
    """What was found on disk; `patients` by file."""

    films: tuple[File, ...]
    masks: Masks
    patients: Mapping[str, str]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _ReadRegions:
    """Reads a film's masks when called; a mask file that does not exist was not read."""

    film: str
    masks: tuple[tuple[RegionKey, Path | None], ...]
    max_megapixels: float

    def __call__(self) -> dict[RegionKey, Region]:
        return {key: self._region(key, path) for key, path in self.masks}

    def _region(self, key: RegionKey, path: Path | None) -> Region:
        if path is None:
            return Region("not_read")
        mask = read_mask(path, name=_mask_name(key, self.film), max_megapixels=self.max_megapixels)
        return Region("drawn", mask) if mask.any() else Region("marked_nothing")


@dataset("image_folder")
@dataclass(frozen=True)
class ImageFolder:
    """PNG and JPEG films in one folder a class, optional masks `<masks>/<reader>/<region>/<image>.png`.

    `masks` is by default the folder `masks` in `path`, if there is one; an all-black mask says that the reader marked
    nothing, no file that the film was not read. The patient is the one group of `patient_pattern`, searched in
    `<class>/<file name>`, or stands in `patients_csv` (columns image, patient); else each film is its own patient.
    Folders `train`, `validation` and `test` in `path` are the split; without them films are split by patient, seeded.
    `finding_classes` carry a finding; `region_names` are those of the main table, inner to outer (default: all).
    """

    path: str
    masks: str | None = None
    patient_pattern: str | None = None
    patients_csv: str | None = None
    finding_classes: tuple[str, ...] = ()
    region_names: tuple[str, ...] | None = None
    fractions: Fractions = (0.6, 0.2, 0.2)
    seed: int = 0
    max_megapixels: float = MAX_MEGAPIXELS

    @property
    def heads(self) -> tuple[Head, ...]:
        """One head, `class`: the class folders by name. Raises BadInput where there are fewer than two."""
        classes = sorted({f.label for f in self._folder.films})
        if len(classes) < 2:
            raise BadInput(f"folder '{self.path}' has one class folder, {classes[0]!r}; expected two classes or more.")
        return (Head("class", tuple(classes)),)

    @property
    def findings(self) -> Mapping[str, tuple[str, ...]]:
        """`finding_classes`. Raises BadInput for one that is not a class."""
        classes = self.heads[0].classes
        for name in self.finding_classes:
            if name not in classes:
                hint = did_you_mean(name, list(classes))
                raise BadInput(f"finding class {name!r} is not one of {', '.join(map(repr, classes))}.{hint}")
        return {"class": self.finding_classes}

    @property
    def regions(self) -> tuple[str, ...]:
        """`region_names`, or the names of all masks."""
        if self.region_names is not None:
            return self.region_names
        return tuple(sorted({key.name for key in self._folder.masks.keys}))

    @property
    def references(self) -> tuple[str, ...]:
        """The readers' majority, and that without each reader, where two readers or more have drawn."""
        readers = {key.reference for key in self._folder.masks.keys if is_reader(key.reference)}
        return ("consensus:majority", "consensus:majority:without:*") if len(readers) > 1 else ()

    def samples(self, split: str) -> Sequence[Sample]:
        """Films of `train`, `validation` or `test`. Raises BadInput for a leaking split or a class of few patients."""
        return pick_split(self._splits, split)

    def problems(self) -> Sequence[str]:
        """Missing patients, files and masks that are not used, headers that cannot be read, masks of another size."""
        found = list(self._folder.problems)
        if self._folder.masks.keys and not self.finding_classes:
            found.append("there are masks and no finding_classes, so films of every class count for alignment.")
        for film in self._folder.films:
            found += self._header_problems(film)
        return tuple(found)

    @cached_property
    def _folder(self) -> _Folder:
        root = Path(self.path)
        masks = Path(self.masks) if self.masks else root / "masks"
        if self.masks and not masks.is_dir():
            raise BadInput(f"masks folder '{masks}' does not exist; expected <reader>/<region>/<image>.png in it.")
        films, ignored = find_films(root, masks)
        found = find_masks(masks, films)
        patients, problems = self._patients(films)
        if ignored:
            problems.append(f"files in class folders that are neither PNG nor JPEG and are not used: {ignored}.")
        if found.stray:
            problems.append(f"masks that belong to no film: {found.stray}.")
        return _Folder(films, found, patients, tuple(problems))

    def _patients(self, films: Sequence[File]) -> tuple[dict[str, str], list[str]]:
        if self.patient_pattern is not None and self.patients_csv is not None:
            raise BadInput("patient_pattern and patients_csv are both given; keep one.")
        if self.patient_pattern is not None:
            return patients_by_pattern(films, self.patient_pattern), []
        if self.patients_csv is not None:
            patients, stray = patients_by_table(films, Path(self.patients_csv))
            return patients, [f"rows of patients_csv that belong to no film: {stray}."] if stray else []
        alone = "each film counts as a patient of its own, for neither patient_pattern nor patients_csv is given: "
        return {f.file: f.file for f in films}, [alone + "films of one person may stand in several splits."]

    @cached_property
    def _splits(self) -> dict[str, tuple[Sample, ...]]:
        _ = self.heads  # one class folder alone is refused here too
        films, patients = self._folder.films, self._folder.patients
        if films[0].split is not None:
            chosen = {name: tuple(i for i, f in enumerate(films) if f.split == name) for name in SPLITS}
        else:
            by_patient = [patients[f.file] for f in films]
            chosen = split_by_patient(by_patient, [f.label for f in films], self.fractions, self.seed)
        splits = {name: tuple(self._sample(films[i]) for i in chosen[name]) for name in SPLITS}
        refuse_leak(splits)
        return splits

    def _sample(self, film: File) -> Sample:
        path, own = Path(self.path) / film.file, self._folder.masks.of.get(film.file, {})
        masks = tuple((key, own.get(key)) for key in self._folder.masks.keys)
        return Sample(
            id=film_id(film),
            patient=f"p-{_pseudonym(self._folder.patients[film.file])}",
            labels={"class": film.label},
            read_image=partial(read_image, path, name=_picture_name(film), max_megapixels=self.max_megapixels),
            digest=_digest(film.label, path, own),
            read_regions=_ReadRegions(film_id(film), masks, self.max_megapixels),
        )

    def _header_problems(self, film: File) -> list[str]:
        def size(path: Path, name: str) -> tuple[int, int]:
            return image_size(path, name=name, max_megapixels=self.max_megapixels)

        own = self._folder.masks.of.get(film.file, {})
        try:
            shape = size(Path(self.path) / film.file, _picture_name(film))
            shapes = {key: size(path, _mask_name(key, film_id(film))) for key, path in own.items()}
        except BadInput as error:
            return [str(error)]
        odd = {key: found for key, found in shapes.items() if found != shape}
        return [
            f"{_mask_name(key, film_id(film))} is {found} pixels, the picture {shape}." for key, found in odd.items()
        ]


def film_id(film: File) -> str:
    """The class and a pseudonym: file names may hold names, ages or dates, and ids stand in every table.

    >>> film_id(File("Normal/a.png", "Normal/a.png", "Normal", None))
    'Normal-557a0afb7134'
    """
    return f"{film.label}-{_pseudonym(film.file)}"


def _pseudonym(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _picture_name(film: File) -> str:
    """The one place where a file is named, for who must find it."""
    return f"picture {film_id(film)!r} (file {film.file!r})"


def _mask_name(key: RegionKey, film: str) -> str:
    return f"mask {key.name!r} of {key.reference!r} on picture {film!r}"


def _digest(label: str, path: Path, masks: Mapping[RegionKey, Path]) -> str:
    """Of the film's bytes, its label and its masks' bytes."""
    total = hashlib.sha256(label.encode())
    for name, file in (("", path), *((f"{k.reference}/{k.name}", masks[k]) for k in sorted(masks))):
        total.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:24]
