"""`xai-bench annotate ...` as an administrator meets it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotate_desk import Desk, logged_in
from PIL import Image as Picture
from typer.testing import CliRunner
from xai_bench_annotations.cli import app
from xai_bench_annotations.server.app import create_app
from xai_bench_annotations.server.database import open_database
from xai_bench_annotations.server.tables import Image, Project

from xai_bench.errors import XaiBenchError

STUDY = """
name = "tiny"
dataset = {name = "phantom", height = 64, width = 52, films = {train = 12, validation = 4, test = 6}}

[[classifiers]]
name = "small"
architecture = {name = "small_cnn", width = 8}
"""


def call(*arguments: str | Path, code: int = 0) -> str:
    """What is printed; a user's mistake is exit code 2, as in the console script."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    wrong = isinstance(done.exception, XaiBenchError)
    if done.exception and not wrong and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert (2 if wrong else done.exit_code) == code, (done.output, done.exception)
    return f"{done.output}{done.exception if wrong else ''}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "desk"


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{n}.png" for n in range(3)]
    for file in files:
        Picture.fromarray(rng.integers(0, 255, (20, 30), dtype=np.uint8)).save(file)
    return files


def test_from_an_empty_folder_to_a_reader_at_work(folder: Path, films: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "instructions.md"
    text.write_text("Mark the column.")
    call("--folder", folder, "add-project", "spines", "--instructions", text, "--repeats", "0.34", "--order-seed", "7")
    link = call("add-reader", "anna", "--folder", folder)
    assert "3 films added" in call("add-films", "spines", *films, "--folder", folder)
    assert "4 readings added" in call("assign", "spines", "anna", "--folder", folder)
    invite = link.split("/?invite=")[1].strip()
    anna = logged_in(create_app(folder), invite)
    (project,) = anna.get("/api/v1/projects").json()
    assert (project["name"], project["films"], project["instructions"]) == ("spines", 3, "Mark the column.")
    again = call("invite", "anna", "--folder", folder).split("/?invite=")[1].strip()
    token = call("token", "anna", "--folder", folder).strip()
    assert anna.post("/api/v1/session", json={"token": token}).status_code == 200
    call("remove-reader", "anna", "--folder", folder)
    assert anna.get("/api/v1/me").status_code == 401
    assert anna.post("/api/v1/session", json={"invite": again}).status_code == 401
    call("add-reader", "boss", "--admin", "--folder", folder)
    with open_database(folder).reading() as session:
        assert session.query(Project).one().order_seed == 7


def test_films_that_cannot_be_used_are_named_and_the_others_added(
    folder: Path, films: list[Path], tmp_path: Path
) -> None:
    call("add-project", "spines", "--folder", folder)
    (tmp_path / "drawing.svg").write_text("<svg/>")
    wrong = [tmp_path / "drawing.svg", tmp_path / "nowhere.png"]
    said = call("add-films", "spines", *films[:2], *wrong, films[0], "--folder", folder, code=2)
    assert "2 films added" in said and "2 films were refused" in said and "not added twice" in said
    assert all(str(file) in said for file in wrong)
    with open_database(folder).reading() as session:
        assert session.query(Image).count() == 2


def test_the_films_of_a_study_s_dataset(folder: Path, tmp_path: Path) -> None:
    from xai_bench_annotations.films.store import film_digest

    from xai_bench.study import Study

    (tmp_path / "study.toml").write_text(STUDY)
    call("add-project", "spines", "--folder", folder)
    call(
        "add-films", "spines", "--study", tmp_path / "study.toml", "--split", "test", "--limit", "2", "--folder", folder
    )
    samples = Study.read(tmp_path / "study.toml").dataset.samples("test")[:2]
    with open_database(folder).reading() as session:
        assert {i.sha256 for i in session.query(Image)} == {film_digest(s.read_image()) for s in samples}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add-films", "spines"], "either files or a --study"),
        (["add-films", "spine", "x.png"], "Did you mean 'spines'"),
        (["assign", "spines", "zoe"], "no active reader 'zoe'"),
        (["invite", "zoe"], "no reader 'zoe'"),
        (["add-reader", "a b"], "cannot be used"),
        (["add-project", "spines"], "already"),
        (["add-project", "knees", "--repeats", "2"], "less than or equal to 1"),
        (["add-project", "knees", "--labels", "FOLDER/picture"], "cannot be read as text"),
        (["add-project", "knees", "--labels", "FOLDER/secret"], "labels"),
        (["--host", "0.0.0.0"], "unencrypted"),
    ],
)
def test_mistakes_are_one_sentence(folder: Path, arguments: list[str], said: str) -> None:
    call("add-project", "spines", "--folder", folder)
    create_app(folder)
    (folder / "picture").write_bytes(b"\xff\xd8")
    arguments = [a.replace("FOLDER", str(folder)) for a in arguments]
    assert said in call("--folder", folder, *arguments, code=2)


@pytest.mark.parametrize(
    "command", [["backup", "x.sqlite"], ["verify-audit"], ["invite", "anna"], ["assign", "a", "b"]]
)
def test_no_command_makes_a_folder_that_is_not_there(folder: Path, command: list[str]) -> None:
    assert "holds no" in call(*command, "--folder", folder, code=2)
    assert not folder.exists()


def test_backup_and_verify_audit(tmp_path: Path) -> None:
    desk = Desk.make(tmp_path / "desk")
    copy = tmp_path / "copy.sqlite"
    assert "films" in call("backup", copy, "--folder", tmp_path / "desk")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM assignment").fetchone() == (8,)
    said = call("verify-audit", "--folder", tmp_path / "desk")
    head = said.split()[-1]
    assert "intact" in said and "NOT" not in said and len(head) == 64
    desk.finish(desk.anna)
    assert "NOT" not in call("verify-audit", "--head", head, "--folder", tmp_path / "desk")
    with desk.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER event_refuses_update")
        connection.exec_driver_sql("UPDATE event SET subject = 'x' WHERE seq = 3")
    said = call("verify-audit", "--folder", tmp_path / "desk", code=1)
    assert "NOT intact" in said and "event 3" in said


def test_labels_from_a_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text('{"labels": [{"code": "gap", "name": "Gap", "color": "#ff0000"}]}')
    call("add-project", "knees", "--labels", file, "--folder", folder)
    with open_database(folder).reading() as session:
        assert session.query(Project).one().labels["labels"][0]["code"] == "gap"


def test_serving_passes_everything_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("xai_bench_annotations.server.serve.serve", lambda *given: seen.append(given))
    call("--folder", folder, "--port", "9000", "--name", "a.example", "--name", "b.example", "--behind-proxy")
    where, address, _, before = seen[0]
    assert where == folder and (address.port, address.names, address.behind_proxy) == (
        9000,
        ("a.example", "b.example"),
        True,
    )
    assert before(None) == ()
    call("--demo")
    assert seen[1][0] == Path("annotations-data") and seen[1][3].__name__ == "make_demo"
