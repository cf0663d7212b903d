"""The demo's story: its tables equal what is computed by hand from synthetic rows; and a tiny one runs to the end."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from xai_bench import backends
from xai_bench.classifiers.training import Training
from xai_bench.cli.demo import CHEAT, HONEST, Demo, Gap, controls, gaps, reliance, revelation, run_demo, stability
from xai_bench.progress import Progress
from xai_bench.reporting.table import Table
from xai_bench.statistics import holm, paired_difference

PATIENTS = 12


def predictions(wrong: dict[str, set[int]]) -> pd.DataFrame:
    """Two twins of each classifier on 12 films of 12 patients; `wrong` names the films that each gets wrong."""
    rows = []
    for classifier in (HONEST, CHEAT):
        for replicate in (0, 1):
            for n in range(PATIENTS):
                label = "scoliosis" if n % 2 else "normal"
                other = "normal" if n % 2 else "scoliosis"
                said = other if n in wrong[classifier] else label
                rows.append((classifier, replicate, f"film-{n}", f"patient-{n}", label, said))
    return pd.DataFrame(rows, columns=["classifier", "replicate", "picture", "patient", "label", "prediction"])


def cells(table: Table) -> dict[str, list[dict[str, float]]]:
    """Each row's numbers by the text of its first cell."""
    return {row[0].text: [dict(c.numbers) for c in row[1:]] for group in table.groups for row in group.rows}


def test_reliance_counts_hits_and_flips() -> None:
    seen = {
        "random": predictions({HONEST: {0}, CHEAT: {0, 1, 2, 3, 4, 5}}),
        "leaking": predictions({HONEST: set(), CHEAT: set()}),
        "wrong": predictions({HONEST: {3}, CHEAT: set(range(9))}),
    }
    table = reliance(seen)
    found = {name: [round(c["value"] * PATIENTS) for c in row] for name, row in cells(table).items()}
    assert found == {HONEST: [11, 12, 11, 1], CHEAT: [6, 12, 3, 9]}  # random, leaking, wrong; changed
    for row in cells(table).values():
        assert all(c["low"] <= c["value"] <= c["high"] for c in row)
    assert f"the same {PATIENTS} test films" in table.caption


def test_twins_are_averaged_before_films_are() -> None:
    one = predictions({HONEST: set(), CHEAT: set()})
    other = one.copy()
    flipped = (other.classifier == HONEST) & (other.replicate == 1)
    other.loc[flipped, "prediction"] = "neither"
    row = cells(reliance({"random": one, "leaking": one, "wrong": other}))[HONEST]
    assert [c["value"] for c in row] == [1, 1, 0.5, 0.5]


def masses(**shift: float) -> pd.DataFrame:
    """Relevance mass: noise per film that both classifiers share, more on the honest twin's spine by `shift`."""
    rng = np.random.default_rng(0)
    rows = []
    for explainer, more in shift.items():
        family = "control" if explainer == "random_map" else "perturbation"
        for replicate in (0, 1):
            film = rng.normal(0.4, 0.05, PATIENTS)
            for classifier, add in ((HONEST, more), (CHEAT, 0.0)):
                own = film + add + rng.normal(0, 0.01, PATIENTS)
                for region, scale in (("column", 1.0), ("marker", 0.1)):
                    for n, score in enumerate(own * scale):
                        # two films a patient; the last film could not be scored on the cheat
                        status = "excluded" if classifier == CHEAT and n == PATIENTS - 1 else "ok"
                        rows.append((classifier, replicate, explainer, family, "relevance_mass", region,
                                     f"film-{n}", f"patient-{n // 2}", status, score))  # fmt: skip
    columns = ["classifier", "replicate", "explainer", "family", "score_name", "region", "picture", "patient",
               "status", "score"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).assign(reference="derived")


@pytest.fixture
def run() -> SimpleNamespace:
    return SimpleNamespace(rows=masses(lime=0.2, grad_cam=0.0, random_map=0.0))


def by_hand(rows: pd.DataFrame, explainer: str, replicate: int) -> list[np.ndarray]:
    mine = rows[(rows.explainer == explainer) & (rows.replicate == replicate) & (rows.region == "column")]
    return [
        mine[mine.classifier == c].sort_values("picture", key=lambda s: s).score.to_numpy() for c in (HONEST, CHEAT)
    ]


def test_gaps_are_paired_differences_on_films_that_both_have(run: SimpleNamespace) -> None:
    found = gaps(run)  # type: ignore[arg-type]  # the rows are all that is looked at
    assert [(g.explainer, g.replicate) for g in found] == [
        ("lime", 0), ("lime", 1), ("grad_cam", 0), ("grad_cam", 1)
    ]  # fmt: skip
    ok = run.rows[run.rows.picture != f"film-{PATIENTS - 1}"]
    patients = ok[(ok.explainer == "lime") & (ok.replicate == 0) & (ok.region == "column") & (ok.classifier == HONEST)]
    patients = patients.sort_values("picture").patient.to_numpy()
    for gap in found:
        honest, cheat = by_hand(ok, gap.explainer, gap.replicate)
        assert gap.difference == paired_difference(honest, cheat, patients)
        assert gap.difference.n == PATIENTS - 1
    assert [g.p_holm for g in found] == holm(np.array([g.difference.p for g in found])).tolist()


def test_a_gap_reveals_only_with_interval_and_corrected_p(run: SimpleNamespace) -> None:
    gap = gaps(run)[0]  # type: ignore[arg-type]  # the same
    clear = replace(gap.difference, low=0.01)
    assert Gap("lime", 0, clear, 0.049).reveals
    assert not Gap("lime", 0, clear, 0.05).reveals
    assert not Gap("lime", 0, replace(clear, low=0.0), 0.001).reveals
    assert not Gap("lime", 0, replace(clear, low=-0.3, high=-0.1, mean=-0.2), 0.001).reveals  # the wrong direction


