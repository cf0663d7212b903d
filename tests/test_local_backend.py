"""Workers fill one store: the same rows as one process, whatever dies or is interrupted; none where none can help."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import torch

from xai_bench.backends import local
from xai_bench.benchmark import evaluate
from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.progress import Progress
from xai_bench.samples import Fixed
from xai_bench.store import Store
from xai_bench.study import Given, Study

QUIET = Progress(quiet=True)
Live = Callable[[str, str, int, int], None]


def tiny(**changes: object) -> Study:
    table = {
        "name": "tiny", "batch_size": 4, "explainers": ["grad_cam", "random_map"], "metrics": ["relevance_mass"],
        "summaries": ["retrain_stability"], "reader": {"resize": {"height": 48, "width": 40}},
        "dataset": {"name": "phantom", "height": 48, "width": 40, "films": {"train": 8, "validation": 2, "test": 6}},
        "classifiers": [{"name": "small", "architecture": {"name": "small_cnn", "width": 8}, "seeds": [0, 1],
                         "training": {"epochs": 1, "batch_size": 4}}],
    }  # fmt: skip
    return Study.of(table | changes)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the workers: sums over several threads round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What one process finds."""
    return evaluate(tiny(), store=tmp_path_factory.mktemp("alone"), progress=QUIET, workers=1).rows


@dataclass
class Watched(Progress):
    """Sees each worker's steps, and interferes with the first one."""

    quiet: bool = True
    interfere: Callable[[int], None] = lambda pid: None
    seen: list[tuple[int, str]] = field(default_factory=list)

    @contextlib.contextmanager
    def live(self) -> Iterator[Live]:
        def advance(key: str, description: str, total: int, steps: int) -> None:
            pid = int(key.split()[0])
            self.seen.append((pid, description))
            if len(self.seen) == 1:
                self.interfere(pid)

        yield advance


def hidden(store: Path) -> list[Path]:
    return list(store.rglob(".*"))


def forbid_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise AssertionError("a process would be started")

    monkeypatch.setattr(local.multiprocessing, "get_context", refuse)


