"""Dask: the digits of one process, here and on a scheduler that runs already; releases, resources, stops, mistakes."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backend_cases import QUIET, Watched, digits, tiny

from xai_bench.backends import dask as backend
from xai_bench.backends.dask import Dask
from xai_bench.backends.jobs import parts_of
from xai_bench.backends.serial import Serial
from xai_bench.errors import BadInput
from xai_bench.interruption import Stopped
from xai_bench.progress import Progress
from xai_bench.running.benchmark import evaluate
from xai_bench.store.store import Store

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # Dask's own are not ours


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one process finds."""
    return digits(evaluate(tiny(), store=tmp_path_factory.mktemp("alone"), progress=QUIET, backend=Serial()))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and a worker that offers a GPU, in threads of this process."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", host="127.0.0.1",
        dashboard_address=None, resources={"GPU": 1},
    ) as found:  # fmt: skip
        yield found


def test_a_cluster_of_its_own_gives_the_digits_of_one_process(alone: str, tmp_path: Path) -> None:
    watched = Watched()
    assert digits(evaluate(tiny(), store=tmp_path, progress=watched, backend=Dask(workers=1))) == alone
    where = {where for where, _ in watched.begun}
    assert len(where) == 1 and str(os.getpid()) not in next(iter(where)) and "127.0.0.1:" in next(iter(where))


def test_a_running_scheduler_does_the_same_takes_a_gpu_a_job_and_releases_every_future(
    alone: str, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, submit = [], distributed.Client.submit

    def told(*given: Any, **options: Any) -> Any:
        asked.append(options["resources"])
        return submit(*given, **options)

    monkeypatch.setattr(distributed.Client, "submit", told)
    run = evaluate(tiny(), store=tmp_path, progress=QUIET, backend=Dask(cluster.scheduler_address))
    assert digits(run) == alone
    assert asked == [{"GPU": 1}] * 6
    for _ in range(100):
        if not cluster.scheduler.tasks:
            return
        time.sleep(0.05)
    pytest.fail(f"the scheduler still holds {list(cluster.scheduler.tasks)}")


def test_a_mistake_met_by_a_worker_ends_the_run_with_its_sentence(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"layer 'features.99' does not exist"):
        evaluate(tiny(explainers=["grad_cam:features.99"]), store=tmp_path, progress=QUIET,
                 backend=Dask(cluster.scheduler_address))  # fmt: skip


def test_a_stop_in_order_lets_the_worker_finish_its_cell_and_begin_no_other(
    alone: str, cluster: Any, tmp_path: Path
) -> None:
    def stop(where: str, kind: str, *values: Any) -> None:
        if where and kind == "begin" and values[1].endswith("grad_cam"):
            asked.append(time.monotonic())

    def obey() -> None:
        if asked:
            raise Stopped("stopped by the test", 75)

    asked: list[float] = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(backend, "between_cells", obey)
        evaluate(tiny(), store=tmp_path, progress=Watched(react=stop), backend=Dask(cluster.scheduler_address))
    assert not backend._is_busy()
    finished = Store(tmp_path).cells("scores")
    assert len(finished) < 4 and not list((tmp_path / "cells").rglob(".*"))
    time.sleep(0.3)
    assert Store(tmp_path).cells("scores") == finished
    assert digits(evaluate(tiny(), store=tmp_path, progress=QUIET, backend=Serial())) == alone


def test_a_worker_that_sees_another_store_says_so(cluster: Any, tmp_path: Path) -> None:
    job = parts_of(tiny(), Store.at(tmp_path))[0].first
    with Dask(cluster.scheduler_address).open(QUIET) as pool:
        (tmp_path / "token").write_text("that of another folder")
        pool.submit(job)
        (future,) = pool.as_completed()
    with pytest.raises(BadInput, match="put it on a file system that all workers share"):
        future.result()


class Gone:
    """A future of Dask that ends badly."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def result(self) -> None:
        raise self.error


def test_a_job_that_kills_its_workers_is_given_up_and_a_lost_scheduler_is_one_sentence(cluster: Any) -> None:
    from concurrent.futures import CancelledError, Future
    from types import SimpleNamespace

    with Dask(cluster.scheduler_address).open(QUIET) as pool:
        killed: Future[Any] = Future()
        error = distributed.KilledWorker("key", SimpleNamespace(address="tcp://10.0.0.7:4000"), 3)
        pool._settle(Gone(error), killed)  # type: ignore[attr-defined]  # of this pool
        assert killed.result().died == "its worker died 4 times, the last one at tcp://10.0.0.7:4000"
        lost: Future[Any] = Future()
        pool._settle(Gone(CancelledError()), lost)  # type: ignore[attr-defined]  # the same
    with pytest.raises(BadInput, match="the Dask scheduler is gone"):
        lost.result()


def test_no_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "CONNECT", 0.5)
    with (
        pytest.raises(BadInput, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        Dask("tcp://127.0.0.1:9").open(QUIET),
    ):
        pass


def test_without_dask_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match=r"pip install xai-bench\[dask\]"), Dask().open(QUIET):
        pass


def test_an_open_port_is_warned_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: 1 / 0)  # what answers is no scheduler
    with pytest.raises(BadInput, match="no Dask scheduler answers"), Dask("tcp://203.0.113.1:8786").open(Progress()):
        pass
    assert "note: whoever reaches tcp://203.0.113.1:8786 can run code there" in capsys.readouterr().err
