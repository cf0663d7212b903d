"""Drawings in a study: found by the films' pixels, part of its key, unread films excluded and said, the ceiling."""

import json
from pathlib import Path

import numpy as np
import pytest
from annotated_cases import finish, project_of
from test_cli import call
from xai_bench_annotations.drawn import Drawn
from xai_bench_annotations.results.read_project import read_project
from xai_bench_annotations.server.database import Database

from xai_bench.datasets.phantom import Films, Phantom
from xai_bench.drawn_study import drawn_study
from xai_bench.errors import BadInput
from xai_bench.phantom.readers import Reader
from xai_bench.references import completed
from xai_bench.samples import RegionKey, Sample
from xai_bench.study import Study

SMALL = Phantom(height=64, width=52, films=Films(12, 4, 8))
COLUMN = RegionKey("column", "anna")
STUDY = """
name = "tiny"
batch_size = 8
explainers = ["grad_cam", "random_map"]
metrics = ["relevance_mass", "pointing_game"]
reader = {resize = {height = 64, width = 52}}
dataset = {name = "phantom", height = 64, width = 52, films = {train = 12, validation = 4, test = 8}}

[[classifiers]]
name = "small"
architecture = {name = "small_cnn", width = 8}
training = {epochs = 1, batch_size = 6}
"""


def truth(sample: Sample, region: str = "column") -> np.ndarray | None:
    return sample.read_regions()[RegionKey(region, "derived")].mask


def read_by(folder: Path, *readers: str, films: int = 6, repeats: float = 0.0) -> Database:
    """The first test films; each reader shifts the column by one pixel more, and reads one film less."""
    samples = SMALL.samples("test")[:films]
    database = project_of(folder, [s.read_image() for s in samples], readers, repeats=repeats)
    for place, who in enumerate(readers):
        for film, sample in enumerate(samples[: films - place], start=1):
            column, apex = truth(sample), truth(sample, "scoliosis.R1")
            assert column is not None
            drawn = [] if apex is None else [np.roll(apex, place, axis=1)]
            finish(database, film, who, {"column": [np.roll(column, place, axis=1)], "apex": drawn})
    return database


def states(drawn: Drawn, key: RegionKey) -> list[str]:
    return [s.read_regions()[key].state for s in drawn.samples("test")]


def test_regions_are_found_by_the_films_pixels(tmp_path: Path) -> None:
    read_by(tmp_path, "anna", "ben")
    drawn = Drawn(SMALL, str(tmp_path))
    for sample, plain in zip(drawn.samples("test")[:6], SMALL.samples("test"), strict=False):
        found = sample.read_regions()
        assert np.array_equal(found[COLUMN].mask, truth(plain))
        assert found[RegionKey("column", "derived")] is not None  # the film's own regions stay
    assert states(drawn, COLUMN) == ["drawn"] * 6 + ["not_read"] * 2
    assert states(drawn, RegionKey("column", "ben")) == ["drawn"] * 5 + ["not_read"] * 3
    assert set(states(drawn, RegionKey("apex", "anna"))) == {"drawn", "marked_nothing", "not_read"}
    assert set(states(drawn, RegionKey("slipped_level", "anna"))) == {"not_read"}  # left open: no answer
    assert drawn.regions == ("apex", "column") and drawn.readers == ("anna", "ben")
    assert drawn.heads == SMALL.heads and drawn.findings == SMALL.findings
    assert drawn.references == ("consensus:majority", "consensus:majority:without:*", "anna", "ben")


def test_only_finished_first_readings_count(tmp_path: Path) -> None:
    database = read_by(tmp_path, "anna", films=6, repeats=0.5)
    before = read_project(str(tmp_path)).revision
    mask = np.ones((64, 52), bool)
    from xai_bench_annotations.server.tables import Assignment

    with database.reading() as session:
        again = next(a.image.number for a in session.query(Assignment) if a.read == 2)
    finish(database, again, "anna", {"column": [mask]}, read=2)
    assert read_project(str(tmp_path)).revision == before
    finish(database, 1, "anna", {"column": [mask]}, state="in_progress")
    assert states(Drawn(SMALL, str(tmp_path)), COLUMN)[0] == "not_read"


def test_a_changed_drawing_changes_the_key_and_no_other_film(tmp_path: Path) -> None:
    database = read_by(tmp_path, "anna", "ben")
    study = drawn_study(Study("s", SMALL, [{"name": "m", "architecture": "small_cnn"}]), str(tmp_path))
    same = drawn_study(study, str(tmp_path))
    assert same.key == study.key
    column = truth(SMALL.samples("test")[0])
    assert column is not None
    finish(database, 1, "anna", {"column": [np.roll(column, 3, axis=1)], "apex": []})
    changed = drawn_study(study, str(tmp_path))
    assert changed.key != study.key
    old, new = ([s.digest for s in s.dataset.samples("test")] for s in (study, changed))
    assert [a == b for a, b in zip(old, new, strict=True)] == [False] + [True] * 7
    assert new[6:] == [s.digest for s in SMALL.samples("test")[6:]]
    with pytest.raises(BadInput, match="have changed"):
        Study.of(json.loads(json.dumps(study.spec())))


