"""`xai-bench annotate`: the server and what an administrator does beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xai_bench.errors import BadInput
from xai_bench_annotations.formats.commands import export_command, import_command
from xai_bench_annotations.options import FolderOption, database_of, folder_of, named_project, named_reader
from xai_bench_annotations.results.commands import agreement_command, consensus_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xai_bench_annotations.films.pixels import Film

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="Clinicians draw reference regions in the browser. Try `xai-bench annotate --demo`.",
)

app.command("export")(export_command)
app.command("import")(import_command)
app.command("consensus")(consensus_command)
app.command("agreement")(agreement_command)


@app.callback(invoke_without_command=True)
def annotate(
    ctx: typer.Context,
    folder: FolderOption = None,
    port: Annotated[int, typer.Option(help="0: any free one.")] = 8737,
    host: Annotated[str, typer.Option(help="Where to listen; anything but this machine needs TLS.")] = "127.0.0.1",
    name: Annotated[list[str] | None, typer.Option(help="A name by which browsers reach the server.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file, for TLS.")] = None,
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy", help="A proxy does TLS.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Fill the folder with phantom films and two readers.")] = False,
) -> None:
    """Start the page on which readers draw. Prints its address and a one-time link for the admin.

    Example: `xai-bench annotate --demo`
    """
    ctx.obj = folder
    if ctx.invoked_subcommand is not None:
        return
    from xai_bench_annotations.server.serve import Address, serve

    address = Address(host, port, tuple(name or ()), certificate, key, behind_proxy)
    if demo:
        from xai_bench_annotations.demo import make_demo

        serve(folder_of(ctx, folder), address, typer.echo, make_demo)
    else:
        serve(folder_of(ctx, folder), address, typer.echo, lambda _: ())


@app.command()
def add_project(
    ctx: typer.Context,
    name: str,
    labels: Annotated[Path | None, typer.Option(help="A JSON file; default: regions of the spine.")] = None,
    instructions: Annotated[Path | None, typer.Option(help="A text file that readers see.")] = None,
    repeats: Annotated[float, typer.Option(help="The share of films that each reader reads twice.")] = 0.0,
    order_seed: Annotated[int, typer.Option(help="Of the random order of films, another for each reader.")] = 0,
    folder: FolderOption = None,
) -> None:
    """Make a project.

    Example: `xai-bench annotate add-project scoliosis --repeats 0.1`
    """
    from pydantic import ValidationError

    from xai_bench_annotations.drawings import SPINE, LabelSchema
    from xai_bench_annotations.server import projects
    from xai_bench_annotations.server.shapes import NewProject

    try:
        schema = LabelSchema.model_validate_json(_text(labels)) if labels else SPINE
        text = _text(instructions) if instructions else ""
        wanted = NewProject(name=name, labels=schema, instructions=text, repeats=repeats, order_seed=order_seed)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "labels"
        raise BadInput(f"project {name!r}, {where}: {first['msg']}.") from None
    with database_of(ctx, folder, create=True).writing() as session:
        projects.add_project(session, wanted)
    typer.echo(f"project {name}: add films by `xai-bench annotate add-films {name} FILES`")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{str(file)!r} cannot be read as text ({error}).") from None


@app.command()
def add_films(
    ctx: typer.Context,
    project: str,
    files: Annotated[list[Path] | None, typer.Argument(help="PNG, JPEG or DICOM files.")] = None,
    study: Annotated[Path | None, typer.Option(help="A study.toml, to add its dataset's films.")] = None,
    split: Annotated[str, typer.Option(help="Of the study's dataset.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of the study's films.")] = None,
    folder: FolderOption = None,
) -> None:
    """Add films to a project; a file that cannot be used is named, and the others are added.

    Example: `xai-bench annotate add-films scoliosis films/*.dcm`
    """
    from xai_bench_annotations.films.store import AlreadyThere
    from xai_bench_annotations.server.projects import add_image

    if bool(files) == (study is not None):
        raise BadInput("name either files or a --study.")
    database = database_of(ctx, folder)
    with database.reading() as session:
        found = named_project(session, project)
    added, refused = 0, 0
    for name, film in _files(files) if files else _study_films(study, split, limit):
        try:
            if isinstance(film, BadInput):
                raise film
            with database.writing() as session:
                add_image(session, database.folder, found, film)
            added += 1
            for note in film.info.notes:
                typer.echo(f"{name}: {note}")
        except AlreadyThere as error:
            typer.echo(f"{name}: {error}")
        except BadInput as error:
            refused += 1
            typer.echo(f"{name}: {error}", err=True)
    typer.echo(f"project {project}: {added} films added; give them to readers by `xai-bench annotate assign`")
    if refused:
        raise BadInput(f"{refused} films were refused, for the reasons above.")


def _files(files: list[Path]) -> Iterator[tuple[str, Film | BadInput]]:
    from xai_bench_annotations.films.decode import decode

    for file in files:
        try:
            yield str(file), decode(file.read_bytes())
        except OSError as error:
            yield str(file), BadInput(f"{error.strerror}; name a file that can be read.")
        except BadInput as error:
            yield str(file), error


def _study_films(study: Path | None, split: str, limit: int | None) -> Iterator[tuple[str, Film | BadInput]]:
    from xai_bench.study import Study
    from xai_bench_annotations.films.pixels import film_of

    assert study is not None
    for sample in Study.read(study).dataset.samples(split)[:limit]:
        try:
            yield sample.id, film_of(sample.read_image(), sample.spacing_mm)
        except BadInput as error:
            yield sample.id, error


@app.command()
def add_reader(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A pseudonym, which stands in results.")],
    admin: Annotated[bool, typer.Option("--admin", help="Manages projects and sees results.")] = False,
    folder: FolderOption = None,
) -> None:
    """Add a reader; prints the end of a one-time link by which they log in and choose a password.

    Example: `xai-bench annotate add-reader anna`
    """
    from xai_bench_annotations.server import readers

    with database_of(ctx, folder, create=True).writing() as session:
        reader = readers.add_reader(session, name, "admin" if admin else "reader")
        invite = readers.invite(session, reader)
    _say_invite(name, invite)


@app.command("invite")
def invite_again(ctx: typer.Context, name: str, folder: FolderOption = None) -> None:
    """Print a new one-time link for a reader who forgot the password or was removed.

    Example: `xai-bench annotate invite anna`
    """
    from xai_bench_annotations.server import readers

    with database_of(ctx, folder).writing() as session:
        invite = readers.invite(session, named_reader(session, name))
    _say_invite(name, invite)


def _say_invite(name: str, invite: str) -> None:
    typer.echo(f"{name}: behind the server's address, once, within 7 days:\n/?invite={invite}")


@app.command()
def remove_reader(ctx: typer.Context, name: str, folder: FolderOption = None) -> None:
    """Log a reader out and let them in no more; what they drew stays, and nobody waits for the rest.

    Example: `xai-bench annotate remove-reader anna`
    """
    from xai_bench_annotations.server import readers

    with database_of(ctx, folder).writing() as session:
        readers.deactivate(session, named_reader(session, name))
    typer.echo(f"{name} cannot log in any more")


@app.command()
def token(ctx: typer.Context, name: str, folder: FolderOption = None) -> None:
    """Print a token by which scripts log in as a reader, for a year; it replaces the one before.

    Example: `xai-bench annotate token anna`
    """
    from xai_bench_annotations.server.auth import new_token

    with database_of(ctx, folder).writing() as session:
        text = new_token(session, named_reader(session, name))
    typer.echo(text)


@app.command()
def assign(ctx: typer.Context, project: str, readers: list[str], folder: FolderOption = None) -> None:
    """Give readers the films of a project that they do not have yet, each in a random order of their own.

    Example: `xai-bench annotate assign scoliosis anna ben`
    """
    from xai_bench_annotations.server import protocol

    with database_of(ctx, folder).writing() as session:
        count = protocol.assign(session, named_project(session, project), readers)
    typer.echo(f"project {project}: {count} readings added")


@app.command()
def backup(ctx: typer.Context, file: Path, folder: FolderOption = None) -> None:
    """Copy the database to a new file, also while the server runs.

    Example: `xai-bench annotate backup monday.sqlite`
    """
    database = database_of(ctx, folder)
    database.backup(file)
    typer.echo(f"{file}: everything but the films; these never change and lie in {database.folder / 'films'}")


@app.command()
def verify_audit(
    ctx: typer.Context,
    head: Annotated[str | None, typer.Option(help="A hash that an earlier verification printed.")] = None,
    folder: FolderOption = None,
) -> None:
    """Check that nothing recorded was changed. Note the hash that it prints and give it by --head the next time.

    Example: `xai-bench annotate verify-audit`
    """
    from xai_bench_annotations.server.audit import verify

    with database_of(ctx, folder).reading() as session:
        verdict = verify(session, head)
    for problem in verdict.problems:
        typer.echo(problem, err=True)
    typer.echo(f"{verdict.events} events, {'NOT ' if verdict.problems else ''}intact; newest hash {verdict.head}")
    if verdict.problems:
        raise typer.Exit(1)
