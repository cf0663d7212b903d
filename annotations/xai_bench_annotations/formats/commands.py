"""`xai-bench annotate export` and `xai-bench annotate import`. Imports little: every `xai-bench` command loads this."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xai_bench.errors import BadInput
from xai_bench_annotations.formats import Format
from xai_bench_annotations.options import FolderOption, database_of

if TYPE_CHECKING:
    from xai_bench_annotations.formats.importing import Report
    from xai_bench_annotations.formats.png import Names

FormatOption = Annotated[Format, typer.Option("--format", help="coco, png (masks) or native, which loses nothing.")]
FilmsOption = Annotated[
    Path | None,
    typer.Option("--films", help="For png: an image folder; masks are called as its films are.", show_default=False),
]


def export_command(
    ctx: typer.Context,
    project: str,
    file: Annotated[Path, typer.Argument(help="The zip to be written.")],
    form: FormatOption = "native",
    films: FilmsOption = None,
    folder: FolderOption = None,
) -> None:
    """Write a project's drawings into a zip; prints what the format could not hold.

    Example: `xai-bench annotate export scoliosis masks.zip --format png --films data/images`
    """
    from xai_bench_annotations.formats.exchange import export_project

    if file.exists():
        raise BadInput(f"{str(file)!r} exists; name a new file.")
    exported = export_project(database_of(ctx, folder), project, form, names=_names(films, form))
    try:
        file.write_bytes(exported.data)
    except OSError as error:
        with contextlib.suppress(OSError):
            file.unlink()  # half of it
        raise BadInput(f"{str(file)!r}: {error.strerror}; name a new file in a folder that exists.") from None
    typer.echo(f"{file}: {len(exported.data) / 1e3:,.0f} kB")
    for note in exported.notes:
        typer.echo(f"- {note}")


def import_command(
    ctx: typer.Context,
    project: str,
    source: Annotated[Path, typer.Argument(help="A zip, a JSON file or a folder.")],
    form: FormatOption = "native",
    reader: Annotated[str | None, typer.Option(help="Who drew, for a COCO file that does not say.")] = None,
    films: FilmsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    folder: FolderOption = None,
) -> None:
    """Take drawings from a zip, a JSON file or a folder into a project: all of them, or none where one does not fit.

    Example: `xai-bench annotate import scoliosis masks.zip --format png --dry-run`
    """
    from xai_bench_annotations.formats.exchange import import_project

    database, names = database_of(ctx, folder), _names(films, form)
    report = import_project(database, project, source, form, reader=reader, dry_run=dry_run, names=names)
    for line in report_lines(report):
        typer.echo(line)
    if report.problems:
        raise BadInput("nothing was imported; mend what stands above and import again.")


def report_lines(report: Report) -> list[str]:
    """A report for the terminal."""
    verb = "imported" if report.imported else "would be imported"
    return [
        f"{report.readings} readings {verb}; drawings: {report.added} added, {report.changed} changed, "
        f"{report.unchanged} as they were, {report.kept} only in the project and kept",
        *(f"- {note}" for note in report.notes),
        *(f"! {problem}" for problem in report.problems),
    ]


def _names(films: Path | None, form: Format) -> Names | None:
    if films is None:
        return None
    if form != "png":
        raise BadInput(f"films {str(films)!r} name the masks of png; leave them out for {form}.")
    if not films.is_dir():
        raise BadInput(f"films folder {str(films)!r} does not exist; name the folder of an image_folder dataset.")
    from xai_bench_annotations.formats.png import Names

    return Names.from_folder(films)
