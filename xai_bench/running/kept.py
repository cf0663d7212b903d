"""A bench on which nothing is computed: what the store holds is used, the rest is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from xai_bench.errors import CellFailed, Unfit
from xai_bench.running.workbench import Compute, Workbench
from xai_bench.spec import digest
from xai_bench.store.store import Cell

OWN = ("train", "predictions", "maps", "scores")
"""Kinds whose cells belong to one job; others are shared, and not to blame for it."""


class NotKept(BaseException):
    """A cell is missing. No Exception, so that nobody takes it for the failure of a plugin."""


@dataclass(frozen=True)
class OnlyKept(Workbench):
    """`why` no worker could compute what is missing: it becomes the reason of rows, and is remembered.

    Without it the first missing cell raises NotKept.
    """

    why: str = ""

    @classmethod
    def of(cls, bench: Workbench, why: str = "") -> OnlyKept:
        """A bench with the same store."""
        return cls(**{f.name: getattr(bench, f.name) for f in fields(Workbench)}, why=why)

    def cell(self, kind: str, label: str, parts: Mapping[str, Any], compute: Compute) -> Cell:
        """The cell from the store."""
        try:
            return super().cell(kind, label, parts, _refuse)
        except NotKept:
            known = self.store.failure(kind, digest(parts))
            if known is not None and known["status"] == "skipped":
                raise Unfit(known["reason"]) from None
            if not self.why:
                raise
            if kind in OWN:
                self.store.fail(kind, digest(parts), label, "failed", self.why)
            raise CellFailed(self.why) from None


def _refuse(_: Path) -> Mapping[str, Any]:
    raise NotKept
