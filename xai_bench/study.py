"""A study: what is trained, explained and scored. A frozen dataclass, or a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.training import Training
from xai_bench.engine import DTYPES, Precision
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.inputs import Input, Intensity, Resize
from xai_bench.protocols import Explainer, Metric
from xai_bench.references import Consensus
from xai_bench.samples import Dataset
from xai_bench.spec import build, digest, make, spec_of


@dataclass(frozen=True)
class Target:
    """Which logit is explained: that of a class of `head` (default: the first head).

    `of` is `predicted`, `label` (the film's own), or the name of a class.
    """

    of: str = "predicted"
    head: str | None = None


MOST = 1_000
"""Twins of a classifier, and runs of an explainer: nobody means more."""

ALIGNMENT = Target("label")
FAITHFULNESS = Target("predicted")


class Twin(NamedTuple):
    """One training of a classifier: its number, its seed, and which fold it leaves out or which resample it sees."""

    number: int
    seed: int
    part: int | None


@dataclass(frozen=True)
class Trained:
    """A classifier that the study trains, once for each seed; on the study's dataset unless `dataset` names another.

    `folds` k: k twins a seed, each without one of k parts of the training patients; `resamples` n: n twins a seed, each
    on as many training patients drawn with replacement. Both keep the split's other films out of training, so that all
    twins are compared on the same unseen ones. `shuffled_labels`: the films' labels are exchanged at random before
    training, a control that has nothing to learn. `only`: the numbers of the twins to make; default all.
    """

    name: str
    architecture: Any
    training: Training = field(default_factory=Training)
    seeds: tuple[int, ...] = (0,)
    dataset: Dataset | None = None
    folds: int | None = None
    resamples: int | None = None
    shuffled_labels: bool = False
    only: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.folds is not None and self.resamples is not None:
            raise BadInput(f"classifier {self.name!r} has folds and resamples; its twins differ by one of them.")
        if self.folds is not None and self.folds < 2:
            raise BadInput(f"classifier {self.name!r} has folds = {self.folds}; expected 2 or more.")
        if self.resamples is not None and self.resamples < 1:
            raise BadInput(f"classifier {self.name!r} has resamples = {self.resamples}; expected 1 or more.")
        if self._count > MOST:
            raise BadInput(f"classifier {self.name!r} has {self._count} twins; expected at most {MOST:,}.")
        if wrong := [n for n in self.only or () if n not in range(self._count)]:
            raise BadInput(f"classifier {self.name!r} has no twin {wrong[0]}; its {self._count} twins count from 0.")

    @property
    def _count(self) -> int:
        return len(self.seeds) * (self.folds or self.resamples or 1)

    @property
    def twins(self) -> tuple[Twin, ...]:
        """What is trained: every seed on every part of the training films."""
        parts = range(self.folds or self.resamples or 1)
        every = [(seed, part if self.folds or self.resamples else None) for seed in self.seeds for part in parts]
        return tuple(Twin(n, *what) for n, what in enumerate(every) if self.only is None or n in self.only)


@dataclass(frozen=True)
class Checkpoint:
    """A classifier from a checkpoint folder (safetensors and a JSON card)."""

    name: str
    checkpoint: str


@dataclass(frozen=True)
class Given:
    """A classifier that is already in memory: your own model."""

    name: str
    classifier: Classifier = field(repr=False)


@dataclass(frozen=True)
class Chosen:
    """An explainer or metric of a study, its display name, and on how many pictures it runs (None: on all).

    `repeat_of`: it is that explainer run once more, with the next seed. Its maps are made and not scored: they show how
    much of a map is the explainer's own chance.
    """

    plugin: Any
    label: str
    pictures: int | None = None
    repeat_of: str = ""


Accepts = Any
"""A plugin or classifier as a study takes it: a name, a table of plain values, or an instance; the instance is kept."""


@dataclass(frozen=True)
class Study:
    """Everything that defines a run; names, tables or instances of plugins are accepted wherever a plugin stands.

    Once made, `dataset` is a Dataset, `classifiers` are Trained, Checkpoint or Given, `explainers` and `metrics` are
    Chosen, and `summaries` are instances. `pictures` of an explainer or metric is the head of one fixed order: films
    with a finding first, stratified by label, a new patient each time; so the subsets of all methods are nested.
    `limit` cuts every method to that many films. `repeats` of an explainer: so many runs in all, each with the next
    seed, called `lime`, `lime#2` ...; only the first is scored.

    `batch_size`: every model call has this shape; None: measured once for each classifier and kept in the store.
    `precision`: of the model calls of perturbation methods and faithfulness metrics; `auto` takes a faster one than
    float32 where a sample of films keeps its predictions and maps. `compile`: those calls by torch.compile.
    """

    name: str
    dataset: Accepts
    classifiers: Sequence[Accepts]
    explainers: Sequence[Accepts] = ()
    metrics: Sequence[Accepts] = ()
    summaries: Sequence[Accepts] = ()
    regions: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    reader: Input = field(default_factory=Input)
    split: str = "test"
    target: Target | None = None
    batch_size: int | None = None
    precision: Precision | Literal["auto"] = "float32"
    compile: bool = False
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        dataset = build("dataset", self.dataset, where="dataset")
        made = {
            "dataset": dataset,
            "classifiers": _named([_classifier(c, i) for i, c in enumerate(self.classifiers)]),
            "explainers": _chosen("explainer", self.explainers),
            "metrics": _chosen("metric", self.metrics),
            "summaries": tuple(build("summary", s, where="summaries") for s in self.summaries),
            "regions": tuple(self.regions) or tuple(dataset.regions),
            "references": tuple(self.references or getattr(dataset, "references", ())),  # JSON has lists
        }
        for name, value in made.items():  # a frozen dataclass normalizes its fields once
            object.__setattr__(self, name, value)
        for name in ("batch_size", "limit"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise BadInput(f"{name} is {number}; expected 1 or more.")
        for reference in self.references:
            Consensus.of(reference)  # an unknown method is said at once
        if self.precision not in (known := (*DTYPES, "auto")):
            raise BadInput(f"precision is {self.precision!r}; expected one of {', '.join(known)}.")

    @classmethod
    def read(cls, path: str | Path) -> Study:
        """A study from a TOML file. Raises BadInput for a missing or ill-formed file and for every unknown key."""
        file = Path(path)
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"study file {str(path)!r} does not exist; name a .toml file.") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise BadInput(f"study file {str(path)!r} is not readable TOML: {error}.") from None
        return cls.of(table, default_name=file.stem)

    @classmethod
    def of(cls, table: Mapping[str, Any], *, default_name: str = "study") -> Study:
        """A study from plain values, as they stand in a TOML file."""
        values = {"name": default_name, **table}
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise BadInput(
                    f"study key {key!r} is unknown; a study has {', '.join(known)}.{did_you_mean(key, known)}"
                )
        for key in ("dataset", "classifiers"):
            if key not in values:
                raise BadInput(f"study {values['name']!r} has no {key!r}; add it, for example {_EXAMPLES[key]}.")
        for key, (kind, words) in _KINDS.items():
            if values.get(key) is not None and not isinstance(values[key], kind):
                raise BadInput(f"study key {key!r} is {values[key]!r}; expected {words}.")
        for key in ("regions", "references"):
            if odd := [name for name in values.get(key) or () if not isinstance(name, str)]:
                raise BadInput(f"study key {key!r} holds {odd[0]!r}; expected strings.")
        if isinstance(values.get("reader"), Mapping):
            values["reader"] = make(Input, _fields_of(values["reader"]), where="reader")
        if isinstance(values.get("target"), Mapping):
            values["target"] = make(Target, _fields_of(values["target"]), where="target")
        return cls(**values)

    def spec(self) -> dict[str, Any]:
        """The study as JSON values, from which `Study.of` makes it again; a classifier in memory is only a hash."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @property
    def key(self) -> str:
        """A hash of the whole study, printed under every table."""
        return digest(self.spec())[:12]


_LISTS = ("classifiers", "explainers", "metrics", "summaries", "regions", "references")
_KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(_LISTS, (list | tuple, "a list")),
    **dict.fromkeys(("name", "split", "precision"), (str, "a string")),
    "compile": (bool, "true or false"),
    **dict.fromkeys(("batch_size", "limit", "seed"), (int, "a whole number")),
    "reader": (Mapping | Input, "a table such as `{resize = {height = 224, width = 224}}`"),
    "target": (Mapping | Target, 'a table such as `{of = "label"}`'),
}
_EXAMPLES = {
    "dataset": '`dataset = "phantom"`',
    "classifiers": '`classifiers = [{name = "mine", architecture = "small_cnn"}]`',
}


