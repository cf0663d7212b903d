"""A study against the regions that readers drew in an annotation project, with the human ceiling."""

from __future__ import annotations

from dataclasses import replace

from xai_bench.references import CEILING, EACH, Consensus
from xai_bench.spec import build
from xai_bench.study import Study


def drawn_study(study: Study, project: str) -> Study:
    """The study on the same films, its regions and references those of `project` (`FOLDER` or `FOLDER#PROJECT`).

    Of the regions that the study names those stay that readers drew, else all that they drew; of its references every
    consensus and every reader, else the readers' majority and each reader. Where two readers or more drew, the summary
    `human_ceiling` is added, and the references without each reader that it needs. Raises BadInput for a project that
    cannot be used.
    """
    plain = study.dataset.films if getattr(study.dataset, "xai_bench_name", "") == "drawn" else study.dataset
    drawn = build("dataset", {"name": "drawn", "films": plain, "project": project}, where="--regions")
    references = tuple(r for r in study.references if Consensus.of(r) or r in drawn.readers) or drawn.references
    chosen = study.regions != tuple(plain.regions)  # a study that names none has all of its dataset
    regions = tuple(r for r in study.regions if chosen and r in drawn.regions) or drawn.regions
    summaries = study.summaries
    if len(drawn.readers) > 1:
        method = next((c.method for r in references if (c := Consensus.of(r))), "majority")
        references = tuple(dict.fromkeys((*references, Consensus(method, EACH).reference)))
        if not any(getattr(s, "xai_bench_name", "") == CEILING for s in summaries):
            summaries = (*summaries, build("summary", {"name": CEILING, "method": method}))
    return replace(study, dataset=drawn, regions=regions, references=references, summaries=summaries)
