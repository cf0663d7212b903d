"""How a run goes: the options that `run`, `train` and `stability` share."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from xai_bench.errors import BadInput
from xai_bench.interruption import seconds_of, stoppable
from xai_bench.progress import Progress

if TYPE_CHECKING:
    from xai_bench.backends import Backend
    from xai_bench.running.run import Run
    from xai_bench.study import Study

SHOWN = ("live", "plain", "json")


@dataclass(frozen=True)
class How:
    """Where a study runs, what is shown meanwhile, when it stops. `retry`: what failed before is tried again."""

    backend: Backend | None
    progress: Progress
    limit: float | None
    retry: bool

    def evaluate(self, study: Study, folder: Path) -> Run:
        """Run the study."""
        from xai_bench.running.benchmark import evaluate
        from xai_bench.store.store import Store

        store = Store.at(folder)
        if self.retry and (count := store.forget_failures()):
            self.progress.say(f"cells that failed before and are tried again: {count}")
        return evaluate(study, store=store, progress=self.progress, backend=self.backend)


def how_of(
    workers: Annotated[
        int | None, typer.Option(help="Processes; default: one a GPU or core where that helps. 1: this one alone.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="serial, local or dask. The digits are the same.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler that runs already, such as tcp://10.0.0.1:8786.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each process. Another number rounds differently.")] = 1,
    time_limit: Annotated[
        str | None, typer.Option(help="Stop in order after 90s, 55m or 1h30m, with exit code 75.", show_default=False)
    ] = None,
    progress: Annotated[
        str | None,
        typer.Option(help="live, plain, or json: one object a line; default: live on a terminal."),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
) -> How:
    """The options as they stand on the command line. Raises BadInput for what does not exist or go together."""
    from xai_bench.backends import backend_of

    if progress not in (None, *SHOWN):
        raise BadInput(f"progress is {progress!r}; choose {', '.join(SHOWN)}.")
    terminal = {"live": True, "plain": False, "json": False, None: None}[progress]
    console = Console(stderr=True, force_terminal=terminal)
    limit = None if time_limit is None else seconds_of(time_limit)
    shown = Progress(console=console, json=progress == "json")
    return How(backend_of(backend, workers, scheduler, threads), shown, limit, retry_failed)


def with_running_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with all options of `how_of` in place of its parameter `how`; it stops in order."""
    own, more = inspect.signature(verb).parameters, inspect.signature(how_of).parameters

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        how = how_of(**{name: given.pop(name) for name in more})
        with stoppable(how.limit):
            verb(**given, how=how)

    listed = [*(p for p in own.values() if p.name != "how"), *more.values()]
    command.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]  # typer reads it
    hints = [typing.get_type_hints(how_of, include_extras=True)]
    hints += [{n: verb.__annotations__[n] for n in own if n != "how"}]
    command.__annotations__ = {k: v for each in hints for k, v in each.items() if k in [p.name for p in listed]}
    return command
