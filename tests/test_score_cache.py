"""Kept answers: found again bitwise, bounded, and safe to lose."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_bench.score_cache import ScoreCache


def rows(n: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, width), dtype=np.uint8), random.random((n, 3)).astype(np.float32)


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=30)
def test_what_was_put_is_found(n: int, width: int, seed: int) -> None:
    bits, values = rows(n, width, seed)
    bits[:, -1] |= 1  # players hidden at the end do not count
    bits = np.unique(bits, axis=0)
    values, names = values[: len(bits)], [f"picture {i % 3}" for i in range(len(bits))]
    cache = ScoreCache()
    assert cache.get(names, bits)[1] is None
    cache.put(names[::2], bits[::2], values[::2])
    known, found = cache.get(names, bits)
    assert known.tolist() == [i % 2 == 0 for i in range(len(bits))]
    assert found is not None
    assert np.array_equal(found[known], values[::2])


def test_pictures_do_not_share() -> None:
    bits, values = rows(2, 4)
    cache = ScoreCache()
    cache.put(["a", "a"], bits, values)
    assert not cache.get(["b", "b"], bits)[0].any()


@pytest.mark.parametrize("width", [5, 40])
def test_it_survives_on_disk(tmp_path: Path, width: int) -> None:
    bits, values = rows(10, width)
    first = ScoreCache(tmp_path)
    first.put(["x"] * 10, bits, values)
    first.flush()
    known, found = ScoreCache(tmp_path).get(["x"] * 10, bits)
    assert known.all() and np.array_equal(found, values)
    assert [p.suffix for p in tmp_path.iterdir()] == [".answers"]


def test_companions_with_more_players_change_no_key(tmp_path: Path) -> None:
    """A picture's coalitions are padded to the most players of its batch; what is kept must not care."""
    bits, values = rows(12, 6)
    cache = ScoreCache(tmp_path)
    cache.put(["x"] * 8, bits[:8], values[:8])
    padded = np.concatenate([bits, np.zeros((12, 30), np.uint8)], 1)
    assert cache.get(["x"] * 12, padded)[0].tolist() == [True] * 8 + [False] * 4
    cache.put(["x"] * 4, padded[8:], values[8:])
    cache.flush()
    known, found = ScoreCache(tmp_path).get(["x"] * 12, bits)
    assert known.all() and np.array_equal(found, values)


def test_a_damaged_or_deleted_file_only_costs_time(tmp_path: Path) -> None:
    bits, values = rows(4, 4)
    cache = ScoreCache(tmp_path)
    cache.put(["x"] * 4, bits, values)
    cache.flush()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    assert not ScoreCache(tmp_path).get(["x"] * 4, bits)[0].any()
    file.unlink()
    assert not ScoreCache(tmp_path).get(["x"] * 4, bits)[0].any()


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ScoreCache(tmp_path / "file")
    bits, values = rows(4, 4)
    cache.put(["x"] * 4, bits, values)
    cache.flush()
    assert cache.get(["x"] * 4, bits)[0].all()


def test_it_is_bounded_in_memory_and_on_disk(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path, limit=20_000)
    for i in range(40):
        bits, values = rows(50, 8, i)
        cache.put([f"picture {i}"] * 50, bits, values)
        assert cache._bytes <= 20_000 + 50 * 350
    cache.flush()
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 20_000
    bits, values = rows(50, 8, 39)
    assert ScoreCache(tmp_path, limit=20_000).get(["picture 39"] * 50, bits)[0].all()


def test_the_bound_in_memory_is_that_of_the_process() -> None:
    """Many small answers take far more than their bytes."""
    cache, limit = ScoreCache(limit=4_000_000), 4_000_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(40):
        bits, values = rows(1000, 8, i)
        cache.put([f"picture {i}"] * 1000, bits, values)
        del bits, values
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.4 * limit < kept < 1.1 * limit
