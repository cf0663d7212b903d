"""What a metric learns on validation patients from the maps of one explainer: thresholds, a copy for each region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai_bench.anatomy import needs_players, players_key
from xai_bench.code_version import code_of
from xai_bench.errors import Unfit
from xai_bench.protocols import Case, Explainer
from xai_bench.references import consensus_key
from xai_bench.running.cells import BLOCK, Maps, fitted, maps
from xai_bench.running.scores import SCORING, Question, Tuned, cases, region_keys
from xai_bench.running.targets import Request, carries_finding, explained_order, label_targets
from xai_bench.running.workbench import Model, Workbench
from xai_bench.spec import digest, spec_of, state_of, with_state
from xai_bench.store.files import write_tensors
from xai_bench.study import Chosen, Study

NO_FILMS = "it must be tuned on validation films with a finding, and there are none"


def films(study: Study, model: Model, explainer: Chosen, metric: Any) -> list[Request]:
    """The validation films that a metric is tuned on: those with a finding, in the fixed order, to explain their label.

    At most the metric's field `films`, and no more than the study explains by this method. Raises Unfit where there are
    none, or where they are the films that are scored.
    """
    if study.split == "validation":
        raise Unfit("it is tuned on the validation films, and these are the films that are scored")
    samples = model.validation.samples if model.validation else {}
    heads = model.classifier.heads
    head = (study.target.head if study.target else None) or heads[0].name
    found = []
    for i in explained_order(study.dataset, list(samples.values()), study.seed):
        target = label_targets(heads, samples[i]).get(head)
        if target is not None and carries_finding(study.dataset, samples[i]):
            found.append(Request(i, target, ("label",)))
    if not found:
        raise Unfit(NO_FILMS)
    sizes = [n for n in (getattr(metric, "films", None), study.limit, explainer.pictures) if n is not None]
    return found[: min(sizes, default=len(found))]


def tuned(
    bench: Workbench, model: Model, explainer: Explainer, question: Question, wanted: Sequence[Request]
) -> tuple[Tuned, list[Maps]]:
    """The question's metric, tuned for each region on the maps of these validation films; and those maps.

    One stored cell. References of a region are pooled, so that what is learned is the same against every reader; where
    none of the study's references read the validation films, those count that did.
    """
    if model.validation is None:
        raise Unfit(NO_FILMS)
    here = replace(model, pictures=model.validation)
    label = f"{question.label}, validation films"
    blocks = [wanted[start : start + BLOCK] for start in range(0, len(wanted), BLOCK)]
    made = [maps(bench, here, explainer, block, label, wanted) for block in blocks]
    ready, state = fitted(bench, model, question.metric)
    explaining, _ = fitted(bench, model, explainer)  # its state is in the maps' keys
    names = question.regions if question.metric.needs_region else ("",)
    code = code_of(question.metric, *model.classifier.own_classes(), *SCORING, "xai_bench.running.validation")
    parts = {
        "plugin": spec_of(question.metric), "code": code, "state": state,
        "maps": [m.key for m in made], "regions": names, "references": question.references,
        **consensus_key(question.references), **players_key(question.metric),
    }  # fmt: skip

    def compute(folder: Path) -> Mapping[str, Any]:
        problems = {}
        for n, name in enumerate(names):
            try:
                learned = ready.tune(_cases(here, explaining, made, _asked(here, question, name, wanted)))
            except Unfit as error:
                problems[name] = str(error)
            else:
                write_tensors(folder, f"state_{n}", state_of(learned))
        return {"evaluations": 0, "pictures": len(wanted), "problems": problems}

    cell = bench.cell("tuned", f"{model.label}: {label}", parts, compute)
    problems = cell.receipt["problems"]
    metrics = {
        name: with_state(ready, cell.tensors(f"state_{n}")) for n, name in enumerate(names) if name not in problems
    }
    return Tuned(metrics, problems, digest(parts)), made


def _asked(model: Model, question: Question, region: str, wanted: Sequence[Request]) -> Question:
    """The question about one region: by the study's references or, if nobody of them drew it here, by anybody."""
    own = replace(question, regions=(region,))
    read = question.metric.needs_region and bool(question.references)
    pictures = model.pictures.readable([r.picture for r in wanted]) if read else []
    drawn = any(p.regions[k][0] == "drawn" for p in pictures for k in region_keys([p], own))
    return own if drawn or not read else replace(own, references=())


def _cases(model: Model, explainer: Explainer, blocks: Sequence[Maps], question: Question) -> Iterator[Case]:
    """Every case of the maps, batch after batch, without padding: each film counts once a reference."""
    for made in blocks:
        for start in range(0, len(made.requests), model.batch_size):
            part = range(len(made.requests))[start : start + model.batch_size]
            ids = [made.requests[n].picture for n in part]
            players = needs_players(explainer) or needs_players(question.metric)
            pictures = model.pictures.readable(ids, regions=question.metric.needs_region, players=players)
            keys = region_keys(pictures, question)
            yield from cases(replace(model, batch_size=len(part)), explainer, made, part, pictures, keys)