def test_the_study_is_asked_for_what_readers_drew(tmp_path: Path) -> None:
    read_by(tmp_path, "anna", "ben", "carl")
    network = [{"name": "m", "architecture": "small_cnn"}]
    plain = drawn_study(Study("s", SMALL, network), str(tmp_path))
    assert plain.regions == ("apex", "column")
    named = Study("s", SMALL, network, regions=("scoliosis.R1", "column"))
    assert drawn_study(named, str(tmp_path)).regions == ("column",)
    assert plain.references == ("consensus:majority", "consensus:majority:without:*", "anna", "ben", "carl")
    assert [s.xai_bench_name for s in plain.summaries] == ["human_ceiling"]
    own = Study("s", SMALL, network, regions=("scoliosis.R1",), references=("derived", "consensus:staple", "ben"),
                summaries=({"name": "human_ceiling", "method": "staple"},))  # fmt: skip
    kept = drawn_study(own, str(tmp_path))
    assert kept.regions == ("apex", "column")
    assert kept.references == ("consensus:staple", "ben", "consensus:staple:without:*")
    assert kept.summaries == own.summaries
    again = drawn_study(kept, str(tmp_path))
    assert again.dataset.films == SMALL and again.key == kept.key


def test_one_reader_has_no_ceiling(tmp_path: Path) -> None:
    read_by(tmp_path, "anna")
    study = drawn_study(Study("s", SMALL, [{"name": "m", "architecture": "small_cnn"}]), str(tmp_path))
    assert study.references == ("anna",) and study.summaries == ()
    assert any("no human ceiling" in p for p in study.dataset.problems())


def test_what_is_odd_is_said(tmp_path: Path) -> None:
    read_by(tmp_path, "anna", "ben")
    said = Drawn(SMALL, str(tmp_path)).problems()
    assert said == (
        "project 'spine': 1 film does not count for all readers: 1 of 2 first readings are done, 1 not finished.",
    )
    other = Drawn(Phantom(height=64, width=52, films=Films(12, 4, 2)), str(tmp_path)).problems()
    assert "project 'spine': 4 of its 6 films are not in this data set." in other


def test_a_reader_of_the_dataset_with_the_same_name_is_refused(tmp_path: Path) -> None:
    read_by(tmp_path, "anna", "ben")
    drawn = Drawn(Phantom(height=64, width=52, films=Films(12, 4, 8), readers=(Reader("ben"),)), str(tmp_path))
    with pytest.raises(BadInput, match="has regions by 'ben', and project 'spine' has such a reader too"):
        drawn.samples("test")[0].read_regions()


def test_consensus_is_of_those_who_have_read(tmp_path: Path) -> None:
    read_by(tmp_path, "anna", "ben", "carl")
    first, fifth, sixth = (Drawn(SMALL, str(tmp_path)).samples("test")[n] for n in (0, 4, 5))
    wanted = ("consensus:majority",)
    for sample, voters in ((first, 3), (fifth, 2)):
        found = completed(sample, wanted)
        masks = [r.mask for k, r in found.items() if k.name == "column" and k.reference in ("anna", "ben", "carl")]
        votes = sum(m.astype(int) for m in masks if m is not None)
        assert sum(m is not None for m in masks) == voters
        assert np.array_equal(found[RegionKey("column", wanted[0])].mask, 2 * votes > voters)
    assert completed(sixth, wanted)[RegionKey("column", wanted[0])].state == "not_read"


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ("FOLDER/none", "holds no annotate.sqlite"),
        ("FOLDER#spin", "has no project 'spin'; it has empty, spine. Did you mean 'spine'"),
        ("FOLDER", "holds 2 projects; name one: "),
        ("FOLDER#empty", "has no finished reading yet"),
    ],
)
def test_a_project_that_cannot_be_used_is_a_sentence(tmp_path: Path, project: str, said: str) -> None:
    read_by(tmp_path, "anna")
    project_of(tmp_path, [np.zeros((4, 4), np.uint8)], [], name="empty")
    with pytest.raises(BadInput, match=said):
        Drawn(SMALL, project.replace("FOLDER", str(tmp_path)))
    assert Drawn(SMALL, f"{tmp_path}#spine").readers == ("anna",)


def test_run_with_regions_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_by(tmp_path / "read", "anna", "ben")
    (tmp_path / "study.toml").write_text(STUDY)
    arguments = ("run", tmp_path / "study.toml", "--regions", f"{tmp_path / 'read'}#spine", "--store", tmp_path / "run")
    assert call(*arguments) == 0
    shown = capsys.readouterr().out
    assert "Human ceiling" in shown and "human: anna" in shown
    assert "region not read" in shown  # films of the split that are not in the project
    spec = json.loads((tmp_path / "run" / "study.json").read_text())
    assert spec["dataset"]["name"] == "drawn" and spec["dataset"]["fields"]["revision"]
    assert call("report", tmp_path / "run") == 0
    assert call("run", tmp_path / "study.toml", "--regions", tmp_path / "nowhere") == 2
    assert "holds no annotate.sqlite" in capsys.readouterr().err
