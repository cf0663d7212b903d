"""Which backend is meant, where a study runs by itself, a study as jobs, jobs in one process."""

import gc
import json
import weakref
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from backend_cases import QUIET, tiny

from xai_bench import backends
from xai_bench.backends import Backend, backend_of, cores, usual
from xai_bench.backends.dask import Dask
from xai_bench.backends.jobs import Desk, Receipt, Task, fill, is_plain, next_task, parts_of, token_of
from xai_bench.backends.local import Local
from xai_bench.backends.serial import Serial
from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.running.machine import limited
from xai_bench.samples import Fixed
from xai_bench.store.store import Store
from xai_bench.study import Given, Study


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ({}, None),
        ({"workers": 1}, Serial()),
        ({"workers": 3}, Local(3)),
        ({"threads": 4}, Local(None, 4)),
        ({"name": "serial", "threads": 2}, Serial(2)),
        ({"name": "local"}, Local()),
        ({"name": "dask", "workers": 2}, Dask(None, 2)),
        ({"scheduler": "tcp://10.0.0.1:8786"}, Dask("tcp://10.0.0.1:8786")),
    ],
)
def test_a_backend_by_its_options(asked: dict[str, object], meant: Backend | None) -> None:
    assert backend_of(**asked) == meant  # type: ignore[arg-type]  # the test's own values


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"name": "cloud"}, "backend 'cloud' is not known; choose serial, local, dask"),
        ({"workers": 0}, "workers is 0; expected 1 or more"),
        ({"name": "serial", "workers": 2}, "is one process and cannot have 2 workers"),
        ({"name": "local", "scheduler": "tcp://h:1"}, "backend 'local' has no scheduler"),
        ({"scheduler": "tcp://h:1", "workers": 2}, "the scheduler at tcp://h:1 has its own workers"),
    ],
)
def test_options_that_do_not_go_together(asked: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        backend_of(**asked)  # type: ignore[arg-type]  # the test's own values


def test_several_processes_only_where_they_help(
    side_films: Fixed, side_classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "cores", lambda: 4)
    one = [replace(tiny().classifiers[0], seeds=(0,))]
    assert usual(tiny()) == Local(4)  # two twins, two explainers each
    assert usual(tiny(classifiers=one)) == Serial()  # over before a process has begun
    assert usual(tiny(classifiers=one, explainers=[{"name": "lime", "samples": 5000}])) == Serial()  # one job
    many = [{"name": "lime", "samples": 5000}, "grad_cam"]
    assert usual(tiny(classifiers=one, explainers=many)) == Local(2)
    assert usual(Study("s", side_films, (Given("a", side_classifier), Given("b", side_classifier)))) == Serial()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert usual(tiny()) == Serial()  # one GPU is for one process
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert usual(tiny()) == Local(2)


def test_cores_are_those_that_this_process_may_use() -> None:
    assert cores() >= 1


def test_threads_are_limited_within_the_block_only() -> None:
    before = torch.get_num_threads()
    with limited(before + 1):
        assert torch.get_num_threads() == before + 1
        with limited(None):
            assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(BadInput, match="threads is 0"), limited(0):
        pass


def test_a_study_is_a_training_a_twin_and_an_explanation_an_explainer(tmp_path: Path) -> None:
    study = tiny(explainers=["grad_cam", {"name": "lime", "samples": 300}, {"name": "rise", "repeats": 2}],
                 summaries=["retrain_stability", "shuffled"])  # fmt: skip
    parts = parts_of(study, Store.at(tmp_path))
    firsts = [(p.first.classifier, p.first.replicate, p.first.label) for p in parts]
    assert firsts == [("small", 0, ""), ("small", 1, "")]
    labels = [j.label for j in parts[0].then]
    assert sorted(labels) == ["grad_cam", "lime", "rise", "rise#2"] and labels[-1] == "grad_cam"  # the quickest
    built = Study.of(parts[1].first.study)
    assert [t.number for t in built.classifiers[0].twins] == [1] and built.explainers == ()
    assert [s.xai_bench_name for s in built.summaries] == ["shuffled"]  # it asks for more scores
    for part in parts:
        for job in (part.first, *part.then):
            assert json.loads(json.dumps(asdict(job))) == asdict(job)
            assert job.part == part.first.part
    assert parts[0].first.part != parts[1].first.part


def test_what_is_in_memory_cannot_be_handed_out(side_films: Fixed, side_classifier: Classifier) -> None:
    assert is_plain(tiny())
    assert not is_plain(Study("s", side_films, (Given("a", side_classifier),)))
    assert not is_plain(tiny(dataset=side_films))


def test_a_process_goes_on_with_the_classifier_that_it_has(tmp_path: Path) -> None:
    first, second = parts_of(tiny(), Store.at(tmp_path))
    waiting = deque(Task(job) for job in (first.first, second.first, *first.then, *second.then))
    part, order = "", []
    while waiting:
        task = next_task(waiting, part)
        part = task.job.part
        order.append((task.job.replicate, task.job.label == ""))
    assert order == [(0, True), (0, False), (0, False), (1, True), (1, False), (1, False)]


def test_explaining_waits_for_training_and_everything_is_there_at_the_end(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    assert fill(tiny(), store, Serial(), QUIET) == {}
    kinds = {kind: len(store.cells(kind)) for kind in ("train", "predictions", "maps", "scores", "summaries")}
    assert kinds == {"train": 2, "predictions": 2, "maps": 4, "scores": 4, "summaries": 0}


def test_a_store_has_one_name_whoever_asks(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "a")
    assert token_of(store) == token_of(store) != token_of(Store.at(tmp_path / "b"))
    assert [p.name for p in store.root.iterdir() if "token" in p.name] == ["token"]


def test_a_process_lets_go_of_a_classifier_and_its_films_before_the_next(tmp_path: Path) -> None:
    study, desk = tiny(explainers=["grad_cam"], metrics=["deletion"]), Desk()
    first, second = parts_of(study, Store.at(tmp_path))
    for job in (first.first, *first.then):
        assert desk.perform(job, QUIET) == Receipt()
    model = desk._entries[0].make(desk._bench)  # type: ignore[arg-type]  # there is one after a job
    held = [weakref.ref(x) for x in (model.classifier, model.pictures, model.validation, model.training)]
    del model
    assert all(ref() is not None for ref in held)
    assert desk.perform(second.first, QUIET) == Receipt()
    gc.collect()
    assert all(ref() is None for ref in held)
