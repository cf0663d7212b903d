"""`xai-bench annotate consensus` and `xai-bench annotate agreement`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xai_bench.errors import BadInput
from xai_bench_annotations.options import FolderOption, database_of, named_project

if TYPE_CHECKING:
    from xai_bench_annotations.server.database import Database
    from xai_bench_annotations.server.tables import Consensus

MethodOption = Annotated[str, typer.Option(help="majority, staple, union or intersection.")]


def consensus_command(
    ctx: typer.Context,
    project: str,
    label: Annotated[str | None, typer.Option(help="Only this label; default: all areas.")] = None,
    method: Annotated[str, typer.Option(help="majority, staple, union, intersection or soft_mean.")] = "majority",
    out: Annotated[Path | None, typer.Option(help="A folder for masks <label>/<film>.png; soft means as gray.")] = None,
    folder: FolderOption = None,
) -> None:
    """Make and keep the consensus of every film that all of its readers have read; the others are named.

    Example: `xai-bench annotate consensus scoliosis --method staple --out masks`
    """
    from xai_bench_annotations.results.consensus import check_method
    from xai_bench_annotations.results.readings import areas_of, films_of

    check_method(method)
    database = database_of(ctx, folder)
    with database.reading() as session:
        films = films_of(session, named_project(session, project).id)
    codes = areas_of(films.schema)
    if label is not None and label not in codes:
        raise BadInput(f"label {label!r} is no area of project {films.project!r}; it has {', '.join(codes)}.")
    for film in films.counted:
        for code in [label] if label else codes:
            try:
                found = _kept(database, film.id, code, method)
            except BadInput as error:
                typer.echo(f"film {film.number}, {code}: left out, {error}")
                continue
            typer.echo(f"film {film.number}, {code}: {_told(found)}")
            if out is not None:
                _write(found, film.shape, out / code / f"{film.number:04d}.png")
    for number, reason in films.left_out.items():
        typer.echo(f"film {number}: left out, {reason}")


def _kept(database: Database, image: str, label: str, method: str) -> Consensus:
    from xai_bench_annotations.results.consensus import consensus_of, keep

    with database.reading() as session:
        found = consensus_of(session, image, label, method)
    with database.writing() as session:
        keep(session, found)
    return found


def _told(found: Consensus) -> str:
    """A consensus in a line."""
    if found.mask is None:
        return f"nothing to mark, by {len(found.readers)} readers"
    rates = [f"{who} {_percent(r['sensitivity'])} / {_percent(r['specificity'])}" for who, r in found.rates.items()]
    said = f"; sensitivity / specificity over the whole film: {', '.join(rates)}" if rates else ""
    return f"{found.method} of {', '.join(found.readers)}{said}"


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _write(found: Consensus, shape: tuple[int, int], file: Path) -> None:
    """A mask as 0 and 255, a soft mean as the share of readers from 0 to 255."""
    import numpy as np
    from PIL import Image

    from xai_bench_annotations.films.raster import decode_runs

    shares = np.zeros(shape)
    if found.mask is not None:
        levels = found.mask.get("levels", [{"share": 1.0, "counts": found.mask.get("counts")}])
        for level in levels:
            shares[decode_runs(level["counts"], shape)] = level["share"]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * shares).round().astype(np.uint8)).save(file)
    except OSError as error:
        raise BadInput(f"{str(file)!r} cannot be written ({error.strerror}); name another folder by --out.") from None


def agreement_command(
    ctx: typer.Context,
    project: str,
    method: MethodOption = "majority",
    study: Annotated[Path | None, typer.Option(help="A study.toml whose dataset says whose films they are.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the tables as CSV, Markdown and LaTeX.")] = None,
    folder: FolderOption = None,
) -> None:
    """Print how well the readers of a project agree, on the films that all of their readers have read.

    Example: `xai-bench annotate agreement scoliosis --study study.toml`
    """
    from xai_bench.reporting.terminal import show
    from xai_bench_annotations.results.comparing import agreement
    from xai_bench_annotations.results.tabling import said_once

    database = database_of(ctx, folder)
    with database.reading() as session:
        found = named_project(session, project)
        tables = agreement(session, found.id, method=method, patients=_patients(study))
    notes, shown = said_once(tables)
    show(shown)
    for note in notes:
        typer.echo(f"  For all tables above: {note}")
    if out is not None:
        from xai_bench.reporting.table import to_csv, to_latex, to_markdown

        for end, write in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
            for table in tables:
                _save(out / f"{table.name}.{end}", write(table))


def _save(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{str(file)!r} cannot be written ({error.strerror}); name another folder by --out.") from None


def _patients(study: Path | None) -> dict[str, str]:
    """Digest of a film -> its patient, of all films of a study's dataset."""
    if study is None:
        return {}
    from xai_bench.samples import SPLITS
    from xai_bench.study import Study
    from xai_bench_annotations.films.pixels import film_digest

    dataset = Study.read(study).dataset
    return {film_digest(s.read_image()): s.patient for split in SPLITS for s in dataset.samples(split)}
