"""The confusion of levels: shares by offset, films and not twins as samples, exclusions counted, intervals."""

import numpy as np
import pandas as pd
import pytest
from xai_bench_metrics.level import ABOVE, BELOW
from xai_bench_metrics.level_confusion import COLUMNS, LevelConfusion

from xai_bench.protocols import ClassifierCard, Evidence
from xai_bench.statistics import interval


def evidence(rows: list[dict[str, object]], explainers=("grad_cam",), seed: int = 0) -> Evidence:
    cards = tuple(ClassifierCard("cnn", n, n, "fine_tuning", None, "cnn", f"w{n}", 0.9) for n in range(2))
    names = ["classifier", "explainer", "metric", "region", "reference", "picture", "patient", "replicate", "target",
             "score_name", "status", "reason", "score"]  # fmt: skip
    return Evidence(
        rows=pd.DataFrame(rows, columns=names), predictions=pd.DataFrame(), cards=cards,
        explainers=dict.fromkeys(explainers), maps=lambda *_: {}, samples=lambda _: (), seed=seed,
    )  # fmt: skip


def lines(picture: str, shares: dict[str, float], replicate: int = 0, explainer: str = "grad_cam", **changes: object):
    """The rows of one film: the named shares, all others 0, and the scores that are no share."""
    values = dict.fromkeys(COLUMNS, 0.0) | shares | {"level_error": 1.0, "level_wrong": 1 - shares.get("level_hit", 0)}
    where = {"classifier": "cnn", "explainer": explainer, "metric": "level", "region": "R1", "reference": "derived",
             "picture": picture, "patient": picture[:-1], "replicate": replicate, "target": "scoliosis",
             "status": "ok", "reason": ""}  # fmt: skip
    return [where | {"score_name": name, "score": value} | changes for name, value in values.items()]


def by_name(rows, explainer: str = "grad_cam"):
    return {row.score_name: row for row in rows if row.explainer == explainer}


def test_columns_run_from_the_top_of_the_spine_to_the_bottom() -> None:
    assert (*ABOVE[::-1], "level_hit", *BELOW, "outside_spine") == COLUMNS


def test_shares_of_films_with_their_intervals() -> None:
    where = ["level_hit"] * 4 + ["one_above", "three_or_more_below", "outside_spine", "outside_spine"]
    films = [f"p{n // 2}{'ab'[n % 2]}" for n in range(8)]
    found = LevelConfusion()(evidence([r for f, w in zip(films, where, strict=True) for r in lines(f, {w: 1.0})]))
    assert [row.score_name for row in found] == list(COLUMNS)
    for row in found:
        hits = np.array([float(w == row.score_name) for w in where])
        expected = interval(hits, [f[:-1] for f in films], True, seed=0)
        assert (row.value, row.n, row.metric, row.region, row.reference) == (hits.mean(), 8, "level", "R1", "derived")
        assert (row.low, row.high) == (expected.low, expected.high)
        assert row.low < row.high, "never of zero width, not even for a share of 0"
    assert sum(row.value for row in found) == pytest.approx(1)
    directions = {row.score_name: row.better for row in found}
    assert directions == dict.fromkeys(COLUMNS) | {"level_hit": "higher", "outside_spine": "lower"}


def test_a_film_counts_once_whatever_its_twins() -> None:
    rows = [*lines("p0a", {"level_hit": 1.0}), *lines("p0a", {"one_below": 1.0}, 1), *lines("p1a", {"level_hit": 1.0})]
    found = by_name(LevelConfusion()(evidence(rows)))
    assert (found["level_hit"].value, found["one_below"].value, found["level_hit"].n) == (0.75, 0.25, 2)
    assert "conditional on 2 classifiers" in found["level_hit"].note


def test_films_without_a_level_are_left_out_and_counted() -> None:
    rows = lines("p0a", {"level_hit": 1.0}) + lines("p1a", {"two_above": 1.0})
    for name in ("p2a", "p3a"):
        gone = lines(name, {}, status="excluded", reason="region touches no vertebra or disc", score=float("nan"))
        rows += [r if r["score_name"] != "outside_spine" else r | {"status": "ok", "score": 1.0} for r in gone]
    found = by_name(LevelConfusion()(evidence(rows)))
    assert found["level_hit"].n == 2 and found["outside_spine"].value == 0
    assert found["level_hit"].exclusions == {"region touches no vertebra or disc": 2}


def test_each_region_reference_and_explainer_has_its_own_rows() -> None:
    rows = lines("p0a", {"level_hit": 1.0}) + lines("p0a", {"one_above": 1.0}, reference="reader")
    rows += lines("p0a", {"two_below": 1.0}, explainer="lime") + lines("p0a", {"one_below": 1.0}, region="R2")
    found = LevelConfusion()(evidence(rows, ("grad_cam", "lime")))
    most = {(r.explainer, r.region, r.reference): r.score_name for r in found if r.value == 1}
    assert most == {
        ("grad_cam", "R1", "derived"): "level_hit", ("grad_cam", "R1", "reader"): "one_above",
        ("lime", "R1", "derived"): "two_below", ("grad_cam", "R2", "derived"): "one_below",
    }  # fmt: skip


def test_who_has_no_scores_is_said() -> None:
    bad = lines("p0a", {}, status="invalid", reason="map holds NaN", score=float("nan"))
    found = LevelConfusion()(evidence(bad, ("grad_cam", "lime")))
    assert {row.explainer for row in found} == {"grad_cam", "lime"}
    assert all(row.value != row.value and row.n == 0 and row.low is None for row in found)
    assert by_name(found)["level_hit"].exclusions == {"map holds NaN": 1}
    assert by_name(found, "lime")["level_hit"].note == "no scores of the metric level in this study"
