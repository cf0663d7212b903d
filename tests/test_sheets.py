"""Sheets leave nothing out, and say once what holds for all of their tables."""

import io
from dataclasses import replace

from rich.console import Console

from xai_bench.listing import FAMILIES
from xai_bench.reporting.sheets import sheets
from xai_bench.reporting.table import Cell, Column, Rows, Table
from xai_bench.reporting.terminal import show

BASE = Table(
    "scores_stability_1",
    "Stability (1 of 2)",
    "The caption.",
    (Column("method", left=True), Column("ssim")),
    (Rows("honest", ((Cell("lime"), Cell("0.5")),)),),
    ("Of all.", "Of the first."),
    "stability",
)
SECOND = replace(
    BASE,
    name="scores_stability_2",
    title="Stability (2 of 2)",
    columns=(BASE.columns[0], Column("ssim"), Column("lipschitz")),
    groups=(Rows("honest", ((Cell("lime"), Cell("0.5"), Cell("7.0")),)),),
    footnotes=("Of the second.", "Of all."),
)
CHANCE = [replace(BASE, name=f"against_chance_{i}", title=f"Better? · R{i}", sheet="") for i in (1, 2, 3)]
COST = replace(BASE, name="cost", title="Cost", sheet="")


def test_tables_of_a_family_and_parts_of_one_table_stand_together() -> None:
    found = sheets([BASE, SECOND, *CHANCE, COST])
    assert [(s.name, s.title, len(s.tables)) for s in found] == [
        ("family-stability", "Stability", 2),
        ("against_chance", "Better?", 3),
        ("cost", "Cost", 1),
    ]
    assert [s.about for s in found] == [FAMILIES["stability"], "", ""]
    assert found[0].size == "2 scores, 2 tables" and found[2].size == "1 score, 1 table"
    assert [s.whole for s in found[:2]] == ["both tables", "all 3 tables"]


def test_what_all_tables_say_is_said_once_and_the_rest_stays() -> None:
    stability, chance, cost = sheets([BASE, SECOND, *CHANCE, COST])
    assert stability.notes == ("The caption.", "Of all.")
    assert [(t.caption, t.footnotes) for t in stability.tables] == [
        ("", ("Of the first.",)),
        ("", ("Of the second.",)),
    ]
    assert [t.groups for t in stability.tables] == [BASE.groups, SECOND.groups]
    assert chance.notes == ("The caption.", "Of all.", "Of the first.")
    assert (cost.tables, cost.notes) == ((COST,), ())


def test_the_terminal_names_the_family_and_says_shared_notes_after_its_tables() -> None:
    out = io.StringIO()
    show([BASE, SECOND, COST], console=Console(width=118, file=out, color_system=None))
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines[0].startswith("Stability (2 scores, 2 tables) ─") and lines[1] == FAMILIES["stability"]
    order = ["Stability (1 of 2)", "Of the first.", "Stability (2 of 2)", "Of the second.", "For both tables above:"]
    places = [lines.index(line) for line in order]
    assert places == sorted(places)
    assert lines[places[-1] + 1 : places[-1] + 3] == ["The caption.", "Of all."]
    assert lines.count("The caption.") == 2  # the sheet's and the cost table's