def test_two_workers_find_the_same_rows_and_a_finished_study_starts_none(
    alone: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched()
    run = evaluate(tiny(), store=tmp_path, progress=watched, workers=2)
    pd.testing.assert_frame_equal(run.rows, alone)
    assert len({pid for pid, _ in watched.seen}) == 2 and os.getpid() not in {pid for pid, _ in watched.seen}
    assert {"small, seed 0: grad_cam", "small, seed 1: grad_cam"} <= {what for _, what in watched.seen}
    assert local.finished(tiny(), Store(tmp_path)) and not local.finished(tiny(name="other"), Store(tmp_path))
    forbid_processes(monkeypatch)
    pd.testing.assert_frame_equal(evaluate(tiny(), store=tmp_path, progress=QUIET, workers=2).rows, alone)


def test_a_worker_that_dies_does_not_lose_the_run(alone: pd.DataFrame, tmp_path: Path) -> None:
    watched = Watched(interfere=lambda pid: os.kill(pid, signal.SIGKILL))
    run = evaluate(tiny(), store=tmp_path, progress=watched, workers=2)
    pd.testing.assert_frame_equal(run.rows, alone)
    assert local.finished(tiny(), Store(tmp_path))


def test_ctrl_c_ends_the_workers_leaves_no_half_cell_and_the_run_goes_on_later(
    alone: pd.DataFrame, tmp_path: Path
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny(), store=tmp_path, progress=Watched(interfere=interrupt), workers=2)
    assert set(multiprocessing.active_children()) == before
    assert hidden(tmp_path) == [] and not local.finished(tiny(), Store(tmp_path))
    assert not Store(tmp_path).cells("scores")
    pd.testing.assert_frame_equal(evaluate(tiny(), store=tmp_path, progress=QUIET, workers=1).rows, alone)


ORPHANS = """
import contextlib, multiprocessing
from xai_bench import Study, evaluate
from xai_bench.progress import Progress

class Told(Progress):
    @contextlib.contextmanager
    def live(self):
        yield lambda *_: print(*(p.pid for p in multiprocessing.active_children()), flush=True)

films = {"name": "phantom", "height": 48, "width": 40, "films": {"train": 8, "validation": 4, "test": 4}}
training = {"epochs": 100000, "patience": None, "batch_size": 4}
network = {"name": "a", "architecture": {"name": "small_cnn", "width": 8}, "seeds": [0, 1], "training": training}
evaluate(Study("s", films, [network], batch_size=4), store=STORE, progress=Told(quiet=True), workers=2)
"""


def test_workers_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ORPHANS.replace("STORE", repr(str(tmp_path / "store"))))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        children = [int(pid) for pid in run.stdout.readline().split()]
        run.kill()
    assert len(children) == 3  # two workers, and the process that holds their queue
    for _ in range(100):
        if not any(alive(pid) for pid in children):
            return
        time.sleep(0.1)
    pytest.fail(f"processes {[pid for pid in children if alive(pid)]} still run")


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_is_started_where_it_cannot_help(
    side_films: Fixed, side_classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_processes(monkeypatch)
    store = Store.at(tmp_path)
    given = Study("given", side_films, (Given("a", side_classifier), Given("b", side_classifier)))
    local.fill(given, store, QUIET, workers=2)
    local.fill(tiny(dataset=side_films), store, QUIET, workers=2)  # films in memory
    local.fill(tiny(), store, QUIET, workers=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    local.fill(tiny(), store, QUIET, workers=2)
    monkeypatch.undo()
    forbid_processes(monkeypatch)
    with pytest.raises(AssertionError, match="would be started"):
        local.fill(tiny(), store, QUIET, workers=2)


def test_one_part_for_each_classifier_and_seed() -> None:
    parts = [Study.of(part) for part in local._parts(tiny())]
    assert [p.classifiers[0].only for p in parts] == [(0,), (1,)]
    assert all(p.summaries == () and p.explainers == tiny().explainers for p in parts)


def test_a_worker_leaves_a_mistake_to_the_process_that_assembles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flag:
        def is_set(self) -> bool:
            return False

    def mistaken(*_: object) -> None:
        raise BadInput("the layer does not exist.")

    monkeypatch.setattr(local, "_stop", Flag())
    monkeypatch.setattr("xai_bench.benchmark.gather", mistaken)
    (part, _) = local._parts(tiny())
    local._work(part, str(tmp_path))  # silent here
    with pytest.raises(BadInput, match="the layer does not exist"):
        evaluate(tiny(), store=tmp_path, progress=QUIET, workers=1)


def test_only_a_dead_worker_is_forgiven_not_a_bug_in_one() -> None:
    dead: Future[None] = Future()
    dead.set_exception(BrokenProcessPool("it died"))
    local._watch({dead}, multiprocessing.SimpleQueue(), lambda *_: None)
    wrong: Future[None] = Future()
    wrong.set_exception(ZeroDivisionError("division by zero"))
    with pytest.raises(ZeroDivisionError):
        local._watch({wrong}, multiprocessing.SimpleQueue(), lambda *_: None)


def test_a_full_disk_at_the_very_end_is_one_sentence(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    (tmp_path / "finished").touch()  # a file in the way
    with pytest.raises(BadInput, match="cannot be written"):
        local.mark_finished(tiny(), store)


def test_a_script_needs_no_guard_around_its_first_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from xai_bench import Study, evaluate\n"
        "print('started')\n"
        "films = {'name': 'phantom', 'height': 48, 'width': 40, 'films': {'train': 8, 'validation': 4, 'test': 4}}\n"
        "network = {'name': 'a', 'architecture': 'small_cnn', 'seeds': [0, 1], 'training': {'epochs': 1}}\n"
        "study = Study('s', films, [network], ['center_gaussian'], ['iou'])\n"
        f"run = evaluate(study, store={str(tmp_path / 'store')!r})\n"
        "print(len(run.rows))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "started" and done.stdout.count("started") == 1
