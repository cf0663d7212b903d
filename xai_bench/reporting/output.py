"""A run's files: tables in four forms, figures, tidy rows, the page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from xai_bench.errors import BadInput
from xai_bench.reporting.figures import png, run_figures, save
from xai_bench.reporting.html import page
from xai_bench.reporting.table import to_csv, to_latex, to_markdown
from xai_bench.reporting.tables import run_tables

if TYPE_CHECKING:
    from xai_bench.running.run import Run


def write_run(run: Run, folder: Path) -> Path:
    """Writes `report.html`, `tables/*.{csv,md,tex}`, `figures/*.{pdf,png}`, the tidy parts as Parquet, and the study.

    Gives the report's path. Raises BadInput where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report.", dir=folder) as scratch:
            _write_parts(run, Path(scratch))
            for part in ("tables", "figures"):
                (folder / part).mkdir(exist_ok=True)
            for file in [p for p in sorted(Path(scratch).rglob("*")) if p.is_file()]:  # on a full disk, none of them
                file.replace(folder / file.relative_to(scratch))
        return folder / "report.html"
    except OSError as error:
        raise BadInput(
            f"the report cannot be written to {str(folder)!r}: {error.strerror}; name another folder."
        ) from None


def _write_parts(run: Run, folder: Path) -> None:
    for part in ("tables", "figures"):
        (folder / part).mkdir()
    for table in run_tables(run, full=True):
        for suffix, text in (("csv", to_csv(table)), ("md", to_markdown(table)), ("tex", to_latex(table))):
            (folder / "tables" / f"{table.name}.{suffix}").write_text(text, encoding="utf-8")
    figures = run_figures(run)
    for name, figure in figures.items():
        save(figure, folder / "figures", name)
    for name in ("rows", "pictures", "predictions", "curves", "costs", "modes"):
        getattr(run, name).to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "study.json").write_text(json.dumps(run.study.spec(), indent=1), encoding="utf-8")
    (folder / "report.html").write_text(page(run, figures), encoding="utf-8")


def write_page(run: Run, folder: Path, name: str, *, title: str, notes: Sequence[str]) -> Path:
    """A results page for a repository, `name.md`: notes, the first table of each kind, plots; the others in `name/`.

    No film and no picture id stands on it. Tables and plots of an earlier page are removed.
    """
    pictures = folder / name
    pictures.mkdir(parents=True, exist_ok=True)
    for old in (*pictures.glob("*.md"), *pictures.glob("*.png")):
        old.unlink()
    parts = [f"# {title}", *notes]
    for _, group in groupby(run_tables(run), key=lambda table: table.title.split(" · ")[0].split(" (")[0]):
        first, *others = group
        parts.append(to_markdown(first))
        for table in others:
            (pictures / f"{table.name}.md").write_text(to_markdown(table) + "\n", encoding="utf-8")
        if others:
            parts.append("More: " + ", ".join(f"[{table.title}]({name}/{table.name}.md)" for table in others) + ".")
    for label, figure in run_figures(run).items():
        (pictures / f"{label}.png").write_bytes(png(figure, dpi=110))
        parts.append(f"![{label}]({name}/{label}.png)")
    page_file = folder / f"{name}.md"
    page_file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page_file