def _plain(value: Any) -> Any:
    if isinstance(value, Chosen):
        own = {"plugin": spec_of(value.plugin), "label": value.label, "pictures": value.pictures}
        return own | ({"repeat_of": value.repeat_of} if value.repeat_of else {})
    if isinstance(value, Given):
        return {"name": value.name, "weights": value.classifier.weights_hash()}
    if isinstance(value, Trained | Checkpoint):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if getattr(value, "in_process", False):  # a dataset of arrays at hand
        return {"name": type(value).__name__, "digests": [s.digest for part in value.splits.values() for s in part]}
    return [_plain(v) for v in value] if isinstance(value, tuple) else spec_of(value)


def _fields_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return value["fields"] if set(value) == {"name", "fields"} else value


def _classifier(value: Any, index: int) -> Trained | Checkpoint | Given:
    if isinstance(value, Trained):
        return replace(value, architecture=build("classifier", value.architecture, where=f"classifier {value.name!r}"))
    if isinstance(value, Checkpoint | Given):
        return value
    if isinstance(value, Classifier):
        return Given(value.architecture, value)
    if not isinstance(value, Mapping):
        raise BadInput(
            f"classifier {value!r}: expected a Classifier, a Trained, or a table with `name` and `architecture` or "
            "`checkpoint`."
        )
    table = dict(value)
    where = f"classifiers[{index}]"
    if "checkpoint" in table:
        made: Trained | Checkpoint = make(Checkpoint, table, where=where)
        return made
    if "architecture" not in table:
        raise BadInput(f"{where} has neither `architecture` nor `checkpoint`; name one.")
    table["architecture"] = build("classifier", table["architecture"], where=f"{where}, architecture")
    if isinstance(table.get("training"), Mapping):
        table["training"] = make(Training, _fields_of(table["training"]), where=f"{where}, training")
    if isinstance(table.get("dataset"), Mapping | str):
        table["dataset"] = build("dataset", table["dataset"], where=f"{where}, dataset")
    trained: Trained = make(Trained, table, where=where)
    return trained


