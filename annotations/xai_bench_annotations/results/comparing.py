"""How well the readers of a project agree: one table for each question, intervals over patients (or films), n said.

Only films of which all first readings are done count (`readings.films_of` refuses the others). What cannot be measured
on a film is left out with its reason, and counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy.orm import Session

from xai_bench.consensus import METHODS
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.reporting.table import DASH, Cell, Column, Number, Rows, Table, number, with_interval
from xai_bench_annotations.drawings import AREAS, Label
from xai_bench_annotations.results.estimates import (
    LIMITS,
    NOTHING,
    Estimate,
    Found,
    Sight,
    Who,
    alpha,
    kappa,
    limits_of_agreement,
)
from xai_bench_annotations.results.measuring import REPEAT, Observation
from xai_bench_annotations.results.readings import Film, Films, films_of
from xai_bench_annotations.results.tabling import Asked, Body, Line

CLOSE = 5.0
"""Degrees within which two Cobb angles are usually called the same."""


def agreement(
    session: Session, project: str, *, method: str = "majority", patients: Mapping[str, str] | None = None
) -> list[Table]:
    """Every table of a project's agreement. `patients`: digest of a film -> patient, by which intervals are clustered.

    `method` makes the consensus of the others against which a reader is held. Raises BadInput for an unknown method,
    Refusal for an unknown project (404) and where no film has been read by all of its readers (423).
    """
    return agreement_tables(films_of(session, project), method=method, patients=patients)


def agreement_tables(
    films: Films, *, method: str = "majority", patients: Mapping[str, str] | None = None
) -> list[Table]:
    """The same of films at hand."""
    if method not in METHODS:
        known = list(METHODS)
        raise BadInput(f"method {method!r} is not known; use {', '.join(known)}.{did_you_mean(method, known)}")
    sight = Sight.of(films, patients or {}, method)
    asked = Asked(films, sight, method, _clusters(sight, patients or {}))
    made = (
        presence(asked), overlap(asked), distances(asked), staple_rates(asked), others_rates(asked), landmarks(asked),
        angles(asked), repeats(asked),
    )  # fmt: skip
    return [table for table in made if table is not None]


def _clusters(sight: Sight, patients: Mapping[str, str]) -> str:
    """What intervals resample, in words."""
    known = sum(film.sha256 in patients for film in sight.films)
    if known == len(sight.films):
        return f"In brackets 95 % intervals over {len(set(sight.patients))} patients."
    whose = f"the patients of only {known} are known" if known else "whose films they are is not known"
    return f"In brackets 95 % intervals over films; {whose}, so they are too narrow where a patient has several."


# --- is it there? ---------------------------------------------------------------------------------------------------


def presence(asked: Asked) -> Table | None:
    """Do readers agree whether there is something to mark?"""
    rows, notes = [], list[str]()
    for label in asked.films.schema.labels:
        ratings = asked.sight.ratings(label.code)
        if np.isfinite(ratings).any():
            rows.append(_presence_row(asked, label, notes))
        else:
            notes.append(f"{label.name}: answered by nobody.")
    columns = (
        Column("label", left=True), Column("marked", "of readings"), Column("films", "all / some / none"),
        Column("same answer", "of pairs"), Column("alpha", "Krippendorff"), Column("kappa", "Fleiss"),
    )  # fmt: skip
    caption = (
        "Did readers mark something under a label, or say that there is nothing? Films that all marked, some, none. "
        "Alpha and kappa are 1 for agreement, 0 for chance. A label that a reader left open is no answer."
    )
    return (
        Table("presence", "Is it there?", caption, columns, (Rows("", tuple(rows)),), (*notes, asked.basis))
        if rows
        else None
    )


def _presence_row(asked: Asked, label: Label, notes: list[str]) -> tuple[Cell, ...]:
    sight, ratings = asked.sight, asked.sight.ratings(label.code)
    answers, marked = np.isfinite(ratings).sum(0), np.nansum(ratings, 0)
    several = answers > 1
    n, every, none = (
        int(several.sum()),
        int((several & (marked == answers)).sum()),
        int((several & (marked == 0)).sum()),
    )
    split: dict[str, Number] = {"all": every, "some": n - every - none, "none": none}
    (found, limits), fleiss = alpha(ratings, sight.patients), kappa(ratings)
    undefined: dict[str, list[str]] = defaultdict(list)
    for what, measured in (("alpha", found), ("kappa", fleiss)):
        undefined[measured.reason or ""].append(what)
    notes += [f"{label.name}: no {' and no '.join(what)}, {why}." for why, what in undefined.items() if why]
    counted = {"value": None if fleiss.reason else fleiss.value}
    return (
        Cell(label.name),
        sight.estimate("marked", label.code, share=True).cell,
        Cell(" / ".join(map(str, split.values())), f"n {n}", split),
        sight.estimate("same_presence", label.code, share=True).cell,
        Estimate(found.value, limits, 0 if found.reason else n, {}).cell,
        Cell(DASH, "", counted, "muted") if fleiss.reason else Cell(number(fleiss.value), f"n {n}", counted),
    )


# --- areas and points -----------------------------------------------------------------------------------------------


def overlap(asked: Asked) -> Table | None:
    """Do two readers mark the same place?"""
    caption = "Areas of two readers, on films where one or both marked something: 0 where only one did."
    measures = {"dice": "Dice", "iou": "IoU"}
    return _by_pair(asked, "overlap", "Do two readers mark the same place?", caption, measures, AREAS)


def distances(asked: Asked) -> Table | None:
    """How far apart are two readers' outlines?"""
    caption = (
        "Distances between the outlines of two readers, on films where both marked something: the mean over both "
        "outlines, and the 95 % Hausdorff distance."
    )
    columns = {"distance": "mean distance", "hausdorff95": "Hausdorff 95"}
    return _by_pair(asked, "distances", "How far apart are outlines?", caption, _units(asked, columns), AREAS)


