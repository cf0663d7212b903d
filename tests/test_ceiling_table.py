"""Tables of the human ceiling, on made-up rows with known numbers."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from plain_text import to_text

from xai_bench.protocols import ScoreInfo, SummaryRow
from xai_bench.reporting.ceiling_table import ceiling_tables
from xai_bench.reporting.summary_tables import summary_tables
from xai_bench.reporting.table import DASH, MINUS, Cell, Table, to_csv, to_latex, to_markdown

LOO = "consensus:majority, leave one out"
INFO = {
    ("pointing_game", "hit_rate"): ScoreInfo("higher", headline=True, binary=True),
    ("iou", "iou_matched"): ScoreInfo("higher", headline=True),
    ("iou", "iou_max"): ScoreInfo("higher"),
    ("distances", "centroid_px"): ScoreInfo("lower", headline=True),
    ("mass", "relevance_mass"): ScoreInfo("higher", headline=True),
}


@dataclass(frozen=True)
class Made:
    """What the tables read of a run."""

    summaries: pd.DataFrame
    score_info: dict[tuple[str, str], ScoreInfo] = field(default_factory=lambda: INFO)
    key: str = "3f9a1c0de417"
    rows: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame({"explainer": ["lime", "edge_map"], "family": ["other", "control"]})
    )
    study: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(metrics=(), explainers=()))


def row(explainer: str, score: str, value: float, **changes: object) -> SummaryRow:
    metric = next(m for m, s in INFO if score.startswith(s))
    values = {
        "summary": "human_ceiling", "score_name": score, "explainer": explainer, "classifier": "honest",
        "other_classifier": None, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 20, "better": "higher",
        "metric": metric, "region": "scoliosis.R1", "reference": LOO,
    } | changes  # fmt: skip
    return SummaryRow(**values)  # type: ignore[arg-type]  # the test chooses


def rows_of(score: str, **changes: object) -> list[SummaryRow]:
    nothing = {"low": None, "high": None, "n": 0, "note": "no film that counts: map holds NaN or infinite values"}
    return [
        row("lime", score, 0.3, **changes),
        row("lime", f"{score}_ceiling_normalized", 0.25, **changes),
        row("lime", f"{score}_decrease_percent", 50.0, low=30.0, high=70.0, **changes),
        row("shap", score, 0.65, n=19, exclusions={"map holds NaN or infinite values": 1}, **changes),
        row("shap", f"{score}_ceiling_normalized", 1.1, **changes),
        row("shap", f"{score}_decrease_percent", -12.0, low=-30.0, high=6.0, **changes),
        row("attention", score, np.nan, **nothing, **changes),
        row("attention", f"{score}_decrease_percent", np.nan, **nothing, **changes),
        row("edge_map", score, 0.2, **changes),
        row("edge_map", f"{score}_decrease_percent", 70.0, low=60.0, high=80.0, **changes),
        row("human", score, 0.6, **changes),
        row("human: anna", score, 0.7, **changes),
        row("chance", score, 0.1, **changes),
    ]


def made(rows: list[SummaryRow]) -> Made:
    return Made(pd.DataFrame([vars(r) for r in rows]))


@pytest.fixture
def tables() -> list[Table]:
    scores = [s for _, s in INFO]
    rows = [r for region in ("scoliosis.R1", "column") for s in scores for r in rows_of(s, region=region)]
    return ceiling_tables(made(rows))  # type: ignore[arg-type]


def cell(table: Table, heading: str, name: str, title: str) -> Cell:
    column = next(i for i, c in enumerate(table.columns) if c.title == title)
    (found,) = [r[column] for g in table.groups if g.heading == heading for r in g.rows if r[0].text == name]
    return found


def test_a_table_a_region_and_three_headline_scores(tables: list[Table]) -> None:
    assert [t.name for t in tables] == [f"human_ceiling_{n}" for n in (1, 2, 3, 4)]
    assert [t.title.split("· ")[1] for t in tables] == ["scoliosis R1", "scoliosis R1", "column", "column"]
    heads = [[c.title for c in t.columns[1:]] for t in tables]
    assert heads[0] == ["hit rate ↑", "IoU matched ↑", "centroid px ↑"] and heads[1] == ["relevance mass ↑"]
    assert {c.small for t in tables for c in t.columns[1:]} == {"n 20"}
    assert all("3f9a1c0de417" in t.caption and LOO in t.caption for t in tables)


def test_methods_and_humans_stand_above_controls_and_constant_maps(tables: list[Table]) -> None:
    groups = {g.heading: [r[0].text for r in g.rows] for g in tables[0].groups}
    assert groups == {
        "honest": ["lime", "shap", "attention", "human", "human: anna"],
        "chance (honest)": ["edge map", "constant map"],
    }
    assert [g.chance for g in tables[0].groups] == [False, True]


def test_a_cell_has_the_mean_and_below_how_far_from_human_and_chance(tables: list[Table]) -> None:
    lime, shap = (cell(tables[0], "honest", name, "hit rate ↑") for name in ("lime", "shap"))
    assert (lime.text, lime.small) == ("0.30 [0.20, 0.40]", "50% [30, 70]; 0.25 [0.15, 0.35]")
    assert shap.small == f"n 19; {MINUS}12% [{MINUS}30, 6]; 1.10 [1.00, 1.20]"
    assert lime.numbers["decrease_percent_low"] == 30.0 and lime.numbers["ceiling_normalized"] == 0.25
    assert cell(tables[0], "honest", "human", "hit rate ↑") == Cell(
        "0.60 [0.50, 0.70]", "", {"value": 0.6, "low": 0.5, "high": 0.6 + 0.1, "films": 20}
    )
    assert cell(tables[0], "chance (honest)", "constant map", "hit rate ↑").numbers["value"] == 0.1
    assert cell(tables[0], "honest", "attention", "hit rate ↑").text == DASH


def test_an_unknown_interval_is_a_dash() -> None:
    rows = [row("lime", "hit_rate", 0.3, low=None, high=None),
            row("lime", "hit_rate_ceiling_normalized", 0.0, low=None, high=None)]  # fmt: skip
    (table,) = ceiling_tables(made(rows))  # type: ignore[arg-type]
    found = cell(table, "honest", "lime", "hit rate ↑")
    assert (found.text, found.small) == (f"0.30 [{DASH}]", f"0.00 [{DASH}]")


def test_footnotes_count_verdicts_of_methods_and_say_what_is_missing(tables: list[Table]) -> None:
    notes = " ".join(tables[0].footnotes)
    assert "worse than human / better / not significant, by the percent's interval: hit rate 1 / 0 / 1" in notes
    assert "no value, no film that counts: map holds NaN or infinite values." in notes
    assert "honest (attention)" in notes
    assert "honest (shap): 1 pair of film and reader left out, map holds NaN or infinite values." in notes


def test_without_any_reference_the_note_is_all(tables: list[Table]) -> None:
    none = row(
        "human", "hit_rate", np.nan, score_name="", metric="", region="", reference="", n=0, note="single reader"
    )
    (table,) = ceiling_tables(made([none]))  # type: ignore[arg-type]
    assert [c.title for c in table.columns] == ["method"] and table.title == "Human ceiling"
    assert table.footnotes == ("Every row: no value, single reader.",)


def test_a_run_without_a_ceiling_has_no_such_table_and_no_generic_one() -> None:
    assert ceiling_tables(Made(pd.DataFrame())) == []  # type: ignore[arg-type]
    assert summary_tables(made(rows_of("hit_rate"))) == []  # type: ignore[arg-type]


def test_all_faces_can_be_printed(tables: list[Table]) -> None:
    for table in tables:
        for text in (to_text(table), to_markdown(table), to_latex(table), to_csv(table)):
            assert "nan" not in text.replace("NaN", "")
        assert max(map(len, to_text(table).splitlines())) <= 118