def _named(classifiers: Sequence[Trained | Checkpoint | Given]) -> tuple[Trained | Checkpoint | Given, ...]:
    names = [c.name for c in classifiers]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"two classifiers are called {name!r}; give each its own name.")
    if not names:
        raise BadInput("a study needs at least one classifier.")
    return tuple(classifiers)


def _chosen(kind: str, values: Sequence[Any]) -> tuple[Chosen, ...]:
    chosen = [one for v in values for one in _choose(kind, v)]
    labels = [c.label for c in chosen]
    for label in labels:
        if labels.count(label) > 1:
            raise BadInput(f"two {kind}s are called {label!r}; tell them apart with `label`.")
    return tuple(chosen)


def _choose(kind: str, value: Any) -> list[Chosen]:
    if isinstance(value, Chosen):
        return [value]
    table = dict(value) if isinstance(value, Mapping) else {}
    label, of = table.pop("label", None), table.pop("repeat_of", "")
    numbers = {key: table.pop(key) for key in ("pictures", "repeats") if key in table}
    if isinstance(value, Mapping):
        value = table.get("plugin", table)
    for key, number in numbers.items():
        if number is not None and (not isinstance(number, int) or number < 1):
            raise BadInput(f"{kind} {value!r}: {key} = {number!r}; expected a whole number of at least 1.")
    if (numbers.get("repeats") or 1) > MOST:
        raise BadInput(f"{kind} {value!r}: repeats = {numbers['repeats']}; expected at most {MOST:,}.")
    if kind != "explainer" and "repeats" in numbers:
        raise BadInput(f"{kind} {value!r} has `repeats`; only explainers are repeated.")
    plugin = build(kind, value, where="")
    own = getattr(plugin, "label", "") or getattr(plugin, "xai_bench_name", type(plugin).__name__)
    first = Chosen(plugin, label or own, numbers.get("pictures"), of)
    return [first, *(repeated(first, n) for n in range(2, (numbers.get("repeats") or 1) + 1))]


def repeated(chosen: Chosen, number: int) -> Chosen:
    """The `number`th run of an explainer, with its own seeds where it has any."""
    return Chosen(_reseeded(chosen.plugin, number - 1), f"{chosen.label}#{number}", chosen.pictures, chosen.label)


def seeded(plugin: Any) -> bool:
    """Whether a plugin, or one in its fields, has a seed: a second run may give another map."""
    return bool(_reseeded(plugin, 1) != plugin)


def _reseeded(plugin: Any, shift: int) -> Any:
    changed: dict[str, Any] = {}
    for f in fields(plugin) if is_dataclass(plugin) else ():
        value = getattr(plugin, f.name)
        if f.name == "seed" and isinstance(value, int):
            changed[f.name] = value + shift
        elif is_dataclass(value) and not isinstance(value, type):
            changed[f.name] = _reseeded(value, shift)
    return replace(plugin, **changed) if changed else plugin


__all__ = [
    "Checkpoint",
    "Chosen",
    "Explainer",
    "Given",
    "Input",
    "Intensity",
    "Metric",
    "Resize",
    "Study",
    "Target",
    "Trained",
]
