"""Supervised workers: the digits of one process, whatever dies or is interrupted; who keeps dying is reported."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest
import torch
from backend_cases import QUIET, Watched, digits, tiny

from xai_bench.backends import local, starting
from xai_bench.backends.jobs import Desk, Receipt, parts_of
from xai_bench.backends.local import Local
from xai_bench.backends.serial import Serial
from xai_bench.errors import BadInput
from xai_bench.interruption import Stopped
from xai_bench.progress import Progress
from xai_bench.running.benchmark import evaluate
from xai_bench.running.run import Run
from xai_bench.store.store import Store


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What one process finds."""
    return evaluate(tiny(), store=tmp_path_factory.mktemp("alone"), progress=QUIET, backend=Serial())


def hidden(store: Path) -> list[Path]:
    return list((store / "cells").rglob(".*"))


def pid_of(worker: str) -> int:
    """The process of a worker."""
    (found,) = [p.pid for p in multiprocessing.active_children() if p.name == f"xai-bench {worker}"]
    assert found is not None
    return found


def test_two_workers_give_the_digits_of_one_process_and_what_is_kept_starts_none(
    alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched()
    run = evaluate(tiny(), store=tmp_path, progress=watched, workers=2)
    assert digits(run) == digits(alone)
    assert {where for where, _ in watched.begun} == {"worker 1", "worker 2"}
    assert {"small, seed 0: grad_cam", "small, seed 1: training"} <= {what for _, what in watched.begun}
    monkeypatch.setattr(local.multiprocessing, "get_context", lambda _: pytest.fail("a process would be started"))
    assert digits(evaluate(tiny(), store=tmp_path, progress=QUIET, workers=2)) == digits(alone)


def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(alone: Run, tmp_path: Path) -> None:
    victims: list[int] = []

    def kill(where: str, kind: str, *values: Any) -> None:
        if kind == "begin" and where and values[1] == "small, seed 0: training" and not victims:
            victims.append(pid_of(where))
            os.kill(victims[0], signal.SIGKILL)

    watched = Watched(react=kill)
    run = evaluate(tiny(), store=tmp_path, progress=watched, workers=1, backend=Local(1))
    assert victims and ("worker 1", "gone") in watched.seen
    assert digits(run) == digits(alone)
    assert ("worker 1", "small, seed 1: random_map, relevance_mass") in watched.begun  # and not where it is assembled


def test_a_cell_that_kills_three_workers_is_reported_remembered_and_tried_again_on_request(
    alone: Run, tmp_path: Path
) -> None:
    victims: list[int] = []

    def kill(where: str, kind: str, *values: Any) -> None:
        if kind == "begin" and where and values[1] == "small, seed 1: grad_cam":
            victims.append(pid_of(where))
            os.kill(victims[-1], signal.SIGKILL)

    run = evaluate(tiny(), store=tmp_path, progress=Watched(react=kill), backend=Local(1))
    assert len(victims) == 3
    failed = run.rows[run.rows.status == "failed"]
    assert failed[["replicate", "explainer"]].drop_duplicates().values.tolist() == [[1, "grad_cam"]]
    assert failed.reason.iloc[0] == (
        "its process died 3 times in the same cell, the last time by SIGKILL (did memory run out?)"
    )
    rest = run.rows[run.rows.status != "failed"]
    assert len(rest) == len(alone.rows[~((alone.rows.replicate == 1) & (alone.rows.explainer == "grad_cam"))])
    assert digits(evaluate(tiny(), store=tmp_path, progress=QUIET, backend=Local(1))) == digits(run)
    assert Store(tmp_path).forget_failures() > 0
    assert digits(evaluate(tiny(), store=tmp_path, progress=QUIET, backend=Serial())) == digits(alone)


def test_a_training_that_kills_three_workers_costs_its_twin_only(alone: Run, tmp_path: Path) -> None:
    def kill(where: str, kind: str, *values: Any) -> None:
        if kind == "begin" and where and values[1] == "small, seed 0: training":
            os.kill(pid_of(where), signal.SIGKILL)

    run = evaluate(tiny(), store=tmp_path, progress=Watched(react=kill), backend=Local(1))
    assert [m.replicate for m in run.models] == [1]
    failed = run.rows[run.rows.status == "failed"]
    assert failed[["replicate", "explainer", "metric"]].values.tolist() == [
        [0, "grad_cam", "relevance_mass"], [0, "random_map", "relevance_mass"],
    ]  # fmt: skip
    whole = alone.rows[alone.rows.replicate == 1]
    assert run.rows[run.rows.replicate == 1].score.tolist() == whole.score.tolist()
    assert any(t.name.startswith("exclusions") for t in run.tables()) or run.tables()


def test_ctrl_c_ends_the_workers_leaves_no_half_cell_and_the_run_goes_on_later(alone: Run, tmp_path: Path) -> None:
    def interrupt(where: str, kind: str, *values: Any) -> None:
        if kind == "begin" and where and values[1] == "small, seed 1: training":
            raise KeyboardInterrupt

    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny(), store=tmp_path, progress=Watched(react=interrupt), backend=Local(2))
    assert set(multiprocessing.active_children()) == before
    assert hidden(tmp_path) == [] and len(Store(tmp_path).cells("scores")) < 4
    assert digits(evaluate(tiny(), store=tmp_path, progress=QUIET, backend=Serial())) == digits(alone)


