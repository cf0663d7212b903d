"""A run's files: all of them or none, a study that can be run again, and a page without films or ids."""

import errno
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from xai_bench.errors import BadInput
from xai_bench.progress import Progress
from xai_bench.reporting import output
from xai_bench.reporting.figures import run_figures
from xai_bench.reporting.output import write_page, write_run
from xai_bench.reporting.table import to_csv, to_markdown
from xai_bench.reporting.tables import run_tables
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import Run
from xai_bench.study import Study

QUIET = Progress(quiet=True)
PARTS = ("rows", "pictures", "predictions", "curves", "costs", "modes")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def run(store: Path) -> Run:
    study = Study.of({
        "name": "tiny", "batch_size": 4, "explainers": ["grad_cam", {"name": "random_map", "label": "noise"}],
        "metrics": ["relevance_mass", {"name": "deletion", "steps": 4}],
        "reader": {"resize": {"height": 48, "width": 40}},
        "dataset": {"name": "phantom", "height": 48, "width": 40, "films": {"train": 8, "validation": 2, "test": 6}},
        "classifiers": [{"name": "small", "architecture": {"name": "small_cnn", "width": 8},
                         "training": {"epochs": 1, "batch_size": 4}}],
    })  # fmt: skip
    return replace(evaluate(study, store=store, progress=QUIET), story=("Once upon a time.",))


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """None for every missing value: Parquet has one kind, pandas several."""
    return frame.astype(object).where(frame.notna(), None)


def test_every_part_is_written(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert write_run(run, folder) == folder / "report.html"
    tables = run_tables(run, full=True)
    assert names(folder) == {
        "report.html", "study.json", *(f"{p}.parquet" for p in PARTS),
        *(f"tables/{t.name}.{suffix}" for t in tables for suffix in ("csv", "md", "tex")),
        *(f"figures/{name}.{suffix}" for name in run_figures(run) for suffix in ("pdf", "png")),
    }  # fmt: skip
    for part in PARTS:
        pd.testing.assert_frame_equal(plain(pd.read_parquet(folder / f"{part}.parquet")), plain(getattr(run, part)))
    for table in tables:
        assert (folder / "tables" / f"{table.name}.csv").read_text(encoding="utf-8") == to_csv(table)
    assert "Once upon a time." in (folder / "report.html").read_text(encoding="utf-8")


def test_the_written_study_is_the_study(run: Run, store: Path, tmp_path: Path) -> None:
    import json

    write_run(run, tmp_path)
    again = Study.of(json.loads((tmp_path / "study.json").read_text(encoding="utf-8")))
    assert again == run.study and again.key == run.key
    pd.testing.assert_frame_equal(evaluate(again, store=store, progress=QUIET).rows, run.rows)


def test_the_same_run_is_the_same_tables_to_the_byte(run: Run, store: Path, tmp_path: Path) -> None:
    write_run(run, tmp_path / "a")
    write_run(evaluate(run.study, store=store, progress=QUIET), tmp_path / "b")
    for name in [n for n in names(tmp_path / "a") if n.startswith("tables/")] + ["rows.parquet", "curves.parquet"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_full_disk_leaves_the_earlier_report_whole(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("earlier")

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output, "page", full)  # what is written last
    with pytest.raises(BadInput, match=r"cannot be written to .*: No space left on device; name another folder"):
        write_run(run, tmp_path)
    assert names(tmp_path) == {"report.html"} and (tmp_path / "report.html").read_text() == "earlier"


def test_a_file_in_the_way_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(BadInput, match="the report cannot be written"):
        write_run(run, tmp_path / "taken")


def test_a_page_for_a_repository_holds_tables_and_plots_only(run: Run, tmp_path: Path) -> None:
    file = write_page(run, tmp_path, "study", title="A study", notes=["One note.", "Another."])
    text = file.read_text(encoding="utf-8")
    assert file == tmp_path / "study.md" and text.startswith("# A study\n\nOne note.\n\nAnother.\n\n")
    plots = {f"study/{name}.png" for name in run_figures(run)}
    tables = {f"study/{t.name}.md": to_markdown(t) for t in run_tables(run)}
    linked = set(re.findall(r"\]\((.*?)\)", text)) - plots
    assert linked and linked < set(tables)
    assert names(tmp_path) == {"study.md", *plots, *linked}  # no film beside the plots
    for place, table in tables.items():
        assert table in text if place not in linked else (tmp_path / place).read_text(encoding="utf-8") == table + "\n"
    assert "study/scores_1.md" not in linked and "study/scores_2.md" in linked
    (tmp_path / "study" / "gone.md").touch()
    write_page(run, tmp_path, "study", title="A study", notes=["One note.", "Another."])
    assert names(tmp_path) == {"study.md", *plots, *linked} and file.read_text(encoding="utf-8") == text
    shown = {*run.predictions.picture, *run.predictions.patient}
    assert len(shown) > 6 and not [name for name in shown if name in text]
