"""Imports add and change, tell what they do, and leave a chain of events that holds."""

import json

import numpy as np
import pytest
import typer
from annotation_contents import LABELS, SHAPE, contents
from hypothesis import HealthCheck, given, settings
from typer.testing import CliRunner
from xai_bench_annotations.films.store import add_pixels
from xai_bench_annotations.formats.archive import unpacked
from xai_bench_annotations.formats.commands import export_command, import_command
from xai_bench_annotations.formats.content import Content, Found, collect
from xai_bench_annotations.formats.exchange import export_project, import_project
from xai_bench_annotations.formats.importing import apply
from xai_bench_annotations.server.audit import verify
from xai_bench_annotations.server.database import Database, open_database
from xai_bench_annotations.server.projects import add_project
from xai_bench_annotations.server.protocol import assign
from xai_bench_annotations.server.readers import add_reader
from xai_bench_annotations.server.shapes import NewProject
from xai_bench_annotations.server.tables import Annotation, Assignment, Event, Project

from xai_bench.errors import BadInput, XaiBenchError

PIXELS = [np.random.default_rng(n).integers(0, 4096, SHAPE, dtype=np.uint16) for n in (1, 2)]
SQUARE = {"kind": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    made = open_database(tmp_path_factory.mktemp("folder"), create=True)
    with made.writing() as session:
        for name in ("anna", "ben"):
            add_reader(session, name)
    return made


def project(database: Database, name: str, assigned=()) -> str:
    """A new project with the two films."""
    with database.writing() as session:
        made = add_project(session, NewProject(name=name, labels=LABELS))
        for film in PIXELS:
            add_pixels(session, database.folder, made, film)
        assign(session, made, assigned)
        return made.id


def held(database: Database, name: str) -> Content:
    with database.reading() as session:
        return collect(session, session.query(Project).filter_by(name=name).one())


def intact(database: Database) -> bool:
    with database.reading() as session:
        return verify(session).problems == ()


def reading(**more):
    drawings = more.pop("drawings", [{"label": "apex", "geometry": SQUARE}])
    return {
        "film": 1,
        "reader": "anna",
        "read": 1,
        "state": "done",
        "nothing_in": ["column"],
        "drawings": drawings,
    } | more


def native(*readings, films=((1, PIXELS[0]), (2, PIXELS[1]))):
    from xai_bench_annotations.films.pixels import film_digest

    films = [{"number": n, "sha256": film_digest(p), "width": SHAPE[1], "height": SHAPE[0]} for n, p in films]
    said = {"format": "xai-bench annotations 1", "labels": LABELS.model_dump(mode="json"), "films": films}
    return json.dumps(said | {"readings": list(readings)}).encode()


def take(database, name, *readings, form="native", **options):
    return import_project(database, name, native(*readings), form, **({"dry_run": False} | options))


counter = iter(range(10_000))


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(contents())
def test_a_project_that_is_exported_and_imported_is_the_same(database, content):
    first, second = f"a{next(counter)}", f"b{next(counter)}"
    project(database, first)
    project(database, second)
    with database.reading() as session:
        films = held(database, first).films
    found = Found([r for r in content.readings if r.state != "not_started"], films)
    with database.writing() as session:
        report = apply(session, session.query(Project).filter_by(name=first).one(), found, by=None, dry_run=False)
    assert report.imported and report.problems == () and report.notes == ()
    one = held(database, first)
    expected = sorted(found.readings, key=lambda r: (r.film, r.reader, r.read))
    for wanted, got in zip(expected, one.readings, strict=True):
        assert wanted.model_copy(update={"drawings": []}) == got.model_copy(update={"drawings": []})
        drawn = {d.id: d for d in got.drawings}
        for drawing in wanted.drawings:  # a drawing without times gets those of the import
            there = drawn.pop(drawing.id)
            times = {k: getattr(there, k) for k in ("created", "updated") if getattr(drawing, k) is None}
            assert drawing.model_copy(update=times) == there
        assert not drawn
    data = export_project(database, first, "native").data
    assert import_project(database, second, data, "native", dry_run=False).imported
    two = held(database, second)
    assert without_ids(two) == without_ids(one)
    again = import_project(database, second, data, "native", dry_run=False)
    assert (again.added, again.changed) == (0, 0) and held(database, second) == two
    assert intact(database)


def without_ids(content: Content):
    """Ids are new in a second project of one folder."""
    found = content.model_dump(mode="json", exclude={"name"})
    for one in found["readings"]:
        one["drawings"] = sorted(({k: v for k, v in d.items() if k != "id"} for d in one["drawings"]), key=json.dumps)
    return found


@pytest.mark.parametrize("form", ["coco", "png", "native"])
def test_importing_an_export_again_changes_nothing(database, form):
    name = f"again-{form}"
    project(database, name)
    take(database, name, reading(), reading(reader="ben", film=2))
    before = held(database, name)
    events = count(database, Event)
    data = export_project(database, name, form).data
    report = import_project(database, name, data, form, dry_run=False)
    assert report.imported and (report.added, report.changed, report.unchanged, report.kept) == (0, 0, 2, 0)
    assert held(database, name) == before and count(database, Event) == events


@pytest.mark.parametrize("form", ["coco", "png", "native"])
def test_an_export_goes_into_another_folder(database, form, tmp_path):
    name = f"other-{form}"
    project(database, name)
    take(database, name, reading())
    other = open_database(tmp_path / "other", create=True)
    with other.writing() as session:
        add_reader(session, "anna")
    project(other, name, ["anna"])
    report = import_project(other, name, export_project(database, name, form).data, form, dry_run=False)
    assert report.imported and report.added == 1
    (one,) = [r for r in held(other, name).readings if r.state == "done"]
    assert one.nothing_in == ["column"] and one.drawings[0].label == "apex"
    assert one.drawings[0].drawn.kind == ("mask" if form == "png" else "rectangle")
    assert one.drawings[0].id == held(database, name).readings[0].drawings[0].id or form == "png"
    assert intact(other)


def count(database, table):
    with database.reading() as session:
        return session.query(table).count()


def test_a_dry_run_says_the_same_and_writes_nothing(database):
    project(database, "dry")
    before = count(database, Event), count(database, Annotation), count(database, Assignment)
    dry = take(database, "dry", reading(), dry_run=True)
    assert not dry.imported and dry.added == 1 and held(database, "dry").readings == []
    assert (count(database, Event), count(database, Annotation), count(database, Assignment)) == before
    wet = take(database, "dry", reading())
    assert wet.imported and wet.added == 1 and intact(database)


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        ({"reader": "zoe"}, "there is no reader 'zoe'"),
        ({"drawings": [{"label": "lung", "geometry": SQUARE}]}, "no label 'lung'"),
        ({"drawings": [{"label": "cobb", "geometry": SQUARE}]}, "cobb cannot be a rectangle"),
        ({"drawings": [{"label": "apex", "geometry": {"kind": "mask", "size": [1, 2], "counts": [2]}}]}, "size"),
        ({"nothing_in": ["apex", "column"]}, "drawn, and marked as nothing"),
        ({"nothing_in": ["lung"]}, "no label 'lung'"),
    ],
)
def test_one_problem_holds_up_the_whole_import(database, odd, problem):
    name = f"odd{next(counter)}"
    project(database, name)
    report = take(database, name, reading(film=2, reader="ben"), reading(**odd))
    assert not report.imported and problem in report.problems[0]
    assert held(database, name).readings == []


