"""The target rule and the fixed order of explained films."""

import pandas as pd

from xai_bench.classifiers.classifier import Classifier
from xai_bench.running.targets import Request, carries_finding, class_name, explained_order, label_targets, requests
from xai_bench.samples import Fixed
from xai_bench.study import Given, Study


def predicted(films: Fixed, wrong: str) -> pd.DataFrame:
    rows = []
    for s in films.samples("test"):
        truth = label_targets(films.heads, s)["side"]
        rows.append({"picture": s.id, "head": "side", "target": 1 - truth if s.id == wrong else truth})
    return pd.DataFrame(rows)


def test_a_wrong_film_gets_two_maps_and_a_right_one_is_shared(side_films: Fixed, side_classifier: Classifier) -> None:
    study = Study("s", side_films, (Given("g", side_classifier),))
    samples = {s.id: s for s in side_films.samples("test")}
    found = requests(study, side_films.heads, samples, predicted(side_films, "film-033"))
    assert len(found) == 17
    assert {r for r in found if r.picture == "film-033"} == {
        Request("film-033", 1, ("label",)),
        Request("film-033", 0, ("predicted",)),
    }
    assert {r.rules for r in found if r.picture != "film-033"} == {("label", "predicted")}


def test_films_without_a_finding_are_not_scored_for_alignment_and_come_last(
    side_films: Fixed, side_classifier: Classifier
) -> None:
    films = Fixed(side_films.splits, side_films.heads, {"side": ("right",)}, side_films.regions)
    study = Study("s", films, (Given("g", side_classifier),))
    samples = {s.id: s for s in films.samples("test")}
    found = requests(study, films.heads, samples, predicted(films, ""))
    rules = {r.picture: r.rules for r in found}
    for s in samples.values():
        assert rules[s.id] == (("label", "predicted") if s.labels["side"] == "right" else ("predicted",))
    order = [samples[i].labels["side"] for i in explained_order(films, list(samples.values()), 0)]
    assert order == ["right"] * 8 + ["left"] * 8


def test_an_unlabeled_film_is_explained_for_its_prediction_only(side_films: Fixed, side_classifier: Classifier) -> None:
    from dataclasses import replace

    bare = {**side_films.splits, "test": tuple(replace(s, labels={"side": None}) for s in side_films.splits["test"])}
    films = Fixed(bare, side_films.heads, {}, side_films.regions)
    samples = {s.id: s for s in films.samples("test")}
    frame = pd.DataFrame([{"picture": i, "head": "side", "target": 0} for i in samples])
    found = requests(Study("s", films, (Given("g", side_classifier),)), films.heads, samples, frame)
    assert {r.rules for r in found} == {("predicted",)}


def test_classes_are_named_across_heads(side_films: Fixed) -> None:
    assert [class_name((*side_films.heads, *side_films.heads), n) for n in range(4)] == [
        "left",
        "right",
        "left",
        "right",
    ]


def test_without_declared_findings_every_film_is_explained(side_films: Fixed) -> None:
    films = Fixed(side_films.splits, side_films.heads, {"side": ()}, side_films.regions)
    assert all(carries_finding(films, s) for s in films.samples("test"))
