"""xai-bench demo | list | train | explain | run | stability | report | doctor.

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

from xai_bench.errors import BadInput, PluginWarning, XaiBenchError
from xai_bench.progress import Progress
from xai_bench.registry import EXPLAINERS, REGISTRIES

if TYPE_CHECKING:
    from xai_bench.estimate import Cost
    from xai_bench.study import Study

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Can the heatmaps of a spine classifier be trusted? Start with `xai-bench demo`.",
)

StudyFile = Annotated[Path, typer.Argument(help="A study.toml, or the folder of an earlier run.", show_default=False)]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="Where results are kept; default runs/<study name>.")]
Limit = Annotated[int | None, typer.Option(help="Explain at most this many pictures, to try a study quickly.")]
Full = Annotated[bool, typer.Option("--full", help="Every score, not only the headline ones.")]


@app.command()
def demo(
    store: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("runs/demo"), full: Full = False
) -> None:
    """The whole story on built-in phantom films: an honest classifier, one that cheats, and which explainers tell.

    Example: `xai-bench demo`
    """
    from xai_bench.demo import run_demo
    from xai_bench.reporting.terminal import show

    done = run_demo(store, Progress())
    show(done.tables(full=True) if full else [], story=done.story)
    typer.echo(f"report: {done.write(store)}\nall tables: {store / 'tables'}")


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
def run(study: StudyFile, store: StoreFolder = None, limit: Limit = None, full: Full = False) -> None:
    """Train, explain and score what a study asks for; resumes where it stopped. Writes tables and report.html.

    Example: `xai-bench run study.toml --limit 8`
    """
    chosen = _study(study, limit)
    _run(chosen, store or Path("runs") / chosen.name, full=full)


def _run(chosen: Study, folder: Path, *, full: bool) -> None:
    from xai_bench.benchmark import evaluate
    from xai_bench.estimate import estimate

    progress = Progress()
    for line in _estimate_lines(estimate(chosen)):
        progress.say(line)
    for problem in chosen.dataset.problems():
        progress.say(f"note: {problem}")
    _finish(evaluate(chosen, store=folder, progress=progress), folder, full=full)


@app.command()
def train(study: StudyFile, store: StoreFolder = None) -> None:
    """Only train a study's classifiers, and print how accurate they are.

    Example: `xai-bench train study.toml`
    """
    from xai_bench.benchmark import evaluate
    from xai_bench.reporting.classifier_tables import classifier_tables
    from xai_bench.reporting.terminal import show

    chosen = replace(_study(study, None), explainers=(), metrics=(), summaries=())
    folder = store or Path("runs") / chosen.name
    done = evaluate(chosen, store=folder, progress=Progress())
    show(classifier_tables(done))
    for path in done.checkpoints(folder):
        typer.echo(f"checkpoint: {path}")


@app.command()
def stability(
    study: StudyFile,
    twins: Annotated[int, typer.Option(help="How often each classifier is trained, with another seed each time.")] = 5,
    store: StoreFolder = None,
    limit: Limit = None,
    full: Full = False,
) -> None:
    """Do the explanations survive retraining? Trains twins, explains twice, randomizes weights, and says what holds.

    Example: `xai-bench stability study.toml --twins 5`
    """
    from xai_bench.stability import stability_study

    chosen = stability_study(_study(study, limit), twins)
    _run(chosen, store or Path("runs") / f"{chosen.name}-stability", full=full)


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
    from xai_bench.engine import DTYPES
    from xai_bench.single import Speed, explain_film

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
    from xai_bench.demo import Demo

    folder = store or (study if study.is_dir() else None)
    if folder and _study(study, None).key == Demo().study().key:
        demo(folder, full)  # its story is more than its study
    else:
        run(study, folder, None, full)


@app.command()
def doctor() -> None:
    """What this machine has, and what is odd about its installation.

    Example: `xai-bench doctor`
    """
    from xai_bench.doctor import findings

    for line in findings():
        typer.echo(line)


def _study(path: Path, limit: int | None) -> Any:
    import json

    from xai_bench.study import Study

    if path.is_dir():
        file = path / "study.json"
        if not file.is_file():
            raise BadInput(f"folder {str(path)!r} holds no study.json; name a study.toml or the folder of a run.")
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{str(file)!r} is not readable JSON ({error}); run the study again.") from None
        if not isinstance(table, dict):
            raise BadInput(f"{str(file)!r} holds no study; run the study again.")
        study = Study.of(table)
    else:
        study = Study.read(path)
    return replace(study, limit=limit) if limit is not None else study


def _estimate_lines(costs: list[Cost]) -> list[str]:
    lines = [f"  {c.what}: {c.pictures} pictures, about {c.evaluations:,} model evaluations" for c in costs]
    evaluations, seconds = sum(c.evaluations for c in costs), sum(c.seconds for c in costs)
    long = f"some {seconds / 60:.0f} minutes" if seconds > 90 else "less than two minutes"
    return [
        *lines,
        f"about {evaluations:,} model evaluations, {long} on this machine; training apart, and what the store holds "
        "is not computed again",
    ]


def _finish(done: Any, folder: Path, *, full: bool) -> None:
    done.show(full=full)
    typer.echo(f"report: {done.write(folder)}")


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
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer turns Ctrl-C into this
            typer.secho("xai-bench: stopped; the same command goes on where this one was.", err=True)
        raise