def test_films_that_are_not_there_are_left_out_and_said(database):
    project(database, "films")
    data = native(reading(film=3), reading(film=7), films=[(3, PIXELS[1]), (7, PIXELS[0] + 1)])
    report = import_project(database, "films", data, "native", dry_run=False)
    assert report.imported and report.notes == ("readings of films that are not in the project, left out (1)",)
    assert [r.film for r in held(database, "films").readings] == [2]  # found by its digest, whatever its number


def test_newer_work_in_the_project_stays(database):
    project(database, "newer")
    drawing = {"id": "a" * 32, "label": "apex", "geometry": SQUARE, "rev": 2}
    take(database, "newer", reading(drawings=[drawing]))
    with database.writing() as session:
        row = session.get(Annotation, "a" * 32)
        assert row.rev == 2
    changed = take(database, "newer", reading(drawings=[drawing | {"note": "edited elsewhere"}]))
    assert changed.changed == 1
    old = take(database, "newer", reading(drawings=[drawing]))
    assert (old.changed, old.unchanged) == (0, 0) and "kept as they are (1)" in old.notes[0]
    (one,) = held(database, "newer").readings
    assert one.drawings[0].note == "edited elsewhere" and one.drawings[0].rev == 3 and intact(database)


def test_drawings_that_are_not_in_the_file_are_kept(database):
    project(database, "kept")
    take(database, "kept", reading())
    report = take(database, "kept", reading(drawings=[{"label": "apex", "geometry": SQUARE | {"x": 2}}]))
    assert (report.added, report.kept) == (1, 1) and len(held(database, "kept").readings[0].drawings) == 2