def test_a_stop_in_order_lets_the_workers_finish_their_cell(alone: Run, tmp_path: Path) -> None:
    def stop(where: str, kind: str, *values: Any) -> None:
        if kind == "begin" and values[1].endswith("grad_cam"):
            raise Stopped("stopped by the test", 75)

    with pytest.raises(Stopped):
        evaluate(tiny(), store=tmp_path, progress=Watched(react=stop), backend=Local(1))
    assert hidden(tmp_path) == [] and len(Store(tmp_path).cells("maps")) == 1
    assert digits(evaluate(tiny(), store=tmp_path, progress=QUIET, backend=Serial())) == digits(alone)


def test_a_mistake_met_by_a_worker_ends_the_run_with_its_sentence(tmp_path: Path) -> None:
    wrong = tiny(explainers=["grad_cam:features.99"])
    with pytest.raises(BadInput, match=r"layer 'features.99' does not exist") as caught:
        evaluate(wrong, store=tmp_path, progress=QUIET, backend=Local(1))
    assert "in a worker" in caught.value.__notes__[0]
    assert not multiprocessing.active_children()


def test_workers_that_cannot_begin_are_not_started_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource_tracker.ensure_running()  # it is begun in the same way
    monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/bin/false")
    with pytest.raises(BadInput, match=r"3 workers in a row ended before they could begin \(with exit code 1\)"):
        evaluate(tiny(), store=tmp_path, progress=QUIET, backend=Local(2))


ORPHANS = """
import multiprocessing, sys
sys.path.insert(0, TESTS)
from backend_cases import Watched, tiny
from xai_bench import evaluate

def told(where, kind, *values):
    if kind == "begin" and values[1].endswith("grad_cam"):
        print(*(p.pid for p in multiprocessing.active_children()), flush=True)

evaluate(tiny(), store=STORE, progress=Watched(react=told), workers=2)
"""


def test_workers_do_not_outlive_a_killed_run_and_it_goes_on_with_the_same_digits(alone: Run, tmp_path: Path) -> None:
    script, store = tmp_path / "script.py", tmp_path / "store"
    script.write_text(ORPHANS.replace("STORE", repr(str(store))).replace("TESTS", repr(str(Path(__file__).parent))))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        children = [int(pid) for pid in run.stdout.readline().split()]
        run.kill()
    assert len(children) == 2
    for _ in range(100):
        if not any(alive(pid) for pid in children):
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"processes {[pid for pid in children if alive(pid)]} still run")
    assert digits(evaluate(tiny(), store=store, progress=QUIET, backend=Serial())) == digits(alone)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_script_needs_no_guard_and_what_only_it_knows_runs_in_its_own_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from dataclasses import dataclass\n"
        "from xai_bench import Study, evaluate\n"
        "from xai_bench.registry import explainer\n"
        "@explainer('mine')\n@dataclass(frozen=True)\nclass Mine:\n"
        "    def __call__(self, classifier, batch):\n        return batch.images.mean(1)\n"
        "print('started')\n"
        "films = {'name': 'phantom', 'height': 48, 'width': 40, 'films': {'train': 8, 'validation': 4, 'test': 4}}\n"
        "network = {'name': 'a', 'architecture': 'small_cnn', 'seeds': [0, 1], 'training': {'epochs': 1}}\n"
        "study = Study('s', films, [network], ['center_gaussian', 'mine'], ['iou'])\n"
        f"run = evaluate(study, store={str(tmp_path / 'store')!r}, workers=2)\n"
        "print(sorted(run.rows[run.rows.status == 'ok'].explainer.unique()))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "started" and done.stdout.count("started") == 1
    assert "['center_gaussian', 'mine']" in done.stdout
    assert "note: a worker could not begin, this process will do it: " in done.stderr and "'mine'" in done.stderr


class Poor(Exception):
    """Cannot be read back from its pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_an_error_travels_with_its_traceback_or_as_text() -> None:
    def fails(error: Exception) -> Exception:
        try:
            raise error
        except Exception as caught:
            return local._portable(caught)

    travelled = pickle.loads(pickle.dumps(fails(ValueError("no"))))
    assert isinstance(travelled, ValueError) and "in fails" in travelled.__notes__[0]
    assert type(text := fails(Poor(1, 2))) is RuntimeError and "Poor: 1 and 2" in str(text)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield


def test_each_worker_sees_its_own_gpu(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [starting.own_gpu(n) for n in range(3)] == [{"CUDA_VISIBLE_DEVICES": d} for d in "010"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [starting.own_gpu(n)["CUDA_VISIBLE_DEVICES"] for n in range(2)] == ["4", "7"]
    with starting.surroundings({"CUDA_VISIBLE_DEVICES": "7", "XAI_BENCH_NEW": "1"}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7" and "XAI_BENCH_NEW" not in os.environ


def test_a_worker_keeps_a_classifier_for_its_next_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    from xai_bench.running import models

    load = models.load_checkpoint
    monkeypatch.setattr(models, "load_checkpoint", lambda folder: (made.append(str(folder)), load(folder))[1])
    part = parts_of(tiny(), Store.at(tmp_path))[0]
    desk = Desk()
    for job in (part.first, *part.then):
        assert isinstance(desk.perform(job, Progress(quiet=True)), Receipt)
    assert len(made) == 1
    assert len(Store(tmp_path).cells("scores")) == 2
    with pytest.raises(BadInput, match="a worker does not see the store"):
        desk.perform(replace(part.first, part="another", token="another"), QUIET)
