"""How good the classifiers are, before anything is said about their explanations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xai_bench.accuracy import Measured, accuracy, auroc, balanced_accuracy, confusion
from xai_bench.errors import BadInput
from xai_bench.reporting.table import DASH, Cell, Column, Number, Rows, Table, number, with_interval
from xai_bench.samples import Head
from xai_bench.statistics import FEW_TWINS, twins_interval

if TYPE_CHECKING:
    from xai_bench.running.run import Run


def classifier_tables(run: Run, *, full: bool = False) -> list[Table]:
    """For each head: accuracy, balanced accuracy and AUROC of every twin and of their mean, then confusion matrices."""
    tables = []
    for head in run.heads:
        known = labeled(run.predictions, head)
        if head.link != "identity" and len(known):
            suffix = f" of {head.name}" if len(run.heads) > 1 else ""
            tables += [_measures(run, head, known, suffix), _confusions(run, head, known, suffix, full)]
    return tables


def labeled(predictions: pd.DataFrame, head: Head) -> pd.DataFrame:
    """The predictions of a head that can be judged: readable films with a label."""
    usable = (predictions["head"] == head.name) & (predictions.status == "ok") & predictions.label.notna()
    return predictions[usable]


def beats_majority(run: Run, classifier: str) -> bool:
    """Whether the lower bound of the accuracy on the first head is above always saying the commonest class."""
    known = labeled(run.predictions, run.heads[0])
    mine = known[known.classifier == classifier]
    if not len(mine) or run.heads[0].link == "identity":
        return True  # nothing to judge it by
    return _accuracy(mine).interval.low > _majority(mine)


def _majority(films: pd.DataFrame) -> float:
    return float(films.drop_duplicates("picture").label.value_counts(normalize=True).iloc[0])


def _correct(films: pd.DataFrame) -> pd.DataFrame:
    """Right (1) or wrong (0), a row a film and a column a twin; films that every twin could read."""
    right = films.assign(right=(films.label == films.prediction).astype(float))
    return right.pivot_table(index="picture", columns="replicate", values="right").dropna()


def _films(films: pd.DataFrame, pictures: pd.Index[str]) -> pd.DataFrame:
    return films.drop_duplicates("picture").set_index("picture").reindex(pictures)


def _accuracy(films: pd.DataFrame) -> Measured:
    right = _correct(films)
    patients = list(_films(films, right.index).patient)
    if right.shape[1] < FEW_TWINS:
        return accuracy(np.asarray(right.mean(axis=1), np.float64), patients)
    values = np.asarray(right, np.float64).T
    return Measured(float(values.mean()), twins_interval(values, patients, binary=True))


def _measures(run: Run, head: Head, known: pd.DataFrame, suffix: str) -> Table:
    groups = []
    for name, films in known.groupby("classifier", sort=False):
        twins = [(f"twin {r}, seed {_seed(part)}", part) for r, part in films.groupby("replicate", sort=False)]
        pooled = [(f"all {len(twins)}, mean", films)] if len(twins) > 1 else []
        groups.append(Rows(str(name), tuple(_measure(label, part, head) for label, part in twins + pooled)))
    columns = (
        Column("classifier", left=True),
        Column("n", "(patients)"),
        Column("accuracy"),
        Column("balanced accuracy"),
        Column("AUROC", "mean over classes"),
        Column("majority", "class share"),
        Column("above it?"),
    )
    caption = (
        "How well each classifier does on the test films, with 95% intervals over patients in brackets; the mean of "
        "twins is conditional on these twins while there are fewer than 5. Above it: the lower end of the accuracy's "
        f"interval exceeds the share of the commonest class. Run {run.key}."
    )
    return Table(
        f"classifiers{_slug(suffix)}", f"Classifiers{suffix}", caption, columns, tuple(groups), _notes(run, head)
    )


def _measure(label: str, films: pd.DataFrame, head: Head) -> tuple[Cell, ...]:
    right = _correct(films)
    shown = _films(films, right.index)
    patients, majority = list(shown.patient), _majority(films)
    fraction = np.asarray(right.mean(axis=1), np.float64)
    found = _accuracy(films)
    above = found.interval.low > majority
    count: dict[str, Number] = {"films": len(right), "patients": int(shown.patient.nunique())}
    return (
        Cell(label),
        Cell(f"{len(right)} ({count['patients']})", numbers=count),
        _cell(found),
        _cell(balanced_accuracy(fraction, list(shown.label), patients)),
        _cell(_area(films, right.index, head)),
        Cell(number(majority), numbers={"value": majority}),
        Cell("yes" if above else "not above", mark="" if above else "bad"),
    )


def _area(films: pd.DataFrame, pictures: pd.Index[str], head: Head) -> Measured | None:
    shown = _films(films, pictures)
    is_class = np.array([(shown.label == name).to_numpy() for name in head.classes], np.float64)
    twins = [part.set_index("picture").probabilities.reindex(pictures) for _, part in films.groupby("replicate")]
    scores = np.array([np.stack(list(twin)).T for twin in twins], np.float64)
    try:
        return auroc(is_class, scores, list(shown.patient))
    except BadInput:  # one class only: the table shows a dash
        return None


def _cell(found: Measured | None) -> Cell:
    if found is None:
        return Cell(DASH, mark="muted")
    i = found.interval
    numbers: dict[str, Number] = {"value": found.value, "low": i.low, "high": i.high, "interval": i.method}
    return Cell(with_interval(found.value, i), numbers=numbers)


def _confusions(run: Run, head: Head, known: pd.DataFrame, suffix: str, full: bool) -> Table:
    groups = []
    for name, films in known.groupby("classifier", sort=False):
        parts: Sequence[tuple[str, pd.DataFrame]] = [(f"{name}, all twins", films)]
        if films.replicate.nunique() == 1:
            parts = [(str(name), films)]
        elif full:
            parts = [*parts, *((f"{name}, twin {r}", part) for r, part in films.groupby("replicate", sort=False))]
        groups += [Rows(heading, _matrix(part, head)) for heading, part in parts]
    columns = (Column("label", left=True), *(Column(name, "predicted") for name in head.classes))
    caption = (
        f"Number of films by label (rows) and prediction (columns); a film counts once for each twin. Run {run.key}."
    )
    return Table(f"confusion{_slug(suffix)}", f"Confusion matrix{suffix}", caption, columns, tuple(groups))


def _matrix(films: pd.DataFrame, head: Head) -> tuple[tuple[Cell, ...], ...]:
    counts = confusion(list(films.label), list(films.prediction), head.classes)
    return tuple(
        (
            Cell(label),
            *(Cell(str(n), numbers={"films": int(n)}, mark="good" if i == j else "") for j, n in enumerate(row)),
        )
        for i, (label, row) in enumerate(zip(head.classes, counts, strict=True))
    )


def _seed(films: pd.DataFrame) -> str:
    seed = films.train_seed.iloc[0]
    return DASH if pd.isna(seed) else str(int(seed))


def _notes(run: Run, head: Head) -> tuple[str, ...]:
    mine = run.predictions[run.predictions["head"] == head.name]
    unlabeled = mine[(mine.status == "ok") & mine.label.isna()].picture.nunique()
    notes = [
        f"{c}: {a}, {r}."
        for c, a, r in dict.fromkeys(zip(mine.classifier, mine.architecture, mine.regime, strict=True))
    ]
    notes += [f"{unlabeled} films have no label and are not judged."] if unlabeled else []
    for reason, part in mine[mine.status != "ok"].groupby("reason"):
        notes.append(f"{part.picture.nunique()} films could not be classified: {reason}.")
    return tuple(notes)


def _slug(suffix: str) -> str:
    return suffix.replace(" of ", "_").replace(" ", "_")
