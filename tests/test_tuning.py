"""The batch size is measured once, kept in the store, and never chosen where the study names one."""

from pathlib import Path

import pytest
import torch

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.progress import Progress
from xai_bench.running import models, tuning
from xai_bench.running.benchmark import bench_of, evaluate
from xai_bench.running.models import batch_size
from xai_bench.running.tuning import Tuned, forward_seconds, tune
from xai_bench.samples import Fixed
from xai_bench.store.store import Store
from xai_bench.study import Given, Study
from xai_bench.testing import tiny_classifier

QUIET = Progress(quiet=True)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({4: 4.0, 8: 2.0, 16: 1.0, 32: 1.5}, 16), ({4: 1.02, 8: 1.01, 16: 1.0, 32: 1.0}, 4), ({4: 2.0, 8: 1.05}, 8)],
)
def test_the_smallest_that_is_nearly_the_fastest(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], chosen: int
) -> None:
    monkeypatch.setattr(tuning, "forward_seconds", lambda _c, engine, _s: seconds[engine.batch_size])
    assert tune(tiny_classifier(), sizes=tuple(seconds)) == Tuned(chosen, seconds)


def test_sizes_that_do_not_fit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_c: Classifier, engine: Engine, _s: tuple[int, ...]) -> float:
        if engine.batch_size > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1 / engine.batch_size

    monkeypatch.setattr(tuning, "forward_seconds", measure)
    assert tune(tiny_classifier(), sizes=(4, 8, 16, 32)).batch_size == 8


def test_it_really_measures() -> None:
    seen: list[int] = []
    classifier = tiny_classifier()
    classifier.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    assert forward_seconds(classifier, Engine(batch_size=4), (1, 32, 48), repeats=2) > 0
    assert seen == [4, 4, 4]


def test_a_study_measures_once(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study("s", side_films, (Given("g", side_classifier),), ("grad_cam",), ("relevance_mass",))
    monkeypatch.setattr(models, "tune", lambda _c: Tuned(8, {8: 1.0}))
    monkeypatch.setattr(models, "code_of", lambda _: {"tuning": "the same"})
    shapes: set[int] = set()
    side_classifier.register_forward_pre_hook(lambda _m, args: shapes.add(len(args[0])))
    evaluate(study, store=tmp_path, progress=QUIET)
    assert shapes == {8}
    monkeypatch.setattr(models, "tune", lambda _c: pytest.fail("measured again"))
    bench = bench_of(study, Store.at(tmp_path), QUIET)
    assert batch_size(study, bench, study.classifiers[0]) == 8


def test_a_named_batch_size_is_not_measured(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "tune", lambda _c: pytest.fail("measured"))
    study = Study("s", side_films, (Given("g", side_classifier),), batch_size=5)
    assert batch_size(study, bench_of(study, Store.at(tmp_path), QUIET), study.classifiers[0]) == 5
