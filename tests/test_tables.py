"""Tables: what they compute against plain recomputation, and their four faces."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from plain_text import to_text
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from statsmodels.stats.multitest import multipletests
from synthetic_run import ALIGNMENT, EXPLAINERS, HEAD, MANY, PLACES, SCORES, SyntheticRun, synthetic_run, wide_run

from xai_bench.errors import BadInput
from xai_bench.listing import FAMILIES
from xai_bench.protocols import ScoreInfo
from xai_bench.reporting.classifier_tables import beats_majority
from xai_bench.reporting.comparisons import against_chance, best_controls, between_classifiers
from xai_bench.reporting.estimates import (
    INCOMPLETE,
    Score,
    column_groups,
    estimates,
    place_in_words,
    short_groups,
    titles,
)
from xai_bench.reporting.output import write_run
from xai_bench.reporting.table import DASH, Cell, Column, Rows, Table, to_csv, to_latex, to_markdown
from xai_bench.reporting.tables import family_tables, run_tables, short_tables
from xai_bench.statistics import T, interval, paired_difference, twins_interval

METHODS = [name for name, (family, *_) in EXPLAINERS.items() if family != "control"]
ODD = Table(
    "odd",
    "100 % & more",
    "Costs $5_a #1 {x} ~ ^ \\ ↑.",
    (Column("a|b", left=True), Column("n_1", "R1 · n 3"), Column("n_1", "R2")),
    (Rows("g & h", ((Cell("x_1", "p < 0.05"), Cell("0.5", "", {"value": 0.5, "low": float("nan")}), Cell(DASH)),)),),
    ("*note*",),
)


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return synthetic_run()


@pytest.fixture(scope="module")
def tables(run: SyntheticRun) -> dict[str, Table]:
    return {t.name: t for t in run_tables(run)}  # type: ignore[arg-type]


def cell(table: Table, heading: str, row: str, column: str) -> Cell:
    group = next(g for g in table.groups if g.heading == heading)
    line = next(r for r in group.rows if r[0].text == row)
    return line[[c.title for c in table.columns].index(column)]


def scores_of(run: SyntheticRun, classifier: str, explainer: str, name: str) -> pd.DataFrame:
    r = run.rows
    return r[(r.classifier == classifier) & (r.explainer == explainer) & (r.score_name == name) & (r.status == "ok")]


@pytest.mark.parametrize(("classifier", "explainer"), [("honest", "lime"), ("cheating", "edge_map")])
@pytest.mark.parametrize("score", ["hit_rate", "deletion"])
def test_a_cell_is_the_mean_over_films_of_the_mean_over_twins(
    run: SyntheticRun, tables: dict[str, Table], classifier: str, explainer: str, score: str
) -> None:
    ok = scores_of(run, classifier, explainer, score)
    films: dict[str, list[float]] = {}
    for row in ok.itertuples():
        films.setdefault(row.picture, []).append(row.score)
    patients = dict(zip(ok.picture, ok.patient, strict=True))
    means = np.array([np.mean(v) for _, v in sorted(films.items())])
    expected = interval(means, [patients[p] for p in sorted(films)], binary=score == "hit_rate")
    heading = f"chance ({classifier})" if explainer == "edge_map" else classifier
    title = {"hit_rate": "hit rate ↑", "deletion": "deletion ↓"}[score]
    found = cell(tables["scores_1"], heading, explainer.replace("_", " "), title).numbers
    assert (found["value"], found["low"], found["high"]) == pytest.approx((means.mean(), expected.low, expected.high))
    assert (found["films"], found["patients"]) == (len(films), len(set(patients.values())))
    assert found["twin_1"] == pytest.approx(ok[ok.replicate == 1].score.mean())


def test_five_twins_are_a_sample_of_twins() -> None:
    run = synthetic_run(twins=5, patients=8)
    found = next(e for e in estimates(run) if (e.explainer, e.score.name) == ("grad_cam", "insertion"))  # type: ignore[arg-type]
    ok = scores_of(run, "honest", "grad_cam", "insertion")
    table = ok.pivot(index="replicate", columns="picture", values="score").to_numpy()
    patients = ok.drop_duplicates("picture").sort_values("picture").patient
    expected = twins_interval(table, list(patients), binary=False)
    assert found.interval is not None and found.interval.method == expected.method == T
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert "retrained twins and patients" in {t.name: t for t in run_tables(run)}["scores_1"].caption  # type: ignore[arg-type]


def test_a_film_that_one_of_five_twins_cannot_score_is_left_out_of_all_and_counted() -> None:
    run = synthetic_run(twins=5, patients=8)
    mine = (run.rows.explainer == "grad_cam") & (run.rows.score_name == "insertion") & (run.rows.classifier == "honest")
    lost = mine & (run.rows.replicate == 3) & (run.rows.picture == run.rows[mine].picture.iloc[0])
    assert lost.sum() == 1
    rows = run.rows.assign(
        score=run.rows.score.mask(lost),
        status=run.rows.status.mask(lost, "invalid"),
        reason=run.rows.reason.mask(lost, "map holds NaN or infinite values"),
    )
    found = next(
        e
        for e in estimates(replace(run, rows=rows))  # type: ignore[arg-type]
        if (e.classifier, e.explainer, e.score.name) == ("honest", "grad_cam", "insertion")
    )
    assert found.left_out == {INCOMPLETE: 4, "map holds NaN or infinite values": 1}
    assert len(found.films) * 5 + 5 == found.total == mine.sum()


def test_the_caption_says_what_the_intervals_hold_for() -> None:
    def caption(*twins: int) -> str:
        runs = [synthetic_run(twins=n, patients=8) for n in twins]
        rows = [r.rows.assign(classifier=r.rows.classifier + str(n)) for n, r in zip(twins, runs, strict=True)]
        made = short_tables(replace(runs[0], rows=pd.concat(rows)), estimates(replace(runs[0], rows=pd.concat(rows))))  # type: ignore[arg-type]
        return made[0].caption

    assert "over patients, conditional on this one trained classifier." in caption(1)
    assert "mean over the 1 to 2 retrained twins; in brackets the 95% interval over patients" in caption(1, 2)
    alone, mixed = caption(5), caption(2, 5)
    assert "over 5 retrained twins and patients; of a rate near 0 or 1 that over patients, conditional" in alone
    assert "over 2 to 5 retrained twins and patients; of a rate near 0 or 1, and with fewer than 5 twins, that" in mixed


def test_a_film_with_two_targets_counts_once(run: SyntheticRun) -> None:
    twice = replace(run, rows=pd.concat([run.rows, run.rows.assign(score=run.rows.score / 2)]))
    for once, both in zip(estimates(run), estimates(twice), strict=True):  # type: ignore[arg-type]
        assert len(both.films) == len(once.films)
        assert both.value == pytest.approx(0.75 * once.value)


def test_left_out_and_constant_maps_are_counted_and_said(run: SyntheticRun, tables: dict[str, Table]) -> None:
    lime = [e for e in estimates(run) if e.explainer == "lime" and e.classifier == "honest"]  # type: ignore[arg-type]
    by_name = {e.score.name: e for e in lime}
    assert by_name["deletion"].left_out == {"map holds NaN or infinite values": 2}
    assert by_name["hit_rate"].left_out == {"region not read": 6} and by_name["hit_rate"].total == 72
    assert by_name["insertion"].constant == pytest.approx(4 / 36)
    notes = " ".join(tables["scores_1"].footnotes)
    assert (
        "Left out in every row (hit rate ↑, IoU matched ↑, relevance mass ↑): 6 of 72 scores, region not read." in notes
    )
    assert "honest (lime); cheating (lime) (deletion ↓): 2 of 72 scores" in notes
    assert "honest (lime 12%); cheating (lime 12%)" in notes  # of the columns, the most: 4 of 33 films
    assert f"{DASH} cheating (attention rollout): IoU skipped, attention rollout needs" in notes
    assert cell(tables["scores_1"], "honest", "lime", "deletion ↓").small.startswith("n 35 (23)")
    assert cell(tables["scores_1"], "cheating", "attention rollout", "hit rate ↑").text == DASH


def test_score_tables_show_controls_last_and_n_in_every_column(tables: dict[str, Table]) -> None:
    table = tables["scores_1"]
    assert [(g.heading, g.chance) for g in table.groups] == [
        ("honest", False),
        ("chance (honest)", True),
        ("cheating", False),
        ("chance (cheating)", True),
    ]
    assert [c.small for c in table.columns[1:]] == ["n 33 (24 patients)"] * 3 + ["n 36 (24 patients)"] * 2
    assert "conditional on these twins" in table.caption
    assert table.spans == [("", 1), ("localization", 3), ("faithfulness", 2)]


def test_columns_are_grouped_by_region_and_five_at_most(run: SyntheticRun) -> None:
    other = run.rows[run.rows.region != ""].assign(region="scoliosis.R2")
    found = estimates(replace(run, rows=pd.concat([run.rows, other])), full=True)  # type: ignore[arg-type]
    groups = column_groups(found)
    assert [{s.region for s in g} for g in groups] == [{"scoliosis.R1"}, {"scoliosis.R2"}, {""}]
    assert {s for g in groups for s in g} == {e.score for e in found}
    assert max(map(len, groups)) <= 5


def test_two_metrics_with_one_score_name_are_told_apart(run: SyntheticRun) -> None:
    rows = pd.concat([run.rows, run.rows[run.rows.metric == "deletion"].assign(metric="deletion_zero")])
    both = replace(
        run, rows=rows, score_info={**SCORES, ("deletion_zero", "deletion"): ScoreInfo("lower", headline=True)}
    )
    named = titles(estimates(both))  # type: ignore[arg-type]
    assert named[Score("deletion_zero", "deletion", "", "", "other")] == "deletion zero: deletion ↓"
    assert len(set(named.values())) == len(named)


@pytest.fixture(scope="module")
def wide() -> SyntheticRun:
    """22 metrics with two scores each; localization in two places."""
    return wide_run(synthetic_run(twins=1, patients=4))


@pytest.fixture(scope="module")
def sheets(wide: SyntheticRun) -> list[Table]:
    return family_tables(wide, {"": estimates(wide, full=True)})  # type: ignore[arg-type]


def test_with_many_metrics_the_short_tables_hold_the_first_scores_of_every_family(wide: SyntheticRun) -> None:
    found = estimates(wide)  # type: ignore[arg-type]
    first, second = short_groups(found)
    families = ["localization", "faithfulness", "stability", "complexity", "own"]
    assert [s.name for s in first] == [f"{family}1" for family in families]
    assert [(s.name, s.region) for s in second] == [(f"localization{i}", "column") for i in range(1, 6)]
    made = short_tables(wide, found)  # type: ignore[arg-type]
    assert made[0].spans == [("", 1), *((family, 1) for family in families)] and not made[1].spans
    assert [t.title for t in made] == [
        "Explanation scores · region scoliosis R1, derived",
        "Explanation scores · region column, majority consensus",
    ]
    assert all(t.footnotes[-1].startswith("13 more headline scores stand on") for t in made)  # 22 less 5 and 4
    assert all(len(line) <= 118 for t in made for line in to_text(t).splitlines())


def test_every_score_stands_in_one_table_of_its_family_and_place(sheets: list[Table]) -> None:
    assert list(dict.fromkeys(t.sheet for t in sheets)) == [*FAMILIES, "own"]
    assert max(len(t.columns) for t in sheets) == 6
    expected = []
    for label, metric in MANY.items():
        places = [f" · {place_in_words(*place)}" for place in PLACES] if metric.needs_region else [""]
        expected += [(metric.family.capitalize() + p, t) for p in places for t in (f"{label} ↑", f"{label} more ↓")]
    assert sorted((t.title.split(" (")[0], c.title) for t in sheets for c in t.columns[1:]) == sorted(expected)
    assert len({t.name for t in sheets}) == len({t.title for t in sheets}) == len(sheets)


def test_notes_stay_few_and_short_however_many_reasons_there_are(wide: SyntheticRun) -> None:
    reasons = [f"reason {i} {'that is long ' * 30}" for i in range(8)]
    drawn = pd.Series(np.random.default_rng(0).choice(reasons, len(wide.rows)), wide.rows.index)
    odd = replace(wide, rows=wide.rows.assign(reason=wide.rows.reason.mask(wide.rows.status == "excluded", drawn)))
    for made, left_out in ((wide, 1), (odd, 5)):
        notes = short_tables(made, estimates(made))[1].footnotes  # type: ignore[arg-type]
        assert [note.startswith(("Left out in", "And 4 more such reasons")) for note in notes].count(True) == left_out
        assert max(map(len, notes)) < 300
        assert any(note.startswith(f"{DASH} cheating (attention rollout): all scores skipped") for note in notes)


def test_a_large_number_does_not_widen_its_column(sheets: list[Table]) -> None:
    text = to_text(sheets[0])
    assert max(map(len, text.splitlines())) <= 118
    assert re.search(r"2\d\.\d \[\d\d\.\d,\d\d\.\d\]", text)  # 27.3 [24.8,29.3]


def test_classifier_table_equals_scikit_learn(run: SyntheticRun, tables: dict[str, Table]) -> None:
    for (classifier, replicate), films in run.predictions.groupby(["classifier", "replicate"]):
        row = f"twin {replicate}, seed {replicate}"
        is_class = np.stack([(films.label == c).to_numpy(float) for c in HEAD.classes], 1)
        found = {
            c: cell(tables["classifiers"], classifier, row, c).numbers
            for c in ("accuracy", "balanced accuracy", "AUROC")
        }
        assert found["accuracy"]["value"] == pytest.approx(accuracy_score(films.label, films.prediction))
        assert found["balanced accuracy"]["value"] == pytest.approx(
            balanced_accuracy_score(films.label, films.prediction)
        )
        assert found["AUROC"]["value"] == pytest.approx(roc_auc_score(is_class, np.stack(list(films.probabilities))))
        assert all(f["low"] < f["value"] < f["high"] for f in found.values())


def test_pooled_twins_are_the_mean_of_the_twins(tables: dict[str, Table]) -> None:
    for column in ("accuracy", "balanced accuracy", "AUROC"):
        rows = [
            cell(tables["classifiers"], "honest", row, column)
            for row in ("twin 0, seed 0", "twin 1, seed 1", "all 2, mean")
        ]
        values = [c.numbers["value"] for c in rows]
        assert values[2] == pytest.approx(np.mean(values[:2]))  # type: ignore[arg-type]


def test_a_classifier_that_guesses_is_flagged(run: SyntheticRun) -> None:
    guessed = run.predictions.assign(prediction="normal")
    weak = replace(run, predictions=guessed)
    assert beats_majority(run, "honest") and not beats_majority(weak, "honest")  # type: ignore[arg-type]
    by_name = {t.name: t for t in run_tables(weak)}  # type: ignore[arg-type]
    assert cell(by_name["classifiers"], "honest", "twin 0, seed 0", "above it?").text == "not above"
    assert "alignment says little: honest, cheating." in by_name["scores_1"].footnotes[0]


def test_confusion_counts_every_twin(run: SyntheticRun, tables: dict[str, Table]) -> None:
    films = run.predictions[run.predictions.classifier == "honest"]
    expected = pd.crosstab(films.label, films.prediction)
    for label in HEAD.classes:
        for said in HEAD.classes:
            found = cell(tables["confusion"], "honest, all twins", label, said).numbers["films"]
            assert found == (expected.loc[label, said] if said in expected else 0)


def test_differences_are_paired_turned_and_corrected_over_the_printed_family(run: SyntheticRun) -> None:
    found = between_classifiers(estimates(run))  # type: ignore[arg-type]
    assert len(found) == 3 * 5  # attention rollout ran on one of the two only
    drop = next(c for c in found if (c.left.explainer, c.left.score.name) == ("grad_cam", "deletion"))
    sides = [
        scores_of(run, name, "grad_cam", "deletion").groupby("picture").score.mean() for name in ("cheating", "honest")
    ]
    patients = scores_of(run, "honest", "grad_cam", "deletion").drop_duplicates("picture").set_index("picture").patient
    expected = paired_difference(sides[0].to_numpy(), sides[1].to_numpy(), list(patients.reindex(sides[0].index)))
    assert drop.difference.mean == pytest.approx(expected.mean) and drop.difference.mean > 0
    assert drop.difference.p == expected.p
    assert [c.adjusted for c in found] == pytest.approx(
        multipletests([c.difference.p for c in found], method="holm")[1]
    )


def test_the_best_control_is_the_hardest_to_beat(run: SyntheticRun, tables: dict[str, Table]) -> None:
    found = estimates(run)  # type: ignore[arg-type]
    assert {e.explainer for e in best_controls(found).values()} == {
        "center_gaussian"
    }  # lowest deletion, highest all else
    chance = {(c.left.classifier, c.left.explainer, c.left.score.name): c for c in against_chance(found)}
    assert chance["honest", "grad_cam", "deletion"].verdict == "better"
    assert chance["cheating", "grad_cam", "insertion"].verdict == "worse"
    shown = cell(tables["against_chance_1"], "honest", "grad cam", "deletion ↓")
    assert shown.mark == "good" and shown.text.startswith("+") and "*" in shown.small
    assert f"the {len(chance)} tests" in tables["against_chance_1"].caption


def test_summaries_stand_beside_their_null(tables: dict[str, Table]) -> None:
    found = cell(tables["retrain_stability_1"], "honest and cheating", "lime", "SSIM ↑")
    assert found.text == "0.50 [0.40, 0.58]" and found.small == "n 33; null 0.20 [0.10, 0.28]"
    assert [c.title for c in tables["retrain_stability_1"].columns] == [
        "method",
        "agreeing share ↑",
        "SSIM ↑",
        "spearman ↑",
    ]
    assert tables["retrain_stability_1"].footnotes == ("Every row: 3 left out, twins disagree.",)


def test_a_summary_that_failed_is_named_with_its_reason(run: SyntheticRun) -> None:
    lost = pd.DataFrame([("retrain_stability", "failed", "ValueError: no")], columns=["summary", "status", "reason"])
    by_name = {t.name: t for t in run_tables(replace(run, unsummarized=lost))}
    texts = [[cell.text for cell in row] for row in by_name["left_out"].groups[0].rows]
    assert ["failed: ValueError: no", "1 summary", DASH, "all", "retrain stability"] in texts


def test_cost_and_left_out_add_up(run: SyntheticRun, tables: dict[str, Table]) -> None:
    maps = run.costs[(run.costs.kind == "maps") & (run.costs.explainer == "lime")]
    assert cell(tables["cost"], "making maps", "lime", "model evaluations").text == f"{maps.evaluations.sum():,}"
    counts = {row[0].text: row[1].numbers["count"] for row in tables["left_out"].groups[0].rows}
    missing = run.rows[run.rows.status == "excluded"]
    assert counts["excluded: region not read"] == len(missing) == len(missing[missing.metric.isin(ALIGNMENT)])
    assert counts["skipped: attention rollout needs attention layers, and SmallCNN has none"] == 2


def test_full_tables_add_scores_twins_and_slices_but_no_tests(run: SyntheticRun, tables: dict[str, Table]) -> None:
    full = {t.name: t for t in run_tables(run, full=True)}  # type: ignore[arg-type]
    assert [name for name in full if name.startswith("scores")] == [
        "scores_1",
        "scores_localization_1",
        "scores_localization_1_films_the_model_gets_right",
        "scores_localization_1_films_the_model_gets_wrong",
        "scores_faithfulness_1",
        "scores_faithfulness_1_films_the_model_gets_right",
        "scores_faithfulness_1_films_the_model_gets_wrong",
    ]
    assert "pointing 15px ↑" in {c.title for c in full["scores_localization_1"].columns}
    films = {name: cell(full[name], "honest", "lime", "insertion ↑").numbers for name in full if "faithful" in name}
    assert sum(int(f["films"] or 0) for f in films.values()) >= 2 * 36  # twins may disagree on what is right
    assert full["scores_1"] == tables["scores_1"] and full["against_chance_1"] == tables["against_chance_1"]
    assert len(full["confusion"].groups) == 6


def test_no_table_shows_nan_and_all_name_their_run(run: SyntheticRun) -> None:
    one = synthetic_run(twins=1, patients=2)  # hardly any films: intervals are undefined, rates are not
    for made in (run, one):
        for table in run_tables(made, full=True):  # type: ignore[arg-type]
            assert made.key in table.caption
            for face in (to_text, to_markdown, to_latex, to_csv):
                assert not re.search(r"\bnan\b|\bNone\b|\binf\b", face(table)), table.name


def test_no_rate_has_an_interval_of_zero_width() -> None:
    run = synthetic_run(patients=6)
    perfect = replace(run, rows=run.rows.assign(score=run.rows.score.where(run.rows.score_name != "hit_rate", 1.0)))
    rates = [e for e in estimates(perfect) if e.info.binary]  # type: ignore[arg-type]
    assert rates and all(e.interval and e.interval.high - e.interval.low > 0.1 for e in rates)


def test_a_run_without_explainers_has_classifier_tables_only(run: SyntheticRun) -> None:
    bare = replace(
        run, rows=run.rows.iloc[:0], curves=pd.DataFrame(), costs=run.costs.iloc[:0], summaries=pd.DataFrame()
    )
    made = run_tables(bare, full=True)  # type: ignore[arg-type]
    assert [t.name for t in made] == ["classifiers", "confusion", "cost", "left_out"]
    assert made[-1].groups[0].rows[0][0].text == "nothing was left out"


def test_terminal_fits_110_columns_and_breaks_no_interval(tables: dict[str, Table]) -> None:
    for name in ("classifiers", "scores_1", "against_chance_1", "retrain_stability_1", "left_out"):
        text = to_text(tables[name], 118)
        assert max(map(len, text.splitlines())) <= 118
        for line in text.splitlines():
            assert line.count("[") == line.count("]"), line
    assert max(map(len, to_text(tables["scores_1"], 110).splitlines())) <= 110
    assert "0.70 [.66,.73]" in to_text(tables["scores_1"], 110)


def test_csv_has_bare_numbers_and_blanks() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(ODD))))
    assert rows == [
        ["group", "a|b", "n_1 (R1 · n 3): value", "n_1 (R1 · n 3): low", "n_1 (R2)"],
        ["g & h", "x_1 (p < 0.05)", "0.5", "", DASH],
    ]


def test_markdown_escapes_and_keeps_its_columns() -> None:
    text = to_markdown(ODD)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert r"a\|b" in text and r"x\_1<br><sub>p \< 0.05</sub>" in text and "100 % & more" in text


def test_latex_escapes_and_keeps_its_columns(tables: dict[str, Table]) -> None:
    text = to_latex(ODD)
    assert r"Costs \$5\_a \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} $\uparrow$." in text
    assert text.count("\\begin{") == text.count("\\end{")
    for table in (ODD, *tables.values()):
        body = to_latex(table).split(r"\toprule")[1].split(r"\bottomrule")[0]
        for line in (x for x in body.splitlines() if x.endswith(r"\\") and "multicolumn" not in x):
            assert len(re.findall(r"(?<!\\)&", line)) == len(table.columns) - 1
        assert to_latex(table).isascii()


def test_everything_is_written_twice_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = synthetic_run(twins=1, patients=4)
    report = write_run(run, tmp_path / "a")  # type: ignore[arg-type]
    assert report == tmp_path / "a" / "report.html"
    write_run(run, tmp_path / "b")  # type: ignore[arg-type]
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert {p.suffix for p in names} == {".html", ".csv", ".md", ".tex", ".pdf", ".png", ".parquet", ".json"}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_an_unwritable_folder_is_one_clear_sentence(run: SyntheticRun, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"cannot be written.*name another folder"):
        write_run(run, tmp_path / "file")  # type: ignore[arg-type]
