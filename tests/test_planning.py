"""A plan is the run's own flow without its work: the same keys, every state with its reason, nothing changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HEADS, small_film
from store_cases import QUIET, Broken, Confidence, Gray, Inside, small_study

from xai_bench import environment
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.small_cnn import SmallCNN
from xai_bench.classifiers.training import Training
from xai_bench.inputs import Input, Resize
from xai_bench.planning.plan import Plan, grid, plan
from xai_bench.running import cells
from xai_bench.running.benchmark import evaluate
from xai_bench.running.workbench import Counter
from xai_bench.samples import Fixed
from xai_bench.store.store import Store
from xai_bench.study import Chosen, Study, Trained


def states(found: Plan, kind: str) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(x.method, x.state, x.why) for x in found.lookups if x.kind == kind]


def stored(store: Store) -> set[tuple[str, str]]:
    return {(kind, key) for kind in store.kinds() for key in store.cells(kind)}


def whole(films: Fixed, classifier: Classifier, **changes: Any) -> Study:
    """With all that has keys of its own: a tuned metric, shuffled scores, a fitted explainer, a summary, repeats."""
    return small_study(
        films, classifier,
        explainers=(Chosen(Gray(), "gray"), "mean_region", {"name": "random_map", "repeats": 2, "pictures": 6}),
        metrics=(Chosen(Inside(), "inside"), Chosen(Confidence(), "confidence"), "iou_tuned", "relevance_mass"),
        summaries=("shuffled",), **changes,
    )  # fmt: skip


def test_a_finished_study_asks_for_exactly_the_cells_in_the_store(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    work, store = whole(side_films, side_classifier, precision="auto"), Store.at(tmp_path)
    evaluate(work, store=store, progress=QUIET)
    for contents in (False, True):
        found = plan(work, store, contents=contents)
        assert {(x.kind, x.key) for x in found.lookups} == stored(store)
        assert found.complete and {x.state for x in found.lookups} == {"done"} and found.count("waiting") == 0
    assert {x.kind for x in found.lookups} == {"predictions", "fitted", "maps", "tuned", "scores", "summaries"}


def test_it_computes_nothing_and_changes_nothing(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    work, store = whole(side_films, side_classifier), Store.at(tmp_path)
    with Counter().on(side_classifier) as count:
        assert not plan(work, Store(tmp_path / "none")).complete and not (tmp_path / "none").exists()
        assert count.evaluations == 0
    evaluate(work, store=store, progress=QUIET)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    with Counter().on(side_classifier) as count:
        plan(replace(work, batch_size=4), store)
        assert count.evaluations == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_before_anything_is_predicted_the_rest_waits_and_is_counted(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    work, store = small_study(side_films, side_classifier, summaries=("shuffled",)), Store.at(tmp_path)
    found = plan(work, store)
    assert states(found, "predictions") == [("", "missing", ())]
    assert states(found, "maps") == [("gray", "waiting", ("predictions",)), ("gray3", "waiting", ("predictions",))]
    assert len(states(found, "scores")) == 4 and states(found, "summaries") == [("shuffled", "waiting", ("scores",))]
    evaluate(replace(work, summaries=()), store=store, progress=QUIET)
    again = plan(replace(work, summaries=()), store)
    assert len(again.lookups) == len(found.lookups) - 1  # every film is right: label and prediction are one request


def test_a_changed_field_makes_its_cells_stale_and_says_which(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    store = Store.at(tmp_path)
    evaluate(small_study(side_films, side_classifier), store=store, progress=QUIET)
    changed = small_study(
        side_films, side_classifier, explainers=(Chosen(Gray(), "gray"), Chosen(Gray(5), "gray3")),
        metrics=(Chosen(Inside(2.0), "inside"), Chosen(Confidence(), "confidence")),
    )  # fmt: skip
    found, field = plan(changed, store), "field power: 1.0, now 2.0"
    assert states(found, "maps") == [("gray", "done", ()), ("gray3", "stale", ("field calls: 3, now 5",))]
    assert states(found, "scores") == [
        ("gray, inside", "stale", (field,)), ("gray, confidence", "done", ()),
        ("gray3, inside", "stale", (field, "the maps it scores")),
        ("gray3, confidence", "stale", ("the maps it scores",)),
    ]  # fmt: skip
    (old,) = [x.old for x in found.lookups if x.kind == "maps" and x.state == "stale"]
    assert old in store.cells("maps") and not found.complete


def test_weights_data_code_and_batch_size_are_named(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, store = small_study(side_films, side_classifier), Store.at(tmp_path)
    evaluate(work, store=store, progress=QUIET)

    def first(changed: Study) -> tuple[str, ...]:
        return next(x.why for x in plan(changed, store).lookups if x.state == "stale")

    assert first(replace(work, batch_size=4)) == ("batch: 8, now 4",)
    other = tuple(replace(s, digest=f"new {s.digest}") for s in side_films.splits["test"])
    films = replace(side_films, splits={**side_films.splits, "test": other})
    assert first(replace(work, dataset=films))[0].startswith("data: films with the same names have other pixels")
    with monkeypatch.context() as patch:
        real = cells.code_of
        patch.setattr(cells, "code_of", lambda *things: {**real(*things), "xai_bench.saliency": "other"})
        assert first(work) == ("code of xai_bench.saliency",)
    with torch.no_grad():
        side_classifier.model.features.bias += 0.01  # type: ignore[operator,union-attr]  # the test's own model
    assert first(work) == ("weights",)


def test_other_pictures_are_missing_and_not_stale(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    work, store = small_study(side_films, side_classifier), Store.at(tmp_path)
    evaluate(replace(work, limit=4), store=store, progress=QUIET)
    found = plan(work, store)
    assert {x.state for x in found.lookups if x.kind in ("maps", "scores")} == {"missing"}


def test_a_lost_cell_is_missing_and_a_damaged_one_stays_where_it_is(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    work, store = small_study(side_films, side_classifier), Store.at(tmp_path)
    evaluate(work, store=store, progress=QUIET)
    lost, damaged, *_ = [x for x in plan(work, store).lookups if x.kind == "scores"]
    store.delete("scores", lost.key)
    file = store.folder("scores", damaged.key) / "receipt.json"
    file.write_bytes(file.read_bytes().replace(b"float32", b"float23"))
    found = {x.key: x for x in plan(work, store).lookups}
    assert (found[lost.key].state, found[lost.key].why) == ("missing", ())
    assert (found[damaged.key].state, found[damaged.key].why) == ("damaged", ("receipt.json is damaged",))
    assert damaged.key in store.cells("scores")


def test_failed_and_skipped_cells_have_their_reasons(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    chosen = (Chosen(Broken(), "broken"), Chosen(Broken(unfit=True), "unfit"), Chosen(Gray(), "gray"))
    bare = {k: tuple(replace(s, read_regions=dict) for s in v) for k, v in side_films.splits.items()}
    work = small_study(replace(side_films, splits=bare), side_classifier, explainers=chosen)
    store = Store.at(tmp_path)
    evaluate(work, store=store, progress=QUIET)
    found = plan(work, store)
    failed, unfit = ("ZeroDivisionError: division by zero",), ("it needs attention weights",)
    assert states(found, "maps") == [("broken", "failed", failed), ("unfit", "skipped", unfit), ("gray", "done", ())]
    scores = {method: (state, why) for method, state, why in states(found, "scores")}
    assert scores["broken, inside"] == ("failed", failed) and scores["unfit, confidence"] == ("skipped", unfit)
    assert (
        scores["gray, inside"][0] == "skipped" and "no picture has a reference region" in scores["gray, inside"][1][0]
    )
    assert found.complete
    store.forget_failures()
    again = plan(work, store)
    assert [s for _, s, _ in states(again, "maps")] == ["missing", "missing", "done"] and not again.complete


def test_other_versions_are_said_and_the_cell_is_still_done(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, store = small_study(side_films, side_classifier), Store.at(tmp_path)
    evaluate(work, store=store, progress=QUIET)
    now = environment._installed()
    monkeypatch.setattr(environment, "_installed", lambda: {**now, "torch": "99"})
    found = plan(work, store)
    assert found.complete
    assert {x.why for x in found.lookups} == {(f"environment: torch {now['torch']}, now 99",)}


def test_a_mode_that_is_not_checked_yet_keeps_its_maps_waiting(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    lime = {"name": "lime", "samples": 8, "pictures": 2, "segmentation": "grid(4)"}
    work = small_study(side_films, side_classifier, explainers=(Chosen(Gray(), "gray"), lime), precision="auto")
    store = Store.at(tmp_path)
    evaluate(replace(work, explainers=work.explainers[:1]), store=store, progress=QUIET)
    found, waits = plan(work, store), ("the check of its numerical mode",)
    assert states(found, "modes") == [("lime", "missing", ())]
    assert states(found, "maps") == [("gray", "done", ()), ("lime", "waiting", waits)]
    scores = {method: state for method, state, _ in states(found, "scores")}
    assert scores["gray, inside"] == "done" and scores["lime, inside"] == scores["lime, confidence"] == "waiting"


def test_what_waits_for_training_does_not_hide_the_other_twin(tmp_path: Path) -> None:
    splits = {"train": range(8), "validation": (20, 22), "test": range(40, 44)}
    films = Fixed({k: tuple(small_film(n) for n in v) for k, v in splits.items()}, HEADS, {}, ("square",))
    twins = Trained("net", SmallCNN(width=8), Training(epochs=1, batch_size=4), (0, 1))
    work = Study("twins", films, (twins,), (Chosen(Gray(), "gray"),), (Chosen(Inside(), "inside"),), batch_size=4,
                 reader=Input(Resize(32, 32)))  # fmt: skip
    store = Store.at(tmp_path)
    evaluate(work, store=store, progress=QUIET)
    first = next(x for x in plan(work, store).lookups if x.kind == "train")
    store.delete("train", first.key)
    lines = grid(plan(work, store)).set_index(["kind", "classifier"])
    assert lines.loc[("train", "net, seed 0"), "missing"] == 1
    for kind in ("predictions", "maps", "scores"):
        assert lines.loc[(kind, "net, seed 0"), "waiting"] == lines.loc[(kind, "net, seed 1"), "done"] == 1
    assert lines.loc[("maps", "net, seed 0"), "why"] == "training"
    store.fail("train", first.key, first.label, "failed", "its worker died 3 times")
    found = [x for x in plan(work, store).lookups if x.classifier == "net, seed 0"]
    assert [x.kind for x in found] == ["train", "predictions", "maps", "scores"]
    assert {(x.state, x.why) for x in found} == {("failed", ("its worker died 3 times",))}
    longer = replace(work, classifiers=(replace(twins, training=Training(epochs=2, batch_size=4)),))
    assert [x.why for x in plan(longer, store).lookups if x.state == "stale"] == [("training.epochs: 1, now 2",)]
