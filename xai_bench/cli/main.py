"""xai-bench demo | list | train | explain | run | stability | report | plan | status | verify | gc | export | doctor.

Plugins add verbs by the entry-point group `xai_bench.commands`.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xai_bench.cli import store_commands
from xai_bench.cli.options import Limit, StoreFolder, StudyFile, read_study, remember
from xai_bench.cli.running import How, how_of, with_running_options
from xai_bench.errors import BadInput, PluginWarning, XaiBenchError
from xai_bench.interruption import Stopped
from xai_bench.progress import Progress
from xai_bench.registry import EXPLAINERS, REGISTRIES

if TYPE_CHECKING:
    from xai_bench.planning.estimate import Cost
    from xai_bench.running.run import Run
    from xai_bench.study import Study

INTERRUPTED = 130
FAILED = 1
"""The exit code of a run that went to its end, but not all of it worked."""
SAID = 10
"""Failures that are named at the end of a run; the table of what was left out has all cells."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Can the heatmaps of a spine classifier be trusted? Start with `xai-bench demo`.",
)

Full = Annotated[bool, typer.Option("--full", help="Every score, not only the headline ones.")]
Regions = Annotated[
    str | None, typer.Option(help="FOLDER or FOLDER#PROJECT of `xai-bench annotate`: score against what readers drew.")
]


@app.command()
def demo(
    store: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("runs/demo"), full: Full = False
) -> None:
    """The whole story on built-in phantom films: an honest classifier, one that cheats, and which explainers tell.

    Example: `xai-bench demo`
    """
    from xai_bench.cli.demo import Demo, run_demo
    from xai_bench.reporting.terminal import show

    remember(Demo().study(), store)
    done = run_demo(store, Progress())
    show(done.tables(full=True) if full else [], story=done.story)
    typer.echo(f"report: {done.write(store)}\nall tables: {store / 'tables'}")
    _exit_by(done)


@app.command("list")
def list_plugins(
    kind: Annotated[
        str | None, typer.Argument(help="explainers, metrics, summaries, datasets, classifiers or imputers.")
    ] = None,
) -> None:
    """What is installed: explainers, metrics, summaries, datasets, classifiers, imputers.

    Example: `xai-bench list explainers`
    """
    from xai_bench.listing import explainer_row, in_short, listing

    wanted = [r for r in REGISTRIES.values() if kind in (None, r.kind, r.plural)]
    if not wanted:
        raise BadInput(f"{kind!r} is not a kind of plugin; choose {', '.join(r.plural for r in REGISTRIES.values())}.")
    for registry in wanted:
        traits = ("traits",) if registry is EXPLAINERS else ()
        columns = ("name", "fields and defaults", "what", *traits, "source")
        table = Table(*columns, title=registry.plural, title_justify="left")
        for name, fields, what, source in listing(registry):
            told = [in_short(explainer_row(registry[name])) for _ in traits]
            table.add_row(*map(Text, (name, fields, what, *told, source)))
        Console().print(table)


@app.command()
@with_running_options
def run(
    study: StudyFile,
    how: How,
    store: StoreFolder = None,
    limit: Limit = None,
    full: Full = False,
    regions: Regions = None,
) -> None:
    """Train, explain and score what a study asks for; resumes where it stopped. Writes tables and report.html.

    Example: `xai-bench run study.toml --limit 8`
    """
    chosen = read_study(study, limit)
    if regions is not None:
        from xai_bench.drawn_study import drawn_study

        chosen = drawn_study(chosen, regions)
    _run(chosen, store or Path("runs") / chosen.name, how, full=full)


def _run(chosen: Study, folder: Path, how: How, *, full: bool) -> None:
    from xai_bench.planning.estimate import estimate

    for line in _estimate_lines(estimate(chosen)):
        how.progress.say(line)
    for problem in chosen.dataset.problems():
        how.progress.say(f"note: {problem}")
    remember(chosen, folder)
    _finish(how.evaluate(chosen, folder), folder, full=full)


@app.command()
@with_running_options
def train(study: StudyFile, how: How, store: StoreFolder = None) -> None:
    """Only train a study's classifiers, and print how accurate they are.

    Example: `xai-bench train study.toml`
    """
    from xai_bench.reporting.classifier_tables import classifier_tables
    from xai_bench.reporting.terminal import show

    chosen = replace(read_study(study, None), explainers=(), metrics=(), summaries=())
    folder = store or Path("runs") / chosen.name
    done = how.evaluate(chosen, folder)
    show(classifier_tables(done))
    for path in done.checkpoints(folder):
        typer.echo(f"checkpoint: {path}")
    _exit_by(done)


