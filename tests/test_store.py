"""The store: nothing half-written is seen, damage is found, the first writer wins, a second must agree."""

import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xai_bench.errors import BadInput, NonDeterministicCell
from xai_bench.store import scratch as module
from xai_bench.store.files import put, seal, unseal, write_frame, write_tensors
from xai_bench.store.scratch import Scratch, host
from xai_bench.store.store import Store, StoreWarning

HERE = {"environment": {"torch": "1", "threads": 1}}


def committed(store: Store, value: float = 1.0, key: str = "k", kind: str = "scores", **receipt: object) -> None:
    with store.commit(kind, key, {**HERE, "label": "net: lime", **receipt}) as folder:
        write_frame(folder, "rows", pd.DataFrame({"score": [value]}))
        write_tensors(folder, "maps", {"maps": torch.tensor([value])})


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob(".*")]


def test_what_is_committed_is_read_back(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    assert store.get("scores", "k") is None
    committed(store, seconds=0.1)
    cell = store.get("scores", "k")
    assert cell is not None
    assert cell.frame("rows").score.tolist() == [1.0]
    assert cell.tensors("maps")["maps"].tolist() == [1.0]
    assert cell.receipt["seconds"] == 0.1
    assert cell.has("rows.parquet") and not cell.has("curves.parquet")
    assert store.cells("scores") == ["k"] and store.kinds() == ["scores"]
    assert Store.existing(tmp_path) == store


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    with pytest.raises(KeyError), store.commit("scores", "k", {}) as folder:
        write_frame(folder, "rows", pd.DataFrame({"score": [1.0]}))
        raise KeyError("stop")
    assert store.get("scores", "k") is None
    assert not any((tmp_path / "cells" / "scores").iterdir())


def test_a_second_writer_brings_the_same_bytes(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    committed(store, seconds=1.0)
    committed(store, seconds=2.0)
    cell = store.get("scores", "k")
    assert cell is not None and cell.receipt["seconds"] == 1.0 and "others" not in cell.receipt
    assert [p.name for p in (tmp_path / "cells" / "scores").iterdir()] == ["k"]


def test_other_bytes_in_the_same_environment_are_an_error_and_the_first_stay(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    committed(store, 1.0)
    with pytest.raises(NonDeterministicCell, match=r"scores/k \(net: lime\) .* \(maps.safetensors, rows.parquet\)"):
        committed(store, 2.0)
    cell = store.get("scores", "k")
    assert cell is not None and cell.frame("rows").score.tolist() == [1.0] and hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "second"),
    [
        ("train", {}),
        ("modes", {}),
        ("scores", {"environment": {"torch": "1", "threads": 2}}),
        ("scores", {"halved": 1}),
    ],
)
def test_where_bytes_may_differ_the_first_stay_and_the_receipt_notes_the_second(
    tmp_path: Path, kind: str, second: dict[str, object]
) -> None:
    store = Store.at(tmp_path)
    committed(store, 1.0, kind=kind)
    committed(store, 2.0, kind=kind, **second)
    cell = store.get(kind, "k")
    assert cell is not None and cell.frame("rows").score.tolist() == [1.0]
    (other,) = cell.receipt["others"]
    assert sorted(other["files"]) == ["maps.safetensors", "rows.parquet"] and other["files"] != cell.receipt["files"]
    assert hidden(tmp_path) == []


def test_a_damaged_first_gives_way_to_the_second(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    committed(store, 1.0)
    (store.folder("scores", "k") / "rows.parquet").write_bytes(b"damaged")
    committed(store, 2.0)
    cell = store.get("scores", "k")
    assert cell is not None and cell.frame("rows").score.tolist() == [2.0] and hidden(tmp_path) == []


@pytest.mark.parametrize("name", ["rows.parquet", "maps.safetensors", "receipt.json"])
def test_a_flipped_byte_is_found_wherever_it_is(tmp_path: Path, name: str) -> None:
    store = Store.at(tmp_path)
    committed(store)
    file = store.folder("scores", "k") / name
    data = file.read_bytes()
    for place in range(0, len(data), 1 if name == "receipt.json" else 11):
        file.write_bytes(data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :])
        cell, damage = store.look("scores", "k")
        assert cell is None and damage == [f"{name} is damaged"]
    file.write_bytes(data)
    assert store.get("scores", "k") is not None


@pytest.mark.parametrize("name", ["rows.parquet", "maps.safetensors", "receipt.json"])
def test_a_damaged_or_lost_file_removes_the_cell_with_a_warning(tmp_path: Path, name: str) -> None:
    store = Store.at(tmp_path)
    for harm in (lambda p: p.write_bytes(p.read_bytes()[:-7]), Path.unlink, lambda p: p.write_bytes(b"")):
        committed(store)
        harm(store.folder("scores", "k") / name)
        with pytest.warns(StoreWarning, match="scores/k is damaged"):
            assert store.get("scores", "k") is None
        assert store.cells("scores") == [] and hidden(tmp_path) == []


def test_a_receipt_belongs_to_its_place(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    committed(store)
    store.folder("scores", "k").rename(store.folder("scores", "other"))
    assert store.look("scores", "other")[1] == ["receipt.json is that of another cell"]


def test_bytes_that_change_between_check_and_use_are_not_used(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    committed(store)
    cell = store.get("scores", "k")
    assert cell is not None
    write_frame(cell.folder, "rows", pd.DataFrame({"score": [2.0]}))
    with pytest.raises(BadInput, match=r"rows.parquet changed after it was checked"):
        cell.frame("rows")


def test_a_disk_that_cannot_be_read_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.at(tmp_path)
    committed(store)

    def broken(self: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", broken)
        with pytest.raises(BadInput, match=r"receipt.json cannot be read \(Input/output error\)"):
            store.get("scores", "k")
    assert store.get("scores", "k") is not None


def test_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"score": [1.0, float("nan")], "reason": ["", "empty"]})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_frame(tmp_path / name, "rows", frame)
    assert (tmp_path / "a" / "rows.parquet").read_bytes() == (tmp_path / "b" / "rows.parquet").read_bytes()


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"cannot be written .* name another folder with --store"):
        Store.at(tmp_path / "file")
    with pytest.raises(BadInput, match="holds no results"):
        Store.existing(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="cannot be written"):
        Store.at(tmp_path / "store")


CALLS = {
    "write": (Path, "write_bytes"), "mkdir": (Path, "mkdir"), "rename": (Path, "rename"), "fsync": (os, "fsync"),
    "read": (Path, "read_bytes"), "list": (Path, "iterdir"),
}  # fmt: skip


def failing(monkeypatch: pytest.MonkeyPatch, place: int, kinds: tuple[str, ...]) -> Callable[[], int]:
    """Of all such calls together, the one at `place` fails as on a full disk; gives how many there were."""
    calls = 0

    def one(real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == place + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*given, **named)

        return call

    for kind in kinds:
        owner, name = CALLS[kind]
        monkeypatch.setattr(owner, name, one(getattr(owner, name)))
    return lambda: calls


def test_a_fault_at_any_call_of_the_writer_is_one_sentence_and_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, place = Store.at(tmp_path), 0
    while True:
        with monkeypatch.context() as patch:
            calls = failing(patch, place, ("write", "mkdir", "rename", "fsync", "read", "list"))
            try:
                committed(store)
            except BadInput as error:
                assert "No space left on device" in str(error) and str(tmp_path) in str(error)
            else:
                assert calls() == place  # one call more than there are: no fault at all
                break
        cell, damage = store.look("scores", "k")
        assert damage == [] and hidden(tmp_path) == []
        if cell is not None:  # the fault came after the cell had taken its place
            assert cell.frame("rows").score.tolist() == [1.0]
            store.delete("scores", "k")
        place += 1
    assert place >= 10
    assert store.get("scores", "k") is not None


def test_the_sentence_has_the_path_and_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing(patch, 0, ("write",))
        with pytest.raises(
            BadInput, match=r"rows.parquet cannot be written .* [\d,]+ bytes were to be written, [\d,]+ "
        ):
            write_frame(tmp_path, "rows", pd.DataFrame({"score": [1.0]}))


def test_deleting_is_one_step_and_says_what_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.at(tmp_path)
    store.delete("scores", "none")
    committed(store)
    with monkeypatch.context() as patch:
        failing(patch, 0, ("rename",))
        with pytest.raises(BadInput, match="cannot be written"):
            store.delete("scores", "k")
    assert store.get("scores", "k") is not None and hidden(tmp_path) == []
    store.delete("scores", "k")
    assert store.cells("scores") == [] and hidden(tmp_path) == []


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = Store.at(tmp_path)
        committed(store)
        put(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    folder = store.folder("scores", "k")
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {p.stat().st_mode & 0o777 for p in (*folder.iterdir(), tmp_path / "file")} == {0o644}


def test_what_a_dead_writer_left_is_no_cell_and_names_its_process(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    with subprocess.Popen(["true"]) as dead, store.commit("scores", "k", {}) as folder:
        (mine,) = store.scratches()
        assert (mine.kind, mine.key, mine.pid, mine.left_behind) == ("scores", "k", os.getpid(), False)
        write_frame(folder, "rows", pd.DataFrame({"score": [1.0]}))
        left = folder.with_name(folder.name.replace(f"-{os.getpid()}.", f"-{dead.pid}."))
        shutil.copytree(folder, left)
        dead.wait()
    assert [s.folder for s in store.scratches() if s.left_behind] == [left]
    assert store.cells("scores") == ["k"] and store.get("scores", "k") is not None


def test_of_another_machine_s_scratch_only_the_age_tells(tmp_path: Path) -> None:
    folder = tmp_path / ".k.elsewhere-1.abc"
    folder.mkdir()
    scratch = Scratch(folder, "scores", "k", "elsewhere", 1)
    assert not scratch.left_behind and not replace(scratch, folder=tmp_path / "gone").left_behind
    os.utime(folder, (time.time() - 2 * module.OLD,) * 2)
    assert scratch.left_behind
    assert Scratch(folder, "scores", "k", host(), os.getpid()).left_behind is False


def test_a_failure_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    assert store.failures() == [] and store.failure("maps", "k") is None
    store.fail("maps", "k", "net: lime", "failed", "ValueError: no")
    store.fail("scores", "k", "net: lime, iou", "skipped", "no region")
    record = store.failure("maps", "k")
    assert record is not None and (record["status"], record["reason"]) == ("failed", "ValueError: no")
    assert store.failures() == [("maps", "k"), ("scores", "k")]
    file = tmp_path / "failures" / "maps" / "k.json"
    file.write_bytes(file.read_bytes().replace(b"no", b"on"))
    assert store.failure("maps", "k") is None  # damaged: it is tried again
    assert store.forget_failures() == 2 and store.failures() == []


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.floats(allow_nan=False) | st.text(), min_size=1))
def test_a_sealed_record_is_json_and_reads_as_it_was(record: dict[str, object]) -> None:
    record.pop("sha256", None)
    if record:
        assert unseal(seal(record)) == record
        assert {k: v for k, v in json.loads(seal(record)).items() if k != "sha256"} == record


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b"[1]", seal({"a": 1})[:-1], seal({"a": 1}) + b" ", b"\xff" * 99]
)
def test_nothing_else_is_a_sealed_record(data: bytes) -> None:
    with pytest.raises(ValueError, match="sha256"):
        unseal(data)


@pytest.fixture
def old_file(tmp_path: Path) -> Iterator[Path]:
    put(tmp_path / "file", b"old")
    yield tmp_path / "file"


@pytest.mark.parametrize("kinds", [("write",), ("fsync",)])
def test_a_file_that_cannot_be_replaced_stays_as_it_was(
    old_file: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, 0, kinds)
        with pytest.raises(BadInput, match="3 bytes were to be written"):
            put(old_file, b"new")
    assert old_file.read_bytes() == b"old" and hidden(old_file.parent) == []


def test_what_is_removed_while_it_is_in_the_way_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, look = Store.at(tmp_path), Store.look
    committed(store, 1.0)

    def removed(self: Store, kind: str, key: str) -> object:
        shutil.rmtree(self.folder(kind, key), ignore_errors=True)
        return look(self, kind, key)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "look", removed)
        committed(store, 2.0)
    cell = store.get("scores", "k")
    assert cell is not None and cell.frame("rows").score.tolist() == [2.0]


def test_a_cell_that_vanishes_is_one_sentence(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    committed(store)
    cell = store.get("scores", "k")
    store.delete("scores", "k")
    assert cell is not None
    with pytest.raises(BadInput, match="vanished after it was checked"):
        cell.frame("rows")
