"""A study end to end on small films: rows, resume, keys, failures; work is counted, not assumed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from store_cases import QUIET, Broken, Confidence, Gray, small_study
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Batch, Case, Evidence, Reason, Result, ScoreInfo, SummaryRow, TrainingData
from xai_bench.running.benchmark import evaluate
from xai_bench.running.rows import ROWS
from xai_bench.running.workbench import Counter
from xai_bench.samples import Fixed, Head, Sample
from xai_bench.store.store import Store, StoreWarning
from xai_bench.study import Chosen, Study


@dataclass(frozen=True)
class Inside:
    """Mean relevance inside the region; one film is excluded by name."""

    needs_region = True
    scores = {"inside": ScoreInfo("higher", headline=True)}  # noqa: RUF012 - a class constant

    def __call__(self, case: Case) -> Result:
        region = case.region
        assert region is not None
        value = (case.saliency * region).sum((1, 2)) / region.sum((1, 2))
        out = torch.tensor([i == "film-033" for i in case.batch.ids])
        reasons = tuple(Reason("excluded", "by name") if o else None for o in out.tolist())
        return Result({"inside": torch.where(out, torch.nan, value)}, reasons)


@dataclass(frozen=True)
class Films:
    """How many films there are; fails, does not fit, or has nothing to say where it is asked to."""

    what: str = "counts"

    def __call__(self, evidence: Evidence) -> list[SummaryRow]:
        if self.what == "fails":
            raise ZeroDivisionError("division by zero")
        if self.what == "unfit":
            raise Unfit("there is one classifier only")
        n = evidence.predictions.picture.nunique()
        row = SummaryRow("films", "count", "", "given", None, float(n), None, None, n)
        return [] if self.what == "silent" else [row]


def study(films: Fixed, classifier: Classifier, **changes: object) -> Study:
    metrics = (Chosen(Inside(), "inside"), Chosen(Confidence(), "confidence"))
    return small_study(films, classifier, **{"metrics": metrics} | changes)


def counted(work: Study, store: Path) -> tuple[int, pd.DataFrame]:
    counter = Counter()
    classifier = work.classifiers[0].classifier  # type: ignore[union-attr]  # Given
    with counter.on(classifier):
        run = evaluate(work, store=store, progress=QUIET)
    return counter.evaluations, run.rows


def test_rows_are_tidy_and_complete(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    _, rows = counted(study(side_films, side_classifier), tmp_path)
    assert list(rows.columns) == ROWS
    assert len(rows) == 2 * 2 * 16
    assert set(rows.status) == {"ok", "excluded"}
    out = rows[rows.status == "excluded"]
    assert set(out.picture) == {"film-033"} and set(out.reason) == {"by name"} and out.score.isna().all()
    inside = rows[(rows.metric == "inside") & (rows.explainer == "gray")].set_index("picture")
    sample = {s.id: s for s in side_films.samples("test")}["film-034"]
    (mask,) = [r.mask for r in sample.read_regions().values()]
    assert inside.score["film-034"] == pytest.approx(sample.read_image()[mask].mean() / 255, abs=1e-5)
    assert set(rows[rows.metric == "inside"].target_rule) == {"label"}
    assert set(rows[rows.metric == "confidence"].target_rule) == {"predicted"}


def test_a_map_is_made_once_for_both_rules_and_a_second_run_makes_none(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    first, rows = counted(study(side_films, side_classifier), tmp_path)
    # 16 predictions, 16 maps at 1 and at 3 calls, the confidence metric on both: every film is right, so that the label
    # is the prediction.
    assert first == 16 + 16 + 48 + 32
    again, same = counted(study(side_films, side_classifier), tmp_path)
    assert again == 0
    pd.testing.assert_frame_equal(rows, same)


def test_one_changed_field_recomputes_that_explainer_only(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    counted(study(side_films, side_classifier), tmp_path)
    changed = study(side_films, side_classifier, explainers=(Chosen(Gray(), "gray"), Chosen(Gray(5), "gray3")))
    evaluations, _ = counted(changed, tmp_path)
    assert evaluations == 5 * 16 + 16


def test_one_deleted_cell_recomputes_that_cell_only(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    _, rows = counted(study(side_films, side_classifier), tmp_path)
    store = Store.at(tmp_path)
    by_evaluations = {store.get("maps", k).receipt["evaluations"]: k for k in store.cells("maps")}  # type: ignore[union-attr]
    store.delete("maps", by_evaluations[48])
    evaluations, same = counted(study(side_films, side_classifier), tmp_path)
    assert evaluations == 48
    pd.testing.assert_frame_equal(rows, same)


def test_a_damaged_cell_is_said_and_computed_again(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    _, rows = counted(study(side_films, side_classifier), tmp_path)
    store = Store.at(tmp_path)
    file = store.folder("scores", store.cells("scores")[0]) / "rows.parquet"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.warns(StoreWarning, match="damaged"):
        _, same = counted(study(side_films, side_classifier), tmp_path)
    pd.testing.assert_frame_equal(rows, same)


def test_a_killed_run_resumes_and_shows_no_half_cell(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = counted(study(side_films, side_classifier), tmp_path / "whole")
    calls = 0

    def stops(self: Gray, classifier: Classifier, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:  # in the middle of the second explainer's only block
            raise KeyboardInterrupt
        return batch.images.mean(1)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Gray, "__call__", stops)
        counted(study(side_films, side_classifier), tmp_path / "killed")
    assert len(Store.at(tmp_path / "killed").cells("maps")) == 1
    _, resumed = counted(study(side_films, side_classifier), tmp_path / "killed")
    pd.testing.assert_frame_equal(whole, resumed)


def test_a_failing_explainer_does_not_end_the_run(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    chosen = (Chosen(Broken(), "broken"), Chosen(Broken(unfit=True), "unfit"), Chosen(Gray(), "gray"))
    _, rows = counted(study(side_films, side_classifier, explainers=chosen), tmp_path)
    blame = rows[rows.status.isin(["failed", "skipped"])].drop_duplicates(["explainer", "metric"])
    assert blame.groupby("explainer").status.first().to_dict() == {"broken": "failed", "unfit": "skipped"}
    assert blame.groupby("explainer").reason.first().to_dict() == {
        "broken": "ZeroDivisionError: division by zero",
        "unfit": "it needs attention weights",
    }
    assert (rows[rows.explainer == "gray"].status != "failed").all()


def test_a_failing_summary_is_a_row_with_its_reason_and_the_others_go_on(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tuple(Films(what) for what in ("fails", "unfit", "silent", "counts"))
    work, store = study(side_films, side_classifier, summaries=asked), Store.at(tmp_path)
    run = evaluate(work, store=store, progress=QUIET)
    assert run.summaries.value.tolist() == [16.0] and run.summaries.exclusions.tolist() == [{}]
    assert run.unsummarized.to_dict("records") == [
        {"summary": "Films", "status": "failed", "reason": "ZeroDivisionError: division by zero"},
        {"summary": "Films", "status": "skipped", "reason": "there is one classifier only"},
    ]
    assert run.failures == ["summary Films: ZeroDivisionError: division by zero"]
    monkeypatch.setattr(Films, "__call__", lambda *_: [])
    assert evaluate(work, store=store, progress=QUIET).failures == run.failures  # it is remembered
    assert store.forget_failures() == 1  # what did not fit was tried again by itself
    assert evaluate(work, store=store, progress=QUIET).failures == []


def test_what_is_fitted_on_regions_has_them_in_its_key(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    both = replace(side_films, regions=(*side_films.regions, "other"))
    found = []
    for regions in (side_films.regions, ("other", *side_films.regions)):
        chosen = (Chosen(Covered(), "covered"),)
        run = evaluate(study(both, side_classifier, regions=regions, explainers=chosen), store=tmp_path, progress=QUIET)
        ((block,),) = run.maps.values()
        found.append(float(block.saliency.max()))
    assert found[0] > 0 and found[1] == 0  # nobody has drawn the other one


@dataclass(frozen=True)
class Covered:
    """The share of training films whose first region covers a pixel."""

    state: Mapping[str, Tensor] | None = None

    def fit(self, classifier: Classifier, training: TrainingData) -> "Covered":
        parts = [next(iter(regions.values())).float() for _, regions in training]
        return replace(self, state={"mean": torch.cat(parts).mean(0)})

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        assert self.state is not None
        return self.state["mean"].expand(len(batch), *batch.images.shape[2:]).clone()


def test_subsets_are_nested_and_limited(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    chosen = (Chosen(Gray(), "all"), Chosen(Gray(2), "six", 6))
    metrics = (Chosen(Inside(), "inside"), Chosen(Confidence(), "confidence", 4))
    _, rows = counted(study(side_films, side_classifier, explainers=chosen, metrics=metrics), tmp_path)
    found = {k: set(g.picture) for k, g in rows.groupby(["explainer", "metric"])}
    assert {k: len(v) for k, v in found.items()} == {
        ("all", "inside"): 16, ("all", "confidence"): 4, ("six", "inside"): 6, ("six", "confidence"): 4,
    }  # fmt: skip
    assert found["six", "confidence"] == found["all", "confidence"] < found["six", "inside"]
    labels = {s.id: s.labels["side"] for s in side_films.samples("test")}
    assert sorted(labels[i] for i in found["six", "inside"]) == ["left"] * 3 + ["right"] * 3
    _, few = counted(study(side_films, side_classifier, limit=2), tmp_path)
    assert few.picture.nunique() == 2


def test_no_region_at_all_is_skipped_with_its_reason(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    bare = {k: tuple(replace(s, read_regions=dict) for s in v) for k, v in side_films.splits.items()}
    _, rows = counted(study(replace(side_films, splits=bare), side_classifier), tmp_path)
    inside = rows[rows.metric == "inside"]
    assert set(inside.status) == {"skipped"} and "no picture has a reference region" in inside.reason.iloc[0]
    assert set(rows[rows.metric == "confidence"].status) == {"ok"}


def test_a_model_that_returns_nan_is_invalid_rows_not_a_crash(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    class Sick(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), torch.nan)

    sick = Classifier(Sick(), side_classifier.heads, reader=side_classifier.reader)
    run = evaluate(study(side_films, sick), store=tmp_path, progress=QUIET)
    assert set(run.predictions.status) == {"invalid"}
    assert "NaN" in run.predictions.reason.iloc[0]
    assert len(run.rows) == 0


def test_an_unreadable_film_is_invalid_and_the_others_go_on(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    def unreadable() -> None:
        raise BadInput("picture 'film-032' is empty; replace or remove it.")

    first, *rest = side_films.splits["test"]
    films = replace(side_films, splits={**side_films.splits, "test": (replace(first, read_image=unreadable), *rest)})
    run = evaluate(study(films, side_classifier), store=tmp_path, progress=QUIET)
    bad = run.predictions[run.predictions.status == "invalid"]
    assert bad.picture.tolist() == ["film-032"] and bad.reason.tolist() == [
        "picture 'film-032' is empty; replace or remove it."
    ]
    assert run.rows.picture.nunique() == 15


def test_a_leaking_split_is_refused(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    leaking = {
        **side_films.splits,
        "test": (*side_films.splits["test"], replace(side_films.splits["train"][0], id="copy")),
    }
    with pytest.raises(BadInput, match="1 of 24 patients have films in more than one split"):
        evaluate(study(replace(side_films, splits=leaking), side_classifier), store=tmp_path, progress=QUIET)


def test_a_label_outside_the_classes_is_one_sentence(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    odd: tuple[Sample, ...] = tuple(replace(s, labels={"side": "middle"}) for s in side_films.splits["test"])
    films = replace(side_films, splits={**side_films.splits, "test": odd}, findings={})
    with pytest.raises(BadInput, match="labeled 'middle'; head 'side' has the classes left, right"):
        evaluate(study(films, side_classifier), store=tmp_path, progress=QUIET)


def test_targets_can_be_overridden(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    from xai_bench.study import Target

    _, rows = counted(study(side_films, side_classifier, target=Target("left")), tmp_path)
    assert set(rows.target) == {"left"} and set(rows.target_rule) == {"left"}
    with pytest.raises(BadInput, match="'up' is neither 'predicted', 'label' nor a class"):
        evaluate(study(side_films, side_classifier, target=Target("up")), store=tmp_path, progress=QUIET)


def test_weights_are_part_of_the_key(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    counted(study(side_films, side_classifier), tmp_path)
    with torch.no_grad():
        side_classifier.model.features.bias += 0.01  # type: ignore[operator,union-attr]  # the test's own model
    evaluations, _ = counted(study(side_films, side_classifier), tmp_path)
    assert evaluations == 16 + 16 + 48 + 32


def test_heads_beyond_the_first_are_explained_on_request(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    from xai_bench.study import Target

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = side_classifier.model

        def forward(self, x: Tensor) -> Tensor:
            z = self.inner(x)
            return torch.cat([z, -z], 1)

    heads = (*side_classifier.heads, Head("other", ("dark_left", "dark_right")))
    both = Classifier(Two(), heads, reader=side_classifier.reader)
    _, rows = counted(
        study(side_films, both, target=Target("predicted", "other"), metrics=(Chosen(Confidence(), "c"),)), tmp_path
    )
    assert set(rows["head"]) == {"other"} and set(rows.target) == {"dark_left", "dark_right"}
