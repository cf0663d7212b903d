"""Adapters, wrappers and plain functions through a whole study: named, scored, and their failures in rows."""

from pathlib import Path

import numpy as np
import pytest

from xai_bench.classifiers.classifier import Classifier
from xai_bench.progress import Progress
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import Run
from xai_bench.samples import Fixed
from xai_bench.study import Given, Study

WRONG = {"name": "captum", "method": "IntegratedGradients", "arguments": {"method": "no such rule"}}
EXPLAINERS = (
    "captum:InputXGradient", WRONG, "gradcam:LayerCAM", {"name": "blurred", "explainer": "captum:Saliency"},
    "randomized_twin", "other_patient_map",
)  # fmt: skip
METRICS = ("quantus:PointingGame", "quantus:Sparseness", {"name": "captum_infidelity", "samples": 4})


def darkness(model, images, targets):
    """How dark each pixel is."""
    return 1 - images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of every test film but one."""
    made = tmp_path_factory.mktemp("made elsewhere")
    for n in range(32, 47):
        np.save(made / f"film-{n:03d}.npy", np.random.default_rng(n).random((32, 32)))
    return made


def test_rows_carry_the_adapters_own_names(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, folder: Path
) -> None:
    study = Study(
        "adapters", side_films, [Given("sides", side_classifier)], [*EXPLAINERS, darkness, f"precomputed:{folder}"],
        METRICS, limit=6, batch_size=4,
    )  # fmt: skip
    run: Run = evaluate(study, store=tmp_path, progress=Progress(quiet=True))
    status = {name: set(part.status) for name, part in run.rows.groupby("explainer")}
    assert status.pop("captum:IntegratedGradients") == {"skipped"}
    assert status == {
        "captum:InputXGradient": {"ok"}, "gradcam:LayerCAM": {"ok"}, "blurred(captum:Saliency)": {"ok"},
        "randomized_twin(grad_cam)": {"ok"}, "other_patient_map(grad_cam)": {"ok"}, "darkness": {"ok"},
        "precomputed:made elsewhere0": {"ok", "invalid"},
    }  # fmt: skip
    assert set(run.rows.metric) == {"quantus:PointingGame", "quantus:Sparseness", "captum_infidelity"}
    reasons = run.rows[run.rows.explainer == "captum:IntegratedGradients"].reason.unique()
    assert len(reasons) == 1 and reasons[0].startswith("captum:IntegratedGradients does not work with SideModel")
    families = dict(run.rows.groupby("explainer").family.first())
    assert families["blurred(captum:Saliency)"] == families["other_patient_map(grad_cam)"] == "control"
    assert set(run.rows[run.rows.status == "invalid"].picture) == {"film-047"}, "the one without a map"
