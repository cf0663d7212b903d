"""One line a method: useful, true to the weights, repeatable; on made-up rows with known numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from plain_text import to_text
from synthetic_run import HEADLINE, Made, SyntheticRun, synthetic_run, wide_run

from xai_bench.reporting.estimates import estimates
from xai_bench.reporting.stability_table import MUTED, stability_tables
from xai_bench.reporting.table import Cell, Table, to_csv, to_latex, to_markdown
from xai_bench.reporting.tables import run_tables

UTILITY, RANDOMIZATION, REPEATABILITY, REPRODUCIBILITY = 1, 2, 3, 4
METRICS = {"pixel_ranking": Made({"auprc": HEADLINE}, "localization", True)}


def rows_of(summary: str, who: tuple[str, str, str | None], **values: float) -> pd.DataFrame:
    """A row a score, whose interval reaches from 0.1 below to 0.08 above."""
    explainer, classifier, other = who
    return pd.DataFrame([
        {"summary": summary, "score_name": name, "explainer": explainer, "classifier": classifier,
         "other_classifier": other, "value": value, "low": value - 0.1, "high": value + 0.08, "n": 33,
         "exclusions": {}, "better": None, "note": "", "metric": "", "region": "", "reference": ""}
        for name, value in values.items()
    ])  # fmt: skip


def check(explainer: str, classifier: str, passes: float, own: float, pairs: float) -> pd.DataFrame:
    scores = {"passes": passes, "randomization_ssim": own, "random_pairs_ssim": pairs}
    return rows_of("randomization_check", (explainer, classifier, None), **scores)


ROWS = (
    rows_of(
        "retrain_stability", ("lime", "honest", None), agreeing_share=0.9, ssim=0.6, ssim_null=0.2, ssim_floor=0.95
    ),
    rows_of("retrain_stability", ("lime", "cheating", None), ssim=0.5, ssim_null=0.1),
    rows_of("retrain_stability", ("lime", "honest", "cheating"), ssim=0.3, ssim_null=0.2),
    rows_of("retrain_stability", ("random_map", "honest", None), ssim=0.05),
    check("lime", "honest", 1.0, 0.2, 0.4),
    check("lime", "cheating", 0.0, 0.7, 0.4),
)


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    made = wide_run(synthetic_run(patients=6), METRICS)
    return replace(made, summaries=pd.concat(ROWS, ignore_index=True))


def table_of(run: SyntheticRun, *more: pd.DataFrame) -> Table:
    made = replace(run, summaries=pd.concat([run.summaries, *more], ignore_index=True))
    (table,) = stability_tables(made)  # type: ignore[arg-type]
    return table


def line(table: Table, heading: str, method: str) -> tuple[Cell, ...]:
    (found,) = [row for g in table.groups if g.heading == heading for row in g.rows if row[0].text == method]
    return found


def test_there_is_a_block_a_classifier_and_below_it_its_controls(run: SyntheticRun) -> None:
    table = table_of(run)
    assert {g.heading: [row[0].text for row in g.rows] for g in table.groups} == {
        "honest": ["lime", "attention rollout"], "chance (honest)": ["random map"],
        "cheating": ["lime", "attention rollout"], "chance (cheating)": ["random map"],
    }  # fmt: skip
    assert [g.chance for g in table.groups] == [False, True, False, True]
    assert table.name == "stability_1" and table.columns[UTILITY].small == "region scoliosis R1, derived"
    assert "null" in table.caption and run.key in table.caption


def test_utility_is_the_estimate_on_the_first_region_only(run: SyntheticRun) -> None:
    table = table_of(run)
    regions = set()
    for e in estimates(run, full=True):  # type: ignore[arg-type]
        heading = f"chance ({e.classifier})" if e.control else e.classifier
        cell = line(table, heading, e.explainer.replace("_", " "))[UTILITY]
        regions.add(e.score.region)
        if e.score.region == "scoliosis.R1" and len(e.films):
            assert e.interval is not None
            assert cell.numbers == {"value": e.value, "low": e.interval.low, "high": e.interval.high}
            assert cell.text.startswith(f"{e.value:.2f} [")
    assert len(regions) == 2
    assert line(table, "cheating", "attention rollout")[1:] == (MUTED,) * 4  # it was skipped


def test_without_regions_the_utility_is_a_dash(run: SyntheticRun) -> None:
    plain = synthetic_run(patients=2)
    free = plain.rows[(plain.rows.metric == "insertion") & plain.rows.explainer.isin(["lime", "random_map"])]
    table = table_of(replace(plain, rows=free, summaries=run.summaries))
    assert table.columns[UTILITY].small == "no region" and line(table, "honest", "lime")[UTILITY] == MUTED


def test_the_verdict_on_randomization_is_colored(run: SyntheticRun) -> None:
    table = table_of(run)
    passed, failed = (line(table, name, "lime")[RANDOMIZATION] for name in ("honest", "cheating"))
    assert (passed.text, passed.small, passed.mark) == ("passed", "0.20; 0.40", "good")
    assert (failed.text, failed.small, failed.mark) == ("failed", "0.70; 0.40", "bad")
    assert failed.numbers == {"passes": 0.0, "randomization_ssim": 0.7, "random_pairs_ssim": 0.4}
    assert line(table, "honest", "attention rollout")[RANDOMIZATION] == MUTED


@pytest.mark.parametrize("missing", ["passes", "randomization_ssim", "random_pairs_ssim"])
def test_no_verdict_without_all_of_its_numbers(run: SyntheticRun, missing: str) -> None:
    rows = run.summaries.assign(value=run.summaries.value.where(run.summaries.score_name != missing))
    table = table_of(replace(run, summaries=rows))
    assert line(table, "honest", "lime")[RANDOMIZATION] == MUTED


def test_repeatability_stands_beside_null_and_floor(run: SyntheticRun) -> None:
    table = table_of(run)
    honest, cheating = (line(table, name, "lime")[REPEATABILITY] for name in ("honest", "cheating"))
    assert (honest.text, honest.small) == ("0.60 [0.50, 0.68]", "null 0.20; floor 0.95")
    known = {"value": 0.6, "low": 0.5, "high": 0.68, "n": 33, "null": 0.2, "floor": 0.95}
    assert honest.numbers == pytest.approx(known)
    assert (cheating.text, cheating.small) == ("0.50 [0.40, 0.58]", "null 0.10")
    assert line(table, "chance (honest)", "random map")[REPEATABILITY].text == "0.05 [\N{MINUS SIGN}0.05, 0.13]"


def test_an_unknown_interval_is_a_dash(run: SyntheticRun) -> None:
    table = table_of(replace(run, summaries=run.summaries.assign(low=None, high=None)))
    assert line(table, "honest", "lime")[REPEATABILITY].text == "0.60 [\N{EM DASH}]"


def test_reproducibility_is_told_of_both_and_of_several_as_a_range(run: SyntheticRun) -> None:
    table = table_of(run)
    cells = [line(table, name, "lime")[REPRODUCIBILITY] for name in ("honest", "cheating")]
    assert {c.text for c in cells} == {"0.30 [0.20, 0.38]"} and not any(c.small for c in cells)
    more = rows_of("retrain_stability", ("lime", "third", "honest"), ssim=0.5)
    unknown = rows_of("retrain_stability", ("lime", "honest", "fourth"), ssim=np.nan)
    table = table_of(run, more, unknown)
    honest, cheating = (line(table, name, "lime")[REPRODUCIBILITY] for name in ("honest", "cheating"))
    assert (honest.text, honest.small) == ("0.40", "2 classifiers, 0.30 to 0.50")
    assert honest.numbers == {"value": 0.4, "least": 0.3, "most": 0.5}
    assert cheating.text == "0.30 [0.20, 0.38]"


def test_readers_are_the_last_line_of_the_methods(run: SyntheticRun) -> None:
    human = rows_of("human_ceiling", ("human", "honest", None), hit_rate=0.9, auprc=0.8)
    single = rows_of("human_ceiling", ("human: anna", "honest", None), auprc=0.7)
    table = table_of(run, single, human)
    assert table.groups[0].rows[-1] == (Cell("human"), Cell("0.80 [0.70, 0.88]", "", {"value": 0.8}), *[MUTED] * 3)
    everyone = [row[0].text for g in table.groups for row in g.rows]
    assert everyone.count("human") == 1 and "human: anna" not in everyone


def test_one_of_both_summaries_is_enough_and_none_is_no_table(run: SyntheticRun) -> None:
    by_summary = dict(list(run.summaries.groupby("summary")))
    for name, empty in (("retrain_stability", RANDOMIZATION), ("randomization_check", REPEATABILITY)):
        (table,) = stability_tables(replace(run, summaries=by_summary[name]))  # type: ignore[arg-type]
        assert line(table, "honest", "lime")[empty] == MUTED
    for none in (pd.DataFrame(), run.summaries.assign(summary="mege_reco")):
        assert stability_tables(replace(run, summaries=none)) == []  # type: ignore[arg-type]


def test_all_faces_can_be_printed(run: SyntheticRun) -> None:
    table = table_of(run)
    assert table in run_tables(run)  # type: ignore[arg-type]
    for text in (to_text(table), to_markdown(table), to_latex(table), to_csv(table)):
        assert "nan" not in text
    assert "null 0.20; floor 0.95" in to_markdown(table) and "failed" in to_latex(table)
    assert "passed" in to_text(table) and "floor" in to_text(table) and ",0.95," in to_csv(table)
    assert max(map(len, to_text(table).splitlines())) <= 118


def test_methods_beside_readers_stand_against_the_leave_one_out_references(run: SyntheticRun) -> None:
    own = run.rows[run.rows.score_name == "auprc"]
    region, known = own.region.iloc[0], own[own.region == own.region.iloc[0]]
    parts = [
        known.assign(reference=f"consensus:majority:without:{reader}", score=known.score / 2)
        for reader in ("anna", "ben")
    ]
    made = replace(run, rows=pd.concat([run.rows, *parts], ignore_index=True))
    table, before = table_of(made), table_of(run)
    assert table.columns[UTILITY].small == f"region {region.replace('.', ' ')}, majority consensus, leave one out"
    halved = line(table, "honest", "lime")[UTILITY].numbers["value"]
    assert halved == pytest.approx(line(before, "honest", "lime")[UTILITY].numbers["value"] / 2)
