"""What is exported is what the run has: equal rows in Parquet and CSV, and every map."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from store_cases import QUIET, small_study

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.planning.export import export
from xai_bench.planning.plan import plan
from xai_bench.running.benchmark import evaluate
from xai_bench.running.rows import ROWS
from xai_bench.samples import Fixed
from xai_bench.store.store import Store


def test_tables_and_maps_are_those_of_the_run(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    work, store = small_study(side_films, side_classifier), Store.at(tmp_path / "run")
    run = evaluate(work, store=store, progress=QUIET)
    found = plan(work, store, contents=True)
    written = export(found, tmp_path / "out", maps=True)
    assert [p.name for p in written[:3]] == ["rows.parquet", "predictions.parquet", "curves.parquet"]
    for path, table in zip(written[:3], (run.rows, run.predictions, run.curves), strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(path), table, check_dtype=False)
    assert [p.name for p in written[3:]] == ["given_gray.npz", "given_gray3.npz"]
    with np.load(written[3]) as npz:
        (block,) = run.maps[run.models[0].weights, "gray"]
        assert npz["pictures"].tolist() == [r.picture for r in block.requests]
        assert np.array_equal(npz["maps"], block.saliency.numpy())
        assert set(npz["targets"]) == {"left", "right"}
    (rows, *_) = export(found, tmp_path / "out", "csv")
    assert pd.read_csv(rows, float_precision="round_trip").score.tolist() == run.rows.score.tolist()


def test_an_unfinished_study_gives_what_there_is(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path
) -> None:
    work, store = small_study(side_films, side_classifier), Store.at(tmp_path / "run")
    (empty, *_) = export(plan(work, store, contents=True), tmp_path / "out", maps=True)
    assert list(pd.read_parquet(empty).columns) == ROWS
    evaluate(work, store=store, progress=QUIET)
    lost = next(x for x in plan(work, store).lookups if x.label == "given: gray")
    store.delete("maps", lost.key)
    written = export(plan(work, store, contents=True), tmp_path / "out", maps=True)
    assert [p.name for p in written[3:]] == ["given_gray3.npz"]
    assert set(pd.read_parquet(written[0]).explainer) == {"gray", "gray3"}  # scores outlive their maps


def test_mistakes_are_one_sentence(side_films: Fixed, side_classifier: Classifier, tmp_path: Path) -> None:
    found = plan(small_study(side_films, side_classifier), Store.at(tmp_path / "run"), contents=True)
    with pytest.raises(BadInput, match="format 'xlsx' is not known; choose parquet or csv"):
        export(found, tmp_path, "xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        export(found, tmp_path / "file")
