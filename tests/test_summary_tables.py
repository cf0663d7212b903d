"""Tables of summaries: what stands beside a score, and what has no column of its own."""

from dataclasses import replace

import pandas as pd
import pytest
from synthetic_run import SyntheticRun, synthetic_run

from xai_bench.reporting.summary_tables import summary_tables
from xai_bench.reporting.table import Cell, Table


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    """With floor, share above the null band, accuracy gap and single pairs, as `retrain_stability` gives them."""
    made = synthetic_run(patients=2)
    found = [made.summaries]
    for score in ("ssim", "spearman"):
        own = made.summaries[made.summaries.score_name == score]
        twins = own[own.other_classifier.isna()]
        found.append(twins.assign(score_name=f"{score}_floor", value=0.98))
        found.append(own.assign(score_name=f"{score}_passes", value=0.75))
        found += [own.assign(score_name=f"{score}_pair", value=0.1 * n, note=f"0-{n}") for n in (1, 2)]
    found.append(made.summaries[made.summaries.score_name == "ssim"].assign(score_name="accuracy_gap", value=0.03))
    return replace(made, summaries=pd.concat(found, ignore_index=True))


def cell(table: Table, heading: str, title: str) -> Cell:
    column = [c.title for c in table.columns].index(title)
    (group,) = [g for g in table.groups if g.heading.startswith(heading)]
    return group.rows[0][column]


def test_floor_and_share_above_null_stand_in_the_small_line(run: SyntheticRun) -> None:
    (table,) = summary_tables(run)  # type: ignore[arg-type]
    assert [c.title for c in table.columns] == ["method", "agreeing share ↑", "SSIM ↑", "spearman ↑"]
    found = cell(table, "twins of honest", "SSIM ↑")
    assert found.small == "n 33; null 0.20 [0.10, 0.28]; floor 0.98; above null 0.75"
    assert found.numbers["floor"] == 0.98 and found.numbers["above_null"] == 0.75
    assert cell(table, "honest and cheating", "SSIM ↑").small.endswith("0.28]; above null 0.75")  # no floor of two
    assert cell(table, "twins of honest", "agreeing share ↑").small == "n 33"
    assert "Floor: the same model explained twice." in table.caption


def test_the_gap_of_accuracies_stands_in_the_heading(run: SyntheticRun) -> None:
    (table,) = summary_tables(run)  # type: ignore[arg-type]
    assert table.groups[0].heading == "twins of honest, accuracies 0.03 apart"


def test_without_floor_the_caption_does_not_explain_it() -> None:
    (table,) = summary_tables(synthetic_run(patients=2))  # type: ignore[arg-type]
    assert "Floor" not in table.caption and "Null: what maps of unrelated films reach" in table.caption
    assert table.groups[0].heading == "twins of honest"
