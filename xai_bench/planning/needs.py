"""What a plan will still take: time and disk, by receipts of like cells, else by the estimate of a new study."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xai_bench.planning.estimate import estimate, processes
from xai_bench.planning.plan import Lookup, Plan
from xai_bench.study import Study

UNDONE = ("missing", "stale", "damaged", "waiting")
ROWS_BYTES, A_PICTURE = 12_000, 100
"""Of a cell of tables of which nothing like it is known: its files and receipt, and what each picture adds."""

Where = tuple[str, str]
"""Kind and method."""


@dataclass(frozen=True)
class Likes:
    """Seconds, bytes and pictures of the cells of one kind and method, as their receipts say."""

    cells: int = 0
    pictures: int = 0
    seconds: float = 0.0
    bytes: int = 0

    def plus(self, receipt: Mapping[str, Any]) -> Likes:
        """With one more cell."""
        return Likes(
            self.cells + 1,
            self.pictures + int(receipt.get("pictures", 0)),
            self.seconds + float(receipt.get("seconds", 0.0)),
            self.bytes + int(receipt.get("bytes", 0)),
        )

    def share(self, pictures: int) -> float:
        """The share of their cost that a cell of so many pictures has."""
        return pictures / self.pictures if self.pictures and pictures else 1 / self.cells


@dataclass(frozen=True)
class Needs:
    """Cells to compute, seconds in one process, bytes on disk, and how many trainings are not in the seconds."""

    cells: int
    seconds: float
    bytes: float
    trainings: int


def needs(planned: Plan) -> Needs:
    """Time and disk of what a run of this plan would compute."""
    todo = [x for x in planned.lookups if x.state in UNDONE]
    likes = _likes(planned, {x.kind for x in todo})
    known = [(x, likes[_where(x)]) for x in todo if _where(x) in likes]
    new = [x for x in todo if _where(x) not in likes]
    seconds = [like.seconds * like.share(x.pictures) for x, like in known] + _estimated(planned, new)
    size = [like.bytes * like.share(x.pictures) for x, like in known] + [_size(planned.study, x) for x in new]
    return Needs(len(todo), math.fsum(seconds), math.fsum(size), sum(x.kind == "train" for x in new))


def _where(lookup: Lookup) -> Where:
    return lookup.kind, lookup.method


def _likes(planned: Plan, kinds: set[str]) -> dict[Where, Likes]:
    found: dict[Where, Likes] = defaultdict(Likes)
    for kind in kinds:
        for key in planned.store.cells(kind):
            cell, _ = planned.store.look(kind, key, contents=False)
            if cell is not None:
                where = _where(Lookup(kind, str(cell.receipt.get("label", "")), "done"))
                found[where] = found[where].plus(cell.receipt)
    return found


def _estimated(planned: Plan, new: Sequence[Lookup]) -> list[float]:
    """Seconds of cells that nothing is known of: their part of the explainer's or metric's cost in the whole study."""
    if not any(x.kind in ("maps", "scores") for x in new):
        return []
    study, share = planned.study, processes(planned.study)
    costs = {c.what: c.seconds * share for c in estimate(study)}
    scored = [e.label for e in study.explainers if not e.repeat_of]
    whole: dict[Where, float] = {("maps", e.label): costs.get(e.label, 0.0) for e in study.explainers}
    for metric in study.metrics:
        whole |= {("scores", f"{e}, {metric.label}"): costs.get(metric.label, 0.0) / len(scored) for e in scored}
    every: dict[Where, int] = defaultdict(int)
    for x in planned.lookups:
        every[_where(x)] += x.pictures
    return [whole.get(_where(x), 0.0) * x.pictures / max(1, every[_where(x)]) for x in new]


def _size(study: Study, lookup: Lookup) -> float:
    """At most so many bytes: maps may be coarser than pictures; a network that is not trained yet is not counted."""
    if lookup.kind == "maps":
        return 4.0 * study.reader.resize.height * study.reader.resize.width * lookup.pictures + ROWS_BYTES
    return float(ROWS_BYTES + A_PICTURE * lookup.pictures)