def landmarks(asked: Asked) -> Table | None:
    """How far apart are two readers' landmarks?"""
    caption = "Distance of two readers' landmarks; of several on a film, paired so that the sum of distances is least."
    columns = _units(asked, {"landmark": "distance"})
    return _by_pair(asked, "landmarks", "How far apart are landmarks?", caption, columns, ("landmark",))


def _units(asked: Asked, measures: Mapping[str, str]) -> dict[str, str]:
    """Measures in pixels and, where any film states its spacing, in mm."""
    units = {"px": "pixels", "mm": "mm"} if any(f.spacing_mm for f in asked.films.counted) else {"px": "pixels"}
    return {f"{m}_{unit}": f"{name}, {words}" for unit, words in units.items() for m, name in measures.items()}


def _by_pair(
    asked: Asked, name: str, title: str, caption: str, measures: Mapping[str, str], kinds: Sequence[str]
) -> Table | None:
    """A row for each pair of readers and one for all, a column for each measure."""
    body = Body(asked)
    for label in asked.labels(*kinds):
        who = asked.pairs(next(iter(measures)), label.code)
        body.add(label, [_line(asked, label, one, measures) for one in who])
    heads = [(title.partition(", ")[0], title.partition(", ")[2]) for title in measures.values()]
    columns = (Column("readers", left=True), *(Column(*head) for head in heads))
    mm = any(m.endswith("_mm") for m in measures)
    return body.table(name, title, caption, columns, *(_spacings(asked.films.counted) if mm else ()))


def _line(asked: Asked, label: Label, who: Who, measures: Mapping[str, str]) -> Line:
    return Line(who, {name: asked.sight.estimate(m, label.code, who) for m, name in measures.items()})


_PLANES = {
    "ImagerPixelSpacing": "mm at the detector, larger than in the patient by the magnification",
    "NominalScannedPixelSpacing": "mm on the scanned film, larger than in the patient by the magnification",
    "PixelSpacing": "mm as the file is calibrated, which may be at the detector",
    "dataset": "mm as the data set states them",
}


def _spacings(films: Sequence[Film]) -> list[str]:
    """What a mm is, by where a film's spacing comes from."""
    sources = Counter(film.spacing_source for film in films if film.spacing_mm)
    return [f"{n} film{'s' * (n != 1)}: {_PLANES.get(s, 'mm, of unknown plane')}." for s, n in sources.items()]


# --- readers --------------------------------------------------------------------------------------------------------


def staple_rates(asked: Asked) -> Table | None:
    """How good is each reader, if nobody is right from the outset?"""
    caption = (
        "Mean over films of what STAPLE finds: it estimates the truth and all readers' sensitivity and specificity "
        "together. "
        f"{_domain(asked)}"
    )
    measures = {"staple_sensitivity": "sensitivity", "staple_specificity": "specificity"}
    return _by_reader(asked, "readers_staple", "How good is each reader? STAPLE", caption, measures)


def others_rates(asked: Asked) -> Table | None:
    """How good is each reader, if the others are right?"""
    caption = (
        f"Mean over films; each reader against the {asked.method} of the others, in which the own drawing has no part "
        "(the majority of two is their intersection). Pointing ceiling: the share of a reader's area that lies in the "
        f"others', which is how often a map that is this drawing wins the pointing game. {_domain(asked)}"
    )
    measures = {
        "sensitivity": "sensitivity", "specificity": "specificity", "dice_to_others": "Dice",
        "pointing_ceiling": "pointing ceiling",
    }  # fmt: skip
    title = f"How good is each reader? Against the others' {asked.method}"
    return _by_reader(asked, "readers_others", title, caption, measures)


