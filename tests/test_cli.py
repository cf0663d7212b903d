"""The command line as a user meets it: every verb, every mistake one sentence with exit code 2, Ctrl-C 130."""

import json
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from cli_cases import call
from PIL import Image

from xai_bench.cli import main as cli
from xai_bench.cli import running as cli_running
from xai_bench.cli.demo import Demo
from xai_bench.errors import PluginWarning
from xai_bench.registry import REGISTRIES

STUDY = """
name = "tiny"
batch_size = 8
explainers = ["grad_cam", "random_map"]
metrics = ["relevance_mass"]
reader = {resize = {height = 64, width = 52}}
dataset = {name = "phantom", height = 64, width = 52, films = {train = 12, validation = 4, test = 6}}

[[classifiers]]
name = "small"
architecture = {name = "small_cnn", width = 8}
training = {epochs = 1, batch_size = 6}
"""
VERBS = ("demo", "list", "train", "explain", "run", "stability", "report", "doctor")


@dataclass(frozen=True)
class Desk:
    """A folder with a study, its run, a checkpoint and films."""

    folder: Path
    checkpoint: Path

    def text(self, argument: str) -> str:
        return argument.replace("DESK", str(self.folder)).replace("CHECKPOINT", str(self.checkpoint))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "study.toml").write_text(STUDY)
    assert call("run", folder / "study.toml", "--store", folder / "run") == 0
    (checkpoint,) = (folder / "run" / "cells" / "train").iterdir()
    film = np.random.default_rng(0).integers(0, 255, (70, 60), dtype=np.uint8)
    Image.fromarray(film).save(folder / "film.png")
    (folder / "cut.png").write_bytes((folder / "film.png").read_bytes()[:900])
    (folder / "empty.png").touch()
    (folder / "weights.pt").write_bytes(b"\x80\x04.")
    wrong = {
        "key": 'colour = "red"\n' + STUDY,
        "plugin": STUDY.replace('"grad_cam"', '"grad_cm"'),
        "layer": STUDY.replace('"grad_cam"', '"grad_cam:features.99"'),
        "field": STUDY.replace("width = 8", "wide = 8"),
        "type": STUDY.replace("batch_size = 8", 'batch_size = "8"'),
        "list": STUDY.replace('["grad_cam", "random_map"]', '"grad_cam"'),
        "toml": STUDY + "[",
        "split": 'split = "exam"\n' + STUDY,
    }
    for name, text in wrong.items():
        (folder / f"{name}.toml").write_text(text)
    for name, text in {"broken": "{", "strange": "[1]"}.items():
        (folder / name).mkdir()
        (folder / name / "study.json").write_text(text)
    return Desk(folder, checkpoint)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run DESK/none.toml", "does not exist; name a .toml file"),
        ("run DESK/key.toml", "study key 'colour' is unknown"),
        ("run DESK/plugin.toml", "explainer 'grad_cm' is not known. Did you mean 'grad_cam'?"),
        ("run DESK/layer.toml --store DESK/layer", "layer 'features.99' does not exist"),
        ("run DESK/field.toml", "unknown field 'wide'"),
        ("run DESK/type.toml", "study key 'batch_size' is '8'; expected a whole number"),
        ("run DESK/list.toml", "study key 'explainers' is 'grad_cam'; expected a list"),
        ("run DESK/toml.toml", "is not readable TOML"),
        ("run DESK/split.toml", "split 'exam' does not exist"),
        ("run DESK/study.toml --limit 0", "limit is 0; expected 1 or more"),
        ("run DESK/study.toml --store DESK/film.png", "cannot be written"),
        ("train DESK/study.toml --store DESK/film.png/run", "cannot be written"),
        ("run DESK/study.toml --backend cloud", "backend 'cloud' is not known; choose serial, local, dask"),
        ("run DESK/study.toml --workers 0", "workers is 0; expected 1 or more"),
        ("run DESK/study.toml --threads 0 --store DESK/none", "threads is 0; expected 1 or more"),
        ("train DESK/study.toml --time-limit soon", "'soon' is no length of time; write 90s, 55m or 1h30m"),
        ("stability DESK/study.toml --progress loud", "progress is 'loud'; choose live, plain, json"),
        ("report DESK", "holds no study.json"),
        ("report DESK/broken", "is not readable JSON"),
        ("report DESK/strange", "holds no study"),
        ("list maps", "'maps' is not a kind of plugin; choose explainers, metrics, summaries"),
        ("explain DESK/none.png --checkpoint CHECKPOINT", "does not exist or is no file"),
        ("explain DESK/empty.png --checkpoint CHECKPOINT", "empty.png is an empty file"),
        ("explain DESK/cut.png --checkpoint CHECKPOINT", "cut.png is damaged"),
        ("explain DESK/study.toml --checkpoint CHECKPOINT", "is not a readable PNG or JPEG picture"),
        ("explain DESK/film.png --checkpoint DESK/none", "has no card.json"),
        ("explain DESK/film.png --checkpoint DESK/weights.pt", "is a pickle, which can run code"),
        ("explain DESK/film.png --checkpoint CHECKPOINT --target cat", "target 'cat' is not a class"),
        ("explain DESK/film.png --checkpoint CHECKPOINT --explainer grad_cam:head.9", "layer 'head.9' does not exist"),
        ("explain DESK/film.png --checkpoint CHECKPOINT --explainer lime,", "explainer '' is not known"),
        ("explain DESK/film.png --checkpoint CHECKPOINT --explainer mean_region", "must be fitted on training films"),
        ("explain DESK/film.png --checkpoint CHECKPOINT --explainer attention_rollout", "no attention weights"),
        ("explain DESK/film.png --checkpoint CHECKPOINT --out DESK/map.jpg", "name a file ending in .png"),
        ("explain DESK/film.png --checkpoint CHECKPOINT --out DESK/film.png/map.png", "cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    desk: Desk, command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*map(desk.text, command.split())) == 2
    errors = capsys.readouterr().err
    sentences = [line for line in errors.splitlines() if line.startswith("xai-bench: ")]
    assert len(sentences) == 1 and errors.rstrip().endswith(sentences[0])
    assert said in sentences[0] and sentences[0].endswith((".", "?", "all."))
    assert "Traceback" not in errors


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(verb, "--help") == 0
    assert f"Example: xai-bench {verb}" in " ".join(capsys.readouterr().out.split())


def test_run_says_what_it_will_cost_and_leaves_tables_and_a_report(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", desk.folder / "study.toml", "--store", desk.folder / "run") == 0
    shown = capsys.readouterr()
    assert "grad_cam: 6 pictures, about 6 model evaluations" in shown.err
    assert "training:" not in shown.err  # the store holds everything
    for words in ("Classifiers", "Explanation scores", "chance", "What was left out", "report: "):
        assert words in shown.out
    assert (desk.folder / "run" / "report.html").stat().st_size > 10_000
    assert (desk.folder / "run" / "tables" / "classifiers.tex").is_file()


def test_run_on_a_few_films_only(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", desk.folder / "study.toml", "--store", desk.folder / "few", "--limit", "2", "--full") == 0
    shown = capsys.readouterr()
    assert "grad_cam: 2 pictures" in shown.err and "Cost" in shown.out
    assert json.loads((desk.folder / "few" / "study.json").read_text())["limit"] == 2


def test_report_writes_again_what_the_store_holds(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    report = desk.folder / "run" / "report.html"
    report.unlink()
    assert call("report", desk.folder / "run") == 0
    assert report.is_file() and "training:" not in capsys.readouterr().err


def test_report_of_the_demo_keeps_its_story(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = desk.folder / "demo"
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(Demo().study().spec()))
    asked = []
    monkeypatch.setattr(cli, "demo", lambda *given: asked.append(given))
    assert call("report", folder) == 0
    assert asked == [(folder, False)]


def test_what_train_prints_is_what_explain_takes(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call("train", desk.folder / "study.toml", "--store", desk.folder / "run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("accuracy" in line for line in lines)
    (checkpoint,) = [line.removeprefix("checkpoint: ") for line in lines if line.startswith("checkpoint: ")]
    out = tmp_path / "new" / "map.png"
    more = ("--explainer", "grad_cam, edge_map", "--target", "scoliosis", "--out", out)
    assert call("explain", desk.folder / "film.png", "--checkpoint", checkpoint, *more) == 0
    said = capsys.readouterr().out
    assert "prediction: normal 0." in said and "grad_cam: " in said and "edge_map: " in said
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    assert [p.name for p in out.parent.iterdir()] == ["map.png"]


def test_list_shows_every_plugin_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    shown = capsys.readouterr().out
    for registry in REGISTRIES.values():
        assert registry.plural in shown
        for name in registry:
            assert name in shown
    assert call("list", "imputers") == call("list", "imputer") == 0
    shown = capsys.readouterr().out
    assert "sigma=10.0" in shown and "grad_cam" not in shown
    assert call("list", "summaries") == 0


def test_doctor_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor") == 0
    assert "explainers: " in capsys.readouterr().out


def test_demo_prints_its_story_and_where_everything_lies(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Done:
        story = ("An honest classifier and a cheat.",)
        failures = ()

        def write(self, store: Path) -> Path:
            return store / "report.html"

    monkeypatch.setattr("xai_bench.cli.demo.run_demo", lambda store, progress: Done())
    assert call("demo", "--store", tmp_path) == 0
    said = capsys.readouterr().out
    assert "An honest classifier and a cheat." in said and f"report: {tmp_path / 'report.html'}" in said


def test_ctrl_c_says_how_to_go_on(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xai_bench.planning.estimate.estimate", stopped)
    assert call("run", desk.folder / "study.toml") == 130
    assert capsys.readouterr().err.strip().endswith("stopped; the same command goes on where this one was.")


def test_a_time_limit_says_how_to_go_on_and_what_was_finished_stays(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("run", desk.folder / "study.toml", "--store", desk.folder / "limited", "--workers", "1")
    with monkeypatch.context() as patch:
        patch.setattr(cli_running, "seconds_of", lambda _: 0.001)
        assert call(*asked, "--time-limit", "1s") == 75
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == "xai-bench: stopped after its time limit of 0.001 s; the same command goes on where this one was."
    assert call(*asked) == 0


def test_what_failed_is_tried_again_on_request_only(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xai_bench_explainers.random_map import RandomMap

    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    asked = (
        "run",
        desk.folder / "study.toml",
        "--store",
        desk.folder / "failed",
        "--workers",
        "1",
        "--progress",
        "json",
    )
    with monkeypatch.context() as patch:
        patch.setattr(RandomMap, "__call__", broken)
        assert call(*asked) == 1
    last = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")][-1]
    assert (last["event"], last["failed"]) == ("progress", 2) and "division by zero" in last["last_failure"]
    for more, failed in (((), 2), (("--retry-failed",), 0)):
        assert call(*asked, *more) == (1 if failed else 0)
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
        assert lines[-1]["failed"] == failed
    assert any("failed before and are tried again: 1" in line.get("text", "") for line in lines)


def test_a_summary_that_fails_leaves_a_whole_report_and_exit_code_1(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xai_bench_metrics.retrain_stability import RetrainStability

    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    (desk.folder / "summary.toml").write_text('summaries = ["retrain_stability"]\n' + STUDY)
    asked = ("run", desk.folder / "summary.toml", "--store", desk.folder / "summary", "--workers", "1")
    with monkeypatch.context() as patch:
        patch.setattr(RetrainStability, "__call__", broken)
        assert call(*asked) == 1
    *_, reason, said = capsys.readouterr().err.strip().splitlines()
    assert reason == "failed: summary retrain_stability: ZeroDivisionError: division by zero"
    assert said == "xai-bench: 1 failed; the rest is done, `xai-bench run --retry-failed` tries them again."
    assert (desk.folder / "summary" / "report.html").is_file()
    assert call("status", desk.folder / "summary") == 0
    assert "failed: 1 summaries (retrain_stability): ZeroDivisionError" in capsys.readouterr().out
    assert call(*asked, "--retry-failed") == 0


def test_a_broken_command_is_named_and_the_others_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [
        EntryPoint("boom", "no_such_module:app", "g"),
        EntryPoint("tables", "xai_bench.cli.main:list_plugins", "g"),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: points if group == "xai_bench.commands" else [])
    monkeypatch.setattr(cli.app, "registered_commands", list(cli.app.registered_commands))
    with pytest.warns(PluginWarning, match=r"boom \(no_such_module:app\) did not load: ModuleNotFoundError"):
        assert call("tables", "imputers") == 0
    assert "training_mean" in capsys.readouterr().out
