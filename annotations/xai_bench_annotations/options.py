"""Options that all commands of `xai-bench annotate` share. Imports little: every `xai-bench` command loads this."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xai_bench.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from xai_bench_annotations.server.database import Database
    from xai_bench_annotations.server.tables import Project, Reader

DEFAULT_FOLDER = Path("annotations-data")
FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", help=f"The annotation folder; default ./{DEFAULT_FOLDER}.", show_default=False),
]


def folder_of(ctx: typer.Context, folder: Path | None) -> Path:
    """The folder that was named behind the command, or before it, or the default one."""
    before: Path | None = ctx.obj
    return folder or before or DEFAULT_FOLDER


def database_of(ctx: typer.Context, folder: Path | None, *, create: bool = False) -> Database:
    """The database of that folder."""
    from xai_bench_annotations.server.database import open_database

    return open_database(folder_of(ctx, folder), create=create)


def named_project(session: Session, name: str) -> Project:
    """A project by name. Raises BadInput with the names there are."""
    from sqlalchemy import select

    from xai_bench_annotations.server.tables import Project

    projects = {p.name: p for p in session.scalars(select(Project).order_by(Project.name))}
    if name not in projects:
        there = (
            f"this folder has {', '.join(map(repr, projects))}" if projects else "there is none yet; see add-project"
        )
        raise BadInput(f"there is no project {name!r}; {there}.{did_you_mean(name, list(projects))}")
    return projects[name]


def named_reader(session: Session, name: str) -> Reader:
    """A reader by name. Raises BadInput."""
    from xai_bench_annotations.server.readers import reader_named

    found = reader_named(session, name)
    if found is None:
        raise BadInput(f"there is no reader {name!r}; add one by `xai-bench annotate add-reader {name}`.")
    return found