def test_a_mask_that_differs_from_what_is_drawn_is_a_problem(database):
    project(database, "differs")
    take(database, "differs", reading())
    data = export_project(database, "differs", "png").data
    take(database, "differs", reading(drawings=[{"label": "apex", "geometry": SQUARE | {"x": 5}}]))
    report = import_project(database, "differs", data, "png", dry_run=False)
    assert not report.imported and "apex is drawn already and differs" in report.problems[0]


def test_a_reading_is_done_only_when_all_is_answered(database):
    project(database, "answers")
    report = take(database, "answers", reading(nothing_in=[]))
    assert report.imported and "in progress instead of done (1)" in report.notes[0]
    assert held(database, "answers").readings[0].state == "in_progress"
    take(database, "answers", reading(drawings=[]))
    assert held(database, "answers").readings[0].state == "done"


def test_who_imported_stands_in_the_chain(database):
    project(database, "who")
    take(database, "who", reading(), by="b" * 32)
    with database.reading() as session:
        actions = {e.action for e in session.query(Event).filter_by(reader_id="b" * 32)}
    assert actions == {"drawing.imported", "reading.imported", "project.imported"}


def test_a_reader_is_named_for_coco_only(database):
    project(database, "reader")
    with pytest.raises(BadInput, match="coco only"):
        import_project(database, "reader", native(), "native", reader="anna")
    with pytest.raises(BadInput, match=r"'readr' does not exist; .*Did you mean 'reader'"):
        export_project(database, "readr", "native")


@pytest.mark.parametrize("wrong", [
    {"position": 2**63}, {"active_seconds": 1e300}, {"opened": "0001-01-01T00:00:00+10:00"}, {"done": "2024-01-01"},
    {"drawings": [{"label": "apex", "geometry": SQUARE, "rev": 2**63}]},
])  # fmt: skip
def test_what_no_database_can_hold_is_refused(database, wrong):
    name = f"bounds{next(counter)}"
    project(database, name)
    with pytest.raises(BadInput, match=rf"project.json cannot be used: readings.0.*{next(iter(wrong))}"):
        take(database, name, reading(**wrong))


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(database):
    app = typer.Typer()
    app.command("export")(export_command)
    app.command("import")(import_command)
    app.callback()(lambda: None)

    def _run(*words):
        done = CliRunner().invoke(app, [*map(str, words), "--folder", str(database.folder)])
        if done.exception and not isinstance(done.exception, XaiBenchError):
            raise done.exception
        return done.output, done.exception

    return _run


def test_the_commands_export_and_import(database, run, tmp_path):
    project(database, "commands")
    take(database, "commands", reading())
    file = tmp_path / "a.zip"
    output, error = run("export", "commands", file, "--format", "png")
    assert error is None and "1 outlines become pixels" in output
    with unpacked(file) as folder:
        assert "outlines become pixels" in (folder / "report.txt").read_text()
    assert "exists" in str(run("export", "commands", file)[1])
    output, error = run("import", "commands", file, "--format", "png", "--dry-run")
    assert error is None and output.startswith("1 readings would be imported; drawings: 0 added")
    output, error = run("import", "commands", file, "--format", "png")
    assert error is None and output.startswith("1 readings imported")


def test_the_commands_say_what_stands_in_the_way(database, run, tmp_path):
    project(database, "commands2")
    (tmp_path / "a.json").write_bytes(native(reading(reader="zoe")))
    output, error = run("import", "commands2", tmp_path / "a.json")
    assert "! there is no reader 'zoe'" in output and "nothing was imported" in str(error)
    assert "leave them out" in str(run("export", "commands2", tmp_path / "b.zip", "--films", tmp_path)[1])
    gone = tmp_path / "gone"
    assert "does not exist" in str(run("export", "commands2", gone, "--format", "png", "--films", gone)[1])
    assert "folder that exists" in str(run("export", "commands2", gone / "b.zip")[1])


def test_an_export_that_fails_leaves_no_half_of_it(database, run, tmp_path, monkeypatch):
    def full(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    project(database, "commands3")
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    assert "No space left" in str(run("export", "commands3", tmp_path / "half.zip")[1])
    assert not (tmp_path / "half.zip").exists()
