"""The estimate counts what the run will count, and its time is that of a measured forward pass."""

from pathlib import Path

import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.planning.estimate import estimate
from xai_bench.progress import Progress
from xai_bench.running.benchmark import evaluate
from xai_bench.samples import Fixed
from xai_bench.study import Given, Study


def test_evaluations_are_those_that_the_run_counts(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    explainers = ({"name": "lime", "samples": 48, "pictures": 4, "segmentation": "grid(6)"}, "grad_cam", "random_map")
    metrics = ("iou", {"name": "deletion", "steps": 7, "pictures": 4})
    study = Study("s", side_films, (Given("g", side_classifier),), explainers, metrics, batch_size=16)
    costs = {c.what: c for c in estimate(study)}
    assert {name: c.pictures for name, c in costs.items()} == {"lime": 4, "grad_cam": 16, "deletion": 4}
    run = evaluate(study, store=tmp_path, progress=Progress(quiet=True))
    counted = run.costs[run.costs.kind == "maps"].set_index("explainer").evaluations
    once = 3 * 16  # batches that check, once, whether answers may be kept
    assert costs["lime"].evaluations == counted["lime"] - once == 4 * 48
    assert costs["grad_cam"].evaluations == counted["grad_cam"] == 16
    removed = run.costs[run.costs.metric == "deletion"].evaluations.sum()
    assert costs["deletion"].evaluations == 3 * 4 * 8
    assert costs["deletion"].evaluations <= removed <= 3 * (4 * 8 + 16)  # each method's last batch is padded


def test_time_is_positive_and_threads_are_put_back(side_films: Fixed, side_classifier: Classifier) -> None:
    before = torch.get_num_threads()
    (cost,) = estimate(Study("s", side_films, (Given("g", side_classifier),), ("grad_cam",)))
    assert 0 < cost.seconds < 60
    assert torch.get_num_threads() == before
