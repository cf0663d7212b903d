"""A study that takes a second, and what tests of the backends compare."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xai_bench.progress import Progress
from xai_bench.running.run import Run
from xai_bench.study import Study

QUIET = Progress(quiet=True)


def tiny(**changes: object) -> Study:
    """Two twins, two explainers, one metric; every value can be changed."""
    table = {
        "name": "tiny", "batch_size": 4, "explainers": ["grad_cam", "random_map"], "metrics": ["relevance_mass"],
        "summaries": ["retrain_stability"], "reader": {"resize": {"height": 48, "width": 40}},
        "dataset": {"name": "phantom", "height": 48, "width": 40, "films": {"train": 8, "validation": 2, "test": 6}},
        "classifiers": [{"name": "small", "architecture": {"name": "small_cnn", "width": 8}, "seeds": [0, 1],
                         "training": {"epochs": 1, "batch_size": 4}}],
    }  # fmt: skip
    return Study.of(table | changes)


def digits(run: Run) -> str:
    """Every digit of a run's scores, predictions, curves and summaries."""
    tables = (run.rows, run.predictions, run.curves, run.summaries)
    return "\n".join(table.to_csv(index=False, float_format="%.17g") for table in tables)


@dataclass
class Watched(Progress):
    """Sees what happens, and does something about it."""

    quiet: bool = True
    react: Callable[..., None] = lambda *_: None
    seen: list[tuple[Any, ...]] = field(default_factory=list)

    def event(self, kind: str, *values: Any, where: str = "") -> None:
        self.seen.append((where, kind, *values))
        super().event(kind, *values, where=where)
        self.react(where, kind, *values)

    @property
    def begun(self) -> list[tuple[str, str]]:
        """Where a piece of work began, and what."""
        return [(event[0], event[3]) for event in self.seen if event[1] == "begin"]
