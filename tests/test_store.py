"""The store: nothing half-written is seen, damage is found, the first writer wins."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from xai_bench.errors import BadInput
from xai_bench.store import Store, StoreWarning, write_frame, write_tensors


def committed(store: Store, value: float = 1.0, key: str = "k") -> None:
    with store.commit("scores", key, {"seconds": 0.1}) as folder:
        write_frame(folder, "rows", pd.DataFrame({"score": [value]}))
        write_tensors(folder, "maps", {"maps": torch.tensor([value])})


def test_what_is_committed_is_read_back(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    assert store.get("scores", "k") is None
    committed(store)
    cell = store.get("scores", "k")
    assert cell is not None
    assert cell.frame("rows").score.tolist() == [1.0]
    assert cell.tensors("maps")["maps"].tolist() == [1.0]
    assert cell.receipt["seconds"] == 0.1
    assert store.cells("scores") == ["k"]


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    with pytest.raises(KeyError), store.commit("scores", "k", {}) as folder:
        write_frame(folder, "rows", pd.DataFrame({"score": [1.0]}))
        raise KeyError("stop")
    assert store.get("scores", "k") is None
    assert not any((tmp_path / "cells" / "scores").iterdir())


def test_the_first_writer_wins(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    committed(store, 1.0)
    committed(store, 2.0)
    cell = store.get("scores", "k")
    assert cell is not None
    assert cell.frame("rows").score.tolist() == [1.0]
    assert [p.name for p in (tmp_path / "cells" / "scores").iterdir()] == ["k"]


@pytest.mark.parametrize("name", ["rows.parquet", "maps.safetensors", "receipt.json"])
def test_a_flipped_byte_is_found_and_the_cell_removed(tmp_path: Path, name: str) -> None:
    store = Store.at(tmp_path)
    committed(store)
    file = store.folder("scores", "k") / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2 if name != "receipt.json" else 0] ^= 0xFF
    file.write_bytes(data)
    with pytest.warns(StoreWarning, match="scores/k is damaged"):
        assert store.get("scores", "k") is None
    assert store.cells("scores") == []


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="cannot be written"):
        Store.at(tmp_path / "store")


def test_a_full_disk_while_writing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.at(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(BadInput, match="No space left on device"):
        committed(store)
    assert store.cells("scores") == []
    assert not any((tmp_path / "cells" / "scores").iterdir())


def test_the_receipt_names_every_file(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    committed(store)
    receipt = json.loads((store.folder("scores", "k") / "receipt.json").read_text())
    assert sorted(receipt["files"]) == ["maps.safetensors", "rows.parquet"]


def test_a_cell_that_cannot_take_its_place_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    store = Store.at(tmp_path)
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(BadInput, match="No space left on device"):
        committed(store)
    assert store.get("scores", "k") is None and not list(tmp_path.rglob(".*"))
