"""What a study will cost, before it runs: model evaluations and time."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from xai_bench.engine import Engine
from xai_bench.listing import family_of
from xai_bench.protocols import Traits
from xai_bench.running.tuning import forward_seconds, stand_in
from xai_bench.study import Checkpoint, Chosen, Given, Study, Trained


@dataclass(frozen=True)
class Cost:
    """Expected cost of one explainer, or of one metric on all explainers: for all classifiers and twins together."""

    what: str
    pictures: int
    evaluations: int
    seconds: float


def estimate(study: Study) -> list[Cost]:
    """The cost of each explainer and metric that calls the model, training apart; what the store holds costs nothing.

    A film that a classifier gets wrong is explained twice (label and prediction), which is not counted here. The time
    is that of the measured forward pass, shared by one process a core.
    """
    speeds = [(_forward_seconds(c, study), len(c.twins) if isinstance(c, Trained) else 1) for c in study.classifiers]
    models, seconds, shared = sum(n for _, n in speeds), sum(s * n for s, n in speeds), processes(study)
    costs = [Cost(w, pictures, n * models, n * seconds / shared) for w, pictures, n in evaluations(study)]
    return [c for c in costs if c.evaluations]


def evaluations(study: Study) -> list[tuple[str, int, int]]:
    """Each explainer and metric with its pictures and model evaluations for one classifier."""
    count, found = len(study.dataset.samples(study.split)), []
    for chosen in (*study.explainers, *study.metrics):
        pictures = min(n for n in (count, study.limit, chosen.pictures) if n is not None)
        if chosen in study.explainers:
            pictures += _validation_films(study, chosen)
        found.append((chosen.label, pictures, pictures * _evaluations(study, chosen)))
    return found


def processes(study: Study) -> int:
    """How many processes share a study on this machine: one a core, at most one a classifier and twin."""
    models = sum(len(c.twins) if isinstance(c, Trained) else 1 for c in study.classifiers)
    return 1 if torch.cuda.is_available() else max(1, min(os.cpu_count() or 1, models))


def _validation_films(study: Study, explainer: Chosen) -> int:
    """On how many validation films metrics that are tuned need this explainer's maps."""
    tuned = [int(getattr(m.plugin, "films", 0)) for m in study.metrics if hasattr(m.plugin, "tune")]
    if not tuned or explainer.repeat_of:
        return 0
    limits = (max(tuned), len(study.dataset.samples("validation")), study.limit, explainer.pictures)
    return min(n for n in limits if n is not None)


def _evaluations(study: Study, chosen: Chosen) -> int:
    """Model evaluations a picture; a metric looks at the maps of every explainer, and may explain again."""
    if chosen in study.explainers:
        return _own_evaluations(chosen)
    scored, each = [c for c in study.explainers if not c.repeat_of], int(getattr(chosen.plugin, "evaluations", 0))
    again = family_of(chosen.plugin) == "stability"
    return sum(each * (_own_evaluations(c) if again else 1) for c in scored)


def _own_evaluations(explainer: Chosen) -> int:
    unasked = 0 if Traits.of(explainer.plugin).family == "control" else 1
    return int(getattr(explainer.plugin, "evaluations", unasked))


def _forward_seconds(entry: Trained | Checkpoint | Given, study: Study) -> float:
    """Seconds a picture of the forward pass on one thread, with random weights where the study has to train."""
    classifier = stand_in(entry, study)
    resize, threads = classifier.reader.resize, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return forward_seconds(classifier, Engine(batch_size=study.batch_size or 16), (1, resize.height, resize.width))
    finally:
        torch.set_num_threads(threads)