@app.command()
@with_running_options
def stability(
    study: StudyFile,
    how: How,
    twins: Annotated[int, typer.Option(help="How often each classifier is trained, with another seed each time.")] = 5,
    store: StoreFolder = None,
    limit: Limit = None,
    full: Full = False,
) -> None:
    """Do the explanations survive retraining? Trains twins, explains twice, randomizes weights, and says what holds.

    Example: `xai-bench stability study.toml --twins 5`
    """
    from xai_bench.cli.stability import stability_study

    chosen = stability_study(read_study(study, limit), twins)
    _run(chosen, store or Path("runs") / f"{chosen.name}-stability", how, full=full)


@app.command()
def explain(
    film: Annotated[Path, typer.Argument(help="A PNG or JPEG film.")],
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint folder, as `xai-bench train` prints it.")],
    explainer: Annotated[str, typer.Option(help="Names, separated by commas.")] = "grad_cam",
    target: Annotated[str | None, typer.Option(help="The class to explain; default: the predicted one.")] = None,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("explanation.png"),
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, float16, or auto: the fastest that a check of this film allows.")
    ] = "auto",
    compile_: Annotated[
        bool, typer.Option("--compile", help="Compile the model first; pays off from some thousand evaluations on.")
    ] = False,
) -> None:
    """Explain one film: prints the prediction and writes a picture with each method's map.

    Example: `xai-bench explain film.png --checkpoint runs/demo/cells/train/KEY --explainer grad_cam,lime`
    """
    from xai_bench.cli.single import Speed, explain_film
    from xai_bench.engine import DTYPES

    if precision not in (*DTYPES, "auto"):
        raise BadInput(f"precision is {precision!r}; expected {', '.join(DTYPES)} or auto.")
    speed = Speed(cast("Any", precision), compile_)
    names = [n.strip() for n in explainer.split(",")]
    for line in explain_film(film, checkpoint, names, target, out, speed, Progress()):
        typer.echo(line)


@app.command()
def report(study: StudyFile, store: StoreFolder = None, full: Full = False) -> None:
    """Write the tables and report.html of a study again, from what its store holds; computes what is missing.

    Example: `xai-bench report runs/demo`
    """
    from xai_bench.cli.demo import Demo

    folder, chosen = store or (study if study.is_dir() else None), read_study(study)
    if folder and chosen.key == Demo().study().key:
        demo(folder, full)  # its story is more than its study
    else:
        _run(chosen, folder or Path("runs") / chosen.name, how_of(), full=full)


store_commands.add_to(app)


@app.command()
def doctor() -> None:
    """What this machine has, and what is odd about its installation.

    Example: `xai-bench doctor`
    """
    from xai_bench.cli.doctor import findings

    for line in findings():
        typer.echo(line)


def _estimate_lines(costs: list[Cost]) -> list[str]:
    lines = [f"  {c.what}: {c.pictures} pictures, about {c.evaluations:,} model evaluations" for c in costs]
    evaluations, seconds = sum(c.evaluations for c in costs), sum(c.seconds for c in costs)
    long = f"some {seconds / 60:.0f} minutes" if seconds > 90 else "less than two minutes"
    return [
        *lines,
        f"about {evaluations:,} model evaluations, {long} on this machine; training apart, and what the store holds "
        "is not computed again",
    ]


def _finish(done: Run, folder: Path, *, full: bool) -> None:
    done.show(full=full)
    typer.echo(f"report: {done.write(folder)}")
    _exit_by(done)


def _exit_by(done: Run) -> None:
    """Say what failed, and exit with 1 where anything did."""
    if failures := done.failures:
        for line in failures[:SAID]:
            typer.secho(f"failed: {line}", err=True)
        more = f" ({SAID} of them above)" if len(failures) > SAID else ""
        typer.secho(
            f"xai-bench: {len(failures)} failed{more}; the rest is done, `xai-bench run --retry-failed` tries them "
            "again.",
            err=True,
        )
        raise typer.Exit(FAILED)


def _add_commands() -> None:
    for point in entry_points(group="xai_bench.commands"):
        try:
            found = point.load()
        except Exception as error:  # a plugin can fail in any way; the other verbs must work
            warnings.warn(
                f"command {point.name} ({point.value}) did not load: {type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=2,
            )
            continue
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=point.name)
        else:
            app.command(point.name)(found)


def main() -> None:
    """The console script: one sentence and exit code 2 for a user's mistake, no traceback."""
    warnings.filterwarnings("ignore", module=r"(?!xai_bench).*")
    _add_commands()
    try:
        app()
    except XaiBenchError as error:
        typer.secho(f"xai-bench: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2)
    except Stopped as stop:
        typer.secho(f"xai-bench: {stop}; the same command goes on where this one was.", err=True)
        sys.exit(stop.code)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer turns Ctrl-C into this
            typer.secho("xai-bench: stopped; the same command goes on where this one was.", err=True)
        raise
