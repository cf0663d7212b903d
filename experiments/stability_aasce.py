"""Do explanations survive retraining? Five twins of a fine-tuned MobileNetV2 on AASCE films, four explainers.

    python experiments/stability_aasce.py --data DIR/aasce --weights DIR/mobilenet_v2_imagenet.pth

The classifier and the films are those of `aasce_alignment.py`; with the same store, what it trained is not trained
again. A twin trained on shuffled labels stands beside. Resumes where it stopped. `--page`
writes the results page (tables and plots only, no film).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from aasce_alignment import READER, REGIMES, network

from xai_bench.cli.stability import stability_study
from xai_bench.progress import Progress
from xai_bench.reporting.output import write_page
from xai_bench.reporting.terminal import show
from xai_bench.running.benchmark import evaluate
from xai_bench.spec import build
from xai_bench.study import Study, Trained

FILMS = 12  # the fixed subset on which all is explained
EXPLAINERS = (
    {"name": "grad_cam"}, {"name": "lime", "samples": 100}, {"name": "shap_partition", "evaluations": 100},
    {"name": "occlusion", "cells": 8}, {"name": "edge_map"},
)  # fmt: skip


def study(data: str, weights: str, twins: int) -> Study:
    """The study's definition."""
    training = REGIMES["fine-tuned"]
    architecture = build("classifier", network(weights))
    asked = Study(
        name="stability_aasce",
        dataset=build("dataset", {"name": "aasce", "path": data}),
        classifiers=(
            Trained("fine-tuned", architecture, training),
            Trained("shuffled labels", architecture, replace(training, patience=None), shuffled_labels=True),
        ),
        explainers=tuple({**e, "pictures": FILMS} for e in EXPLAINERS),
        metrics=(
            {"name": "random_logit", "pictures": FILMS},
            {"name": "cascading_randomization", "steps": 4, "pictures": 6},
        ),
        reader=READER,
        batch_size=16,
        precision="auto",
    )
    found = stability_study(asked, twins)
    fine, shuffled = found.classifiers
    return replace(found, classifiers=(fine, replace(shuffled, seeds=(0,))))


def main() -> None:
    """Run the study and print its tables; write the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the folder of the distributed AASCE set")
    parser.add_argument("--weights", required=True, help="a torchvision mobilenet_v2 state dict")
    parser.add_argument("--store", default="runs/aasce", help="where results are kept")
    parser.add_argument("--out", default="runs/stability_aasce", help="where the report goes")
    parser.add_argument("--twins", type=int, default=5)
    parser.add_argument("--page", help="folder for the results page, for example docs/results")
    chosen = parser.parse_args()
    start = time.monotonic()
    run = evaluate(study(chosen.data, chosen.weights, chosen.twins), store=chosen.store, progress=Progress())
    show(run.tables())
    seconds = (
        f"Time: {time.monotonic() - start:.0f} s for this call; all that it uses of the store took "
        f"{run.costs.seconds.sum():.0f} s of computing, shared by one process a core."
    )
    print(f"report: {run.write(chosen.out)}\n{seconds}")
    if chosen.page:
        title = "AASCE severity: do explanations survive retraining?"
        page = write_page(run, Path(chosen.page), "stability_aasce", title=title, notes=[INTRODUCTION, seconds])
        print(f"page: {page}")


INTRODUCTION = """\
Made by `experiments/stability_aasce.py`; whatever it printed stands here. MobileNetV2, fine-tuned on AP films of the
AASCE 2019 training set in three classes by the largest Cobb angle, trained again with other seeds on the same films,
and once on shuffled labels; split by patient. Maps explain the predicted class of one fixed patient-stratified subset
of test films; LIME runs once more with another seed, which is its noise floor."""


if __name__ == "__main__":
    main()
