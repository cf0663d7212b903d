"""The demo: films that a study finds again, readers with links; and the two commands on what they draw."""

from pathlib import Path

import numpy as np
import pytest
from annotated_cases import finish
from PIL import Image
from test_cli import call
from xai_bench_annotations import demo, demo_films
from xai_bench_annotations.films.pixels import film_digest, film_of
from xai_bench_annotations.results.commands import agreement_command, consensus_command
from xai_bench_annotations.server.auth import credential_of
from xai_bench_annotations.server.database import Database, open_database
from xai_bench_annotations.server.tables import Assignment, Consensus, Project
from xai_bench_annotations.server.tables import Image as FilmRow

from xai_bench.errors import BadInput
from xai_bench.spec import build

SMALL = {**demo_films.DATASET, "height": 64, "width": 52}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The demo with small films, made in this process."""
    samples = build("dataset", SMALL).samples("test")
    monkeypatch.setattr(demo, "draw_films", lambda: [film_of(s.read_image(), s.spacing_mm) for s in samples])
    return open_database(tmp_path / "data", create=True)


def test_the_films_are_drawn_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_films, "DATASET", SMALL)
    demo_films.draw(tmp_path / "films.npz")
    with np.load(tmp_path / "films.npz") as found:
        films = [found[f"film_{n}"] for n in range(demo_films.FILMS)]
        assert found["spacing"].shape == (demo_films.FILMS, 2)
    samples = build("dataset", {**SMALL, "films": {"test": 60}}).samples("test")  # a study's, with more films
    assert [film_digest(f) for f in films] == [film_digest(s.read_image()) for s in samples[: demo_films.FILMS]]


def test_two_readers_with_links_that_work_once(small: Database) -> None:
    lines = demo.make_demo(small)
    links = [line.split("invite=")[1] for line in lines if "invite=" in line]
    assert len(links) == 2 and all("{url}" in line for line in lines if "invite=" in line)
    with small.reading() as session:
        assert session.query(FilmRow).count() == 20
        assert [credential_of(session, "invite", link)[1].name for link in links] == ["anna", "ben"]  # type: ignore[index]
        assert session.query(Assignment).filter(Assignment.read == 1).count() == 40
        assert session.query(Assignment).filter(Assignment.read == 2).count() == 4
        assert all(film.spacing_row for film in session.query(FilmRow))


def test_a_second_start_makes_new_links_and_nothing_else(small: Database) -> None:
    first, second = demo.make_demo(small), demo.make_demo(small)
    assert first[0] == second[0] and set(first[1:]).isdisjoint(second[1:])
    with small.reading() as session:
        assert session.query(Project).count() == 1 and session.query(FilmRow).count() == 20
        old = first[1].split("invite=")[1]
        assert credential_of(session, "invite", old) is None


def test_a_process_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.sys, "executable", "/bin/false")
    with pytest.raises(BadInput, match="could not be drawn"):
        demo.draw_films()


@pytest.fixture
def read(small: Database) -> Database:
    """Both readers have read two films, one of them a third."""
    demo.make_demo(small)
    mask = np.zeros((64, 52), bool)
    mask[10:40, 20:30] = True
    for film in (1, 2, 3):
        finish(small, film, "anna", {"column": [mask], "apex": []})
        if film < 3:
            finish(small, film, "ben", {"column": [np.roll(mask, film)], "apex": [mask] if film == 2 else []})
    return small


class Context:
    """What typer hands to a command."""

    obj = None


def test_consensus_command(read: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    consensus_command(Context(), "demo", None, "union", tmp_path / "out", read.folder)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "film 1, column: union of anna, ben; sensitivity / specificity over the whole film: anna 0.9" in said
    assert "film 1, apex: nothing to mark, by 2 readers" in said
    assert "film 1, slipped_level: left out" in said and "there are 0" in said
    assert "film 3: left out, 1 of 2 first readings are done, 1 not finished" in said
    mask = np.asarray(Image.open(tmp_path / "out" / "column" / "0001.png"))
    assert set(np.unique(mask)) == {0, 255} and (mask > 0).sum() == 330  # ten columns of ben's are one further right
    assert not np.asarray(Image.open(tmp_path / "out" / "apex" / "0001.png")).any()
    with read.reading() as session:
        assert session.query(Consensus).count() == 4
    consensus_command(Context(), "demo", "column", "soft_mean", tmp_path / "soft", read.folder)  # type: ignore[arg-type]
    soft = np.asarray(Image.open(tmp_path / "soft" / "column" / "0001.png"))
    assert set(np.unique(soft)) == {0, 128, 255}
    for wrong, match in (("cobb", "is no area"), ("apx", "is no area")):
        with pytest.raises(BadInput, match=match):
            consensus_command(Context(), "demo", wrong, "union", None, read.folder)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="consensus 'mean' is not known"):
        consensus_command(Context(), "demo", "column", "mean", None, read.folder)  # type: ignore[arg-type]


def test_agreement_command(read: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study.toml"
    fields = 'view = "both", height = 64, width = 52, films = {train = 4, validation = 2, test = 20}'
    classifier = '[[classifiers]]\nname = "m"\narchitecture = "small_cnn"\n'
    study.write_text(f'dataset = {{name = "phantom", {fields}}}\n{classifier}')
    agreement_command(Context(), "demo", "majority", study, tmp_path / "out", read.folder)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "Do two readers mark the same place?" in said and "anna \N{EN DASH} ben" in said
    assert "For all tables above: 2 films that all of their readers have read; 18 do not count yet." in said
    assert "In brackets 95 % intervals over" in said and "patients" in said
    assert (tmp_path / "out" / "overlap.csv").read_text().startswith("group,readers,Dice: value")
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".csv", ".md", ".tex"}


def test_a_project_nobody_has_finished(small: Database, capsys: pytest.CaptureFixture[str]) -> None:
    demo.make_demo(small)
    study = small.folder / "study.toml"
    study.write_text('dataset = "phantom"\n[[classifiers]]\nname = "m"\narchitecture = "small_cnn"\n')
    assert call("run", study, "--regions", small.folder) == 2
    assert "no finished reading yet" in capsys.readouterr().err