def test_revelation_shows_shares_and_a_verdict(run: SimpleNamespace) -> None:
    table = revelation(run)  # type: ignore[arg-type]  # the same
    (group,) = table.groups
    verdicts = {row[0].text: row[-1].text for row in group.rows}
    family = gaps(run)  # type: ignore[arg-type]  # the same
    lime = [g for g in family if g.explainer == "lime"]
    assert all(g.difference.low > 0 for g in lime)
    told = sum(g.reveals for g in lime)
    assert verdicts == {"lime": "yes" if told == 2 else f"{told} of 2 pairs", "grad cam": "0 of 2 pairs"}
    ok = run.rows[(run.rows.status == "ok") & (run.rows.explainer == "lime")]
    wanted = [
        ok[(ok.classifier == c) & (ok.region == r)].score.mean()
        for c, r in ((HONEST, "column"), (CHEAT, "column"), (CHEAT, "marker"))
    ]
    row = cells(table)["lime"]
    assert [c["value"] for c in row[:3]] == pytest.approx(wanted)
    assert [c["difference"] for c in row[3:5]] == [g.difference.mean for g in lime]
    assert group.rows[0][-2].text == str(PATIENTS - 1)


def test_an_explainer_with_enough_patients_is_said_to_reveal() -> None:
    rows = masses(lime=0.2)
    rows["patient"] = rows.picture  # a patient a film: enough for a small p
    table = revelation(SimpleNamespace(rows=rows))  # type: ignore[arg-type]  # the same
    assert table.groups[0].rows[0][-1].text == "yes"


def test_the_bar_of_maps_that_never_saw_the_model() -> None:
    rows = masses(lime=0.2, grad_cam=-0.2, random_map=0.0)
    (said,) = controls(SimpleNamespace(rows=rows))  # type: ignore[arg-type]  # the same
    bar = rows[(rows.explainer == "random_map") & (rows.classifier == HONEST) & (rows.region == "column")].score.mean()
    assert f"(random map) has {bar:.2f} of its relevance on the spine" in said
    assert "on the honest twin lime lie above it and grad cam do not reach it." in said
    assert controls(SimpleNamespace(rows=masses(lime=0.2))) == ()  # type: ignore[arg-type]  # no control, no bar


def test_stability_reads_twins_and_the_null() -> None:
    def line(classifier: str, other: str | None, score: str, value: float) -> dict[str, object]:
        who = {"summary": "retrain_stability", "explainer": "lime", "classifier": classifier}
        return who | {"other_classifier": other, "score_name": score, "value": value, "low": value - 0.1,
                      "high": value + 0.1}  # fmt: skip

    found = pd.DataFrame([
        line(HONEST, None, "spearman", 0.8), line(HONEST, None, "spearman_null", 0.1),
        line(CHEAT, None, "spearman", np.nan), line(CHEAT, None, "spearman_null", np.nan),
        line(HONEST, CHEAT, "spearman", 0.3), line(HONEST, CHEAT, "spearman_null", 0.2),
    ])  # fmt: skip

    @dataclass(frozen=True)
    class Method:
        family = "perturbation"

    @dataclass(frozen=True)
    class Noise:
        family = "control"

    chosen = (SimpleNamespace(label="lime", plugin=Method()), SimpleNamespace(label="noise", plugin=Noise()))
    table = stability(SimpleNamespace(summaries=found, study=SimpleNamespace(explainers=chosen)))  # type: ignore[arg-type]
    assert cells(table) == {"lime": [{"value": 0.8, "null": 0.1}, {}, {"value": 0.3, "null": 0.2}]}
    first = table.groups[0].rows[0][1]
    assert "0.80 [0.70, 0.90]" in first.text and "null 0.10 [0.00, 0.20]" in first.small


def test_only_the_marker_differs_between_the_kinds_of_films() -> None:
    budget = Demo(height=64, width=50, test_films=8)
    kinds = {marker: budget.films(marker, 4).samples("test") for marker in ("random", "leaking", "wrong")}
    assert len({tuple((s.id, s.patient, s.labels["diagnosis"]) for s in films) for films in kinds.values()}) == 1
    changed = 0
    for leaking, wrong in zip(kinds["leaking"], kinds["wrong"], strict=True):
        marker = np.zeros((64, 50), bool)
        for sample in (leaking, wrong):
            marker |= next(r.mask for k, r in sample.read_regions().items() if k.name == "marker")
        a, b = leaking.read_image(), wrong.read_image()
        assert np.array_equal(a[~marker], b[~marker])
        changed += not np.array_equal(a[marker], b[marker])
    assert changed == len(kinds["wrong"])


def test_a_tiny_demo_runs_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "cores", lambda: 1)  # one process
    once = Training(epochs=1, batch_size=8)
    budget = Demo(height=64, width=50, honest_films=16, cheat_films=16, test_films=8, seeds=(0,), honest=once,
                  cheat=once, sampled_films=1, samples=8)  # fmt: skip
    done = run_demo(tmp_path, Progress(quiet=True), budget)
    tables = [part.name for part in done.story if isinstance(part, Table)]
    assert tables == ["reliance", "revelation", "twins"] and "Which one can be trusted" in done.story[0]
    assert set(done.rows.status) <= {"ok", "excluded"} and set(done.rows.classifier) == {HONEST, CHEAT}
    shown = next(part for part in done.story if isinstance(part, Table))
    row = cells(shown)[CHEAT]
    cheat = done.predictions[done.predictions.classifier == CHEAT]
    assert row[1]["value"] == pytest.approx((cheat.label == cheat.prediction).mean())
