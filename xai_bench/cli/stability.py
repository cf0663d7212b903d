"""What a study needs so that it can say how stable its explanations are: twins, repeats, randomization, summaries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xai_bench.errors import BadInput
from xai_bench.protocols import Traits
from xai_bench.spec import build
from xai_bench.study import Chosen, Study, Trained, repeated, seeded

METRICS = ("cascading_randomization",)
UTILITY = "pixel_ranking"  # where the dataset has regions
SUMMARIES = ("retrain_stability", "variance_components", "mege_reco", "model_recognition", "randomization_check")
SANITY_FILMS = 16
"""A randomized network explains each film once for each group of its layers, so on few films."""


def stability_study(study: Study, twins: int = 5) -> Study:
    """The study with `twins` twins of every classifier that it trains, explainers with a seed run twice, and scored.

    What the study has already stays as it is. Raises BadInput where no classifier can be trained again.
    """
    if twins < 2:
        raise BadInput(f"twins is {twins}; expected 2 or more, because stability compares twins.")
    if not any(isinstance(c, Trained) for c in study.classifiers):
        raise BadInput(
            f"study {study.name!r} trains no classifier, so nothing can be retrained; give one an `architecture` "
            "instead of a `checkpoint`."
        )
    wanted = [(name, SANITY_FILMS) for name in METRICS] + ([(UTILITY, None)] if study.regions else [])
    return replace(
        study,
        classifiers=tuple(_with_twins(c, twins) for c in study.classifiers),
        explainers=_with_repeats(study.explainers),
        metrics=(*study.metrics, *(_metric(n, films) for n, films in wanted if not _has(study.metrics, n))),
        summaries=(*study.summaries, *(n for n in SUMMARIES if n not in map(_name, study.summaries))),
    )


def _with_twins(entry: Any, twins: int) -> Any:
    if not isinstance(entry, Trained) or len(entry.twins) >= twins or entry.folds or entry.resamples:
        return entry
    seeds = list(entry.seeds)
    seeds += [s for s in range(twins + len(seeds)) if s not in seeds][: twins - len(seeds)]
    return replace(entry, seeds=tuple(seeds))


def _with_repeats(explainers: Any) -> tuple[Chosen, ...]:
    """Each explainer that draws at random is followed by its own second run."""
    repeats = {c.repeat_of for c in explainers}
    found: list[Chosen] = []
    for chosen in explainers:
        found.append(chosen)
        random = seeded(chosen.plugin) and Traits.of(chosen.plugin).family != "control"
        if random and not chosen.repeat_of and chosen.label not in repeats:
            found.append(repeated(chosen, 2))
    return tuple(found)


def _metric(name: str, films: int | None) -> Chosen:
    return Chosen(build("metric", name, where="metrics"), name, films)


def _has(metrics: Any, name: str) -> bool:
    return any(_name(c.plugin) == name for c in metrics)


def _name(plugin: Any) -> str:
    return str(getattr(plugin, "xai_bench_name", ""))
