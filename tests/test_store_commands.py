"""plan, status, verify, gc and export as a user meets them, on one tiny run."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from cli_cases import call

from xai_bench.cli.options import remember
from xai_bench.progress import Progress
from xai_bench.running.benchmark import evaluate
from xai_bench.store.store import Store
from xai_bench.study import Study

STUDY = """
name = "tiny"
batch_size = 4
explainers = ["grad_cam", "attention_rollout"]
metrics = ["relevance_mass"]
summaries = ["retrain_stability"]
reader = {resize = {height = 48, width = 40}}
dataset = {name = "phantom", height = 48, width = 40, films = {train = 8, validation = 4, test = 4}}

[[classifiers]]
name = "small"
architecture = {name = "small_cnn", width = 8}
training = {epochs = 1, batch_size = 4}
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "study.toml").write_text(STUDY)
    (folder / "changed.toml").write_text(STUDY.replace('"grad_cam"', '"grad_cam:features.0"'))
    study = Study.read(folder / "study.toml")
    remember(study, folder / "run")
    evaluate(study, store=folder / "run", progress=Progress(quiet=True), workers=1)
    return folder


def test_a_new_study_is_all_to_do_and_its_folder_is_not_made(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", desk / "study.toml", "--store", desk / "new") == 0
    shown = capsys.readouterr().out
    assert "waiting: 2 maps (grad_cam; attention_rollout): training" in shown
    assert "7 cells to compute: about " in shown and "(trainings apart: 1)" in shown and "on disk" in shown
    assert not (desk / "new").exists()


def test_a_finished_run_has_nothing_left_and_says_what_was_skipped(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("plan", desk / "run") == call("status", desk / "run", "--full") == 0
    plan, status = capsys.readouterr().out.split("nothing is left to compute")
    assert "skipped: 1 maps (attention_rollout): small_cnn has no attention weights" in plan
    assert "grad_cam, relevance_mass" in status and "retrain_stability" in status
    assert "waiting" not in plan + status and "missing" not in plan + status


def test_a_changed_study_is_stale_and_gc_lists_before_it_removes(
    desk: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(desk / "run", run)
    assert call("status", desk / "changed.toml", "--store", run) == 0
    shown = capsys.readouterr().out
    assert "stale: 1 maps (grad_cam): field layer: absent, now features.0" in shown
    assert "stale: 1 scores (grad_cam, relevance_mass): the maps it scores" in shown
    before = Store(run).cells("maps")
    assert call("gc", desk / "changed.toml", "--store", run) == 0
    assert "2 to remove" in capsys.readouterr().out and Store(run).cells("maps") == before
    assert call("gc", desk / "changed.toml", "--store", run, "--yes") == 0
    assert "2 removed" in capsys.readouterr().out and Store(run).cells("maps") == Store(run).cells("scores") == []
    assert call("gc", desk / "changed.toml", "--store", run) == 0
    assert capsys.readouterr().out.strip() == "nothing to remove"


def test_damage_is_exit_code_1_until_it_is_repaired(
    desk: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(desk / "run", run)
    assert call("verify", run) == 0 and "none damaged" in capsys.readouterr().out
    (file,) = (run / "cells" / "predictions").glob("*/predictions.parquet")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert call("verify", run) == 1 and file.exists()
    assert "damaged: predictions/" in (shown := capsys.readouterr().out) and "predictions.parquet is damaged" in shown
    assert call("verify", run, "--repair") == 0 and not file.exists()
    assert call("verify", run) == 0


def test_export_writes_files_and_says_what_is_missing(
    desk: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call("export", desk / "run", "--out", tmp_path / "out", "--format", "csv", "--maps") == 0
    shown = capsys.readouterr()
    assert str(tmp_path / "out" / "maps" / "small_seed_0_grad_cam.npz") in shown.out and "note" not in shown.err
    assert len(pd.read_csv(tmp_path / "out" / "rows.csv")) > 0
    assert call("export", desk / "changed.toml", "--store", desk / "run", "--out", tmp_path / "out") == 0
    assert "cells are done; run the study again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("verify DESK/none", "holds no results; name the folder of a run"),
        ("status DESK", "holds no study.json"),
        ("status DESK/none", "does not exist; name a study.toml or the folder of a run"),
        ("plan DESK/study.toml --store DESK/study.toml", "is no folder"),
        ("export DESK/run --format xlsx --out DESK/out", "format 'xlsx' is not known; choose parquet or csv"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    desk: Path, command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*command.replace("DESK", str(desk)).split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["plan", "status", "verify", "gc", "export"])
def test_every_verb_explains_itself_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(verb, "--help") == 0
    assert f"Example: xai-bench {verb}" in " ".join(capsys.readouterr().out.split())


def test_a_run_leaves_its_study_from_the_first_moment_on(desk: Path, tmp_path: Path) -> None:
    study = Study.read(desk / "study.toml")
    remember(study, tmp_path / "run")
    assert Study.of(json.loads((tmp_path / "run" / "study.json").read_text())).key == study.key


def test_the_sql_of_the_docs_reads_a_store(desk: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    page = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text()
    costs, means = (
        page.split("```sql")[1].split("```")[0].replace("runs/demo", str(desk / "run")).strip().split(";")[:2]
    )
    found = duckdb.sql(costs).fetchall()
    assert {"small, seed 0", "small, seed 0: grad_cam"} <= {label for label, _, _ in found}
    (line,) = [row for row in duckdb.sql(means).fetchall() if row[2] == "derived" and "relevance_mass" in row[1]][:1]
    assert line[0] == "small, seed 0: grad_cam, relevance_mass" and 0 <= line[3] <= 1