def _by_reader(asked: Asked, name: str, title: str, caption: str, measures: Mapping[str, str]) -> Table | None:
    body = Body(asked)
    for label in asked.labels(*AREAS):
        who = asked.sight.who(next(iter(measures)), label.code)
        body.add(label, [_line(asked, label, one, measures) for one in who])
    return body.table(name, title, caption, (Column("reader", left=True), *map(Column, measures.values())))


def _domain(asked: Asked) -> str:
    """What specificity refers to."""
    sizes = sorted({film.shape for film in asked.films.counted}, key=lambda shape: shape[0] * shape[1])
    said = [f"{width} \N{MULTIPLICATION SIGN} {height}" for height, width in (sizes[0], sizes[-1])]
    size = said[0] if len(sizes) == 1 else f"{said[0]} to {said[1]}"
    return f"Specificity is over all pixels of a film ({size}), so it rises with the film's empty part."


# --- angles ---------------------------------------------------------------------------------------------------------


def angles(asked: Asked) -> Table | None:
    """Do two readers measure the same Cobb angle?"""
    body, alphas = Body(asked), list[str]()
    for label in asked.labels("cobb"):
        lines = []
        for who in asked.pairs("angle_difference", label.code):
            found = asked.sight.values("angle_difference", label.code, who)
            lines.append(Line(who, {"angle": asked.sight.mean(found)}, _difference_cells(asked.sight, found, who)))
        body.add(label, lines)
        alphas += _angle_alpha(asked, label)
    columns = (
        Column("readers", left=True), Column("absolute difference"), Column("bias"), Column("limits of agreement"),
        Column(f"within {CLOSE:g}\N{DEGREE SIGN}"),
    )  # fmt: skip
    caption = (
        "Differences of Cobb angles in degrees; several angles of a film are paired from top to bottom. Bias: first "
        f"minus second reader. Limits of agreement: bias \N{PLUS-MINUS SIGN} {LIMITS} standard deviations, below them "
        f"each one's interval. Within {CLOSE:g}\N{DEGREE SIGN}: share of angles that differ by no more."
    )
    return body.table("angles", "Do two readers measure the same angle?", caption, columns, *alphas)


def _difference_cells(sight: Sight, found: Found, who: Who) -> list[Cell]:
    """Absolute difference, bias, limits, share within 5 degrees; all pairs together have no first and second reader."""
    apart = sight.mean([(place, _absolute(one)) for place, one in found])
    close = [(place, one._replace(value=float(abs(one.value) <= CLOSE))) for place, one in found if one.reason is None]
    signed = [sight.mean(found).cell, limits_of_agreement(*sight.known(found))] if who else [NOTHING, NOTHING]
    return [apart.cell, *signed, sight.mean(close, share=True).cell]


def _angle_alpha(asked: Asked, label: Label) -> list[str]:
    """Krippendorff's alpha of the angles, on films where two readers or more measured one angle each."""
    ratings = asked.sight.angles(label.code)
    n = int((np.isfinite(ratings).sum(0) > 1).sum())
    if not n:
        return []
    found, limits = alpha(ratings, asked.sight.patients)
    said = f"not defined, {found.reason}" if found.reason else with_interval(found.value, limits)
    return [f"{label.name}: Krippendorff's alpha of all readers' angles (interval level) {said}, n {n}."]


def _absolute(one: Observation) -> Observation:
    return one._replace(value=abs(one.value))


# --- the same reader again ------------------------------------------------------------------------------------------


def repeats(asked: Asked) -> Table | None:
    """Does a reader agree with the own repeat reading?"""
    body = Body(asked)
    for label in asked.films.schema.labels:
        who = asked.sight.who(f"{REPEAT}same_presence", label.code)
        body.add(label, [Line(one, _repeated(asked.sight, label, one)) for one in who])
    columns = (
        Column("reader", left=True), Column("same answer"), Column("Dice"), Column("outlines", "pixels"),
        Column("landmarks", "pixels"), Column("angles", "degrees"),
    )  # fmt: skip
    caption = (
        "First and repeat reading of a film by one reader, who began the repeat with nothing drawn. Same answer: "
        "marked or nothing to mark. Outlines and landmarks: mean distance; angles: absolute difference. Repeats count "
        "nowhere else."
    )
    return body.table("repeats", "Does a reader agree with the own repeat?", caption, columns)


def _repeated(sight: Sight, label: Label, who: Who) -> dict[str, Estimate]:
    """The columns of a reader's row."""
    turned = sight.values(f"{REPEAT}angle_difference", label.code, who)
    return {
        "same answer": sight.estimate(f"{REPEAT}same_presence", label.code, who, share=True),
        "Dice": sight.estimate(f"{REPEAT}dice", label.code, who),
        "outlines": sight.estimate(f"{REPEAT}distance_px", label.code, who),
        "landmarks": sight.estimate(f"{REPEAT}landmark_px", label.code, who),
        "angles": sight.mean([(place, _absolute(one)) for place, one in turned]),
    }
