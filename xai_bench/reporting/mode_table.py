"""What the checks of faster numerical modes found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_bench.reporting.table import Cell, Column, Rows, Table, number, readable
from xai_bench.running.fidelity import LOWEST

if TYPE_CHECKING:
    from xai_bench.running.run import Run


def mode_tables(run: Run) -> list[Table]:
    """One table where a study asked for `precision = "auto"`; none where the mode was given."""
    if run.modes.empty:
        return []
    columns = (
        Column("method", left=True), Column("mode", left=True), Column("same predictions"),
        Column("lowest rank", "correlation"), Column("forward pass", "times faster"), Column("used?"),
    )  # fmt: skip
    groups = []
    for (classifier, replicate), part in run.modes.groupby(["classifier", "replicate"], sort=False):
        lines = tuple(
            (
                Cell(readable(str(row["method"]))),
                Cell(str(row["mode"])),
                Cell(f"{row['same']} of {row['films']}"),
                Cell(number(row["lowest"], 4), numbers={"lowest": float(row["lowest"])}),
                Cell(number(row["speed"], 1), numbers={"speed": float(row["speed"])}),
                Cell("yes", mark="good") if row["passed"] else Cell("no, float32", mark="bad"),
            )
            for row in part.to_dict("records")
        )
        groups.append(Rows(f"{classifier}, twin {replicate}", lines))
    caption = (
        "A faster mode is used only where, on a few films drawn by a fixed seed, every predicted class is the same, "
        f"each film's map has a rank correlation of at least {LOWEST} with its float32 map, and the forward pass is "
        "faster. For a metric the map is that of hiding one cell of a grid after the other with the metric's imputer. "
        f"Run {run.key}."
    )
    return [Table("modes", "Numerical modes", caption, columns, tuple(groups))]
