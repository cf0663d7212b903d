"""Maps from a folder, in every format, and nothing that a file name or a file can do to us."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from xai_bench_explainers.precomputed import Precomputed, stems

from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Batch
from xai_bench.registry import EXPLAINERS
from xai_bench.spec import build, spec_of
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier

SIZE = (32, 48)


def maps(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *SIZE)).astype(np.float32)


def batch_of(*ids: str) -> Batch:
    return replace(tiny_batch(tiny_classifier(), count=len(ids)), ids=ids)


def explain(folder: Path, *ids: str) -> torch.Tensor:
    return Precomputed(str(folder))(tiny_classifier(), batch_of(*ids))


def test_one_file_a_picture_in_each_format(tmp_path: Path) -> None:
    a, b, c, _ = maps()
    gray = (np.abs(a) / np.abs(a).max() * 65535).astype(np.uint16)
    np.save(tmp_path / "one.npy", a[None])
    np.savez(tmp_path / "two.npz", anything=b)
    save_file({"map": torch.from_numpy(c).double()}, tmp_path / "three.safetensors")
    Image.fromarray(gray).save(tmp_path / "four.png")
    found = explain(tmp_path, "three", "one", "four", "two")
    expected = torch.from_numpy(np.stack([c, a, gray.astype(np.float32), b]))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["maps.npz", "maps.safetensors"])
def test_all_pictures_in_one_file_and_a_picture_s_own_file_comes_first(tmp_path: Path, kind: str) -> None:
    a, b, c, _ = maps()
    held = {"one": a, "sub/two": b}
    if kind.endswith("npz"):
        np.savez(tmp_path / kind, **held)
    else:
        save_file({k: torch.from_numpy(v) for k, v in held.items()}, tmp_path / kind)
    assert torch.equal(explain(tmp_path, "one", "sub/two"), torch.from_numpy(np.stack([a, b])))
    np.save(tmp_path / "one.npy", c)
    assert torch.equal(explain(tmp_path, "one")[0], torch.from_numpy(c))


def test_a_coarse_map_is_brought_to_the_picture_s_size(tmp_path: Path) -> None:
    coarse = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "one.npy", coarse)
    expected = torch.nn.functional.interpolate(torch.from_numpy(coarse).float()[None, None], SIZE, mode="bilinear")
    assert torch.allclose(explain(tmp_path, "one"), expected[:, 0])


def test_a_picture_without_a_map_gets_nan_and_none_at_all_is_unfit(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", maps()[0])
    found = explain(tmp_path, "one", "two")
    assert found[0].isfinite().all()
    assert found[1].isnan().all()
    with pytest.raises(Unfit, match="has no map of 'two'"):
        explain(tmp_path, "two", "three")


def test_the_contract_holds_and_the_spec_follows_what_the_files_hold(tmp_path: Path) -> None:
    for n, values in enumerate(maps()):
        np.save(tmp_path / f"picture {n}.npy", values)
    explainer = build("explainer", f"precomputed:{tmp_path}")
    assert explainer.label == f"precomputed:{tmp_path.name}"
    batch = tiny_batch(tiny_classifier())
    renamed = replace(batch, ids=tuple(f"picture {i}" for i in range(4)))
    assert torch.equal(explainer(tiny_classifier(), renamed), explainer(tiny_classifier(), batch))
    before = spec_of(explainer)
    assert spec_of(build("explainer", before)) == before
    (tmp_path / "notes.txt").write_text("no map")
    assert spec_of(Precomputed(str(tmp_path))) == before
    np.save(tmp_path / "picture 0.npy", maps()[0] * 2)
    changed = Precomputed(str(tmp_path))
    assert spec_of(changed) != before
    assert spec_of(build("explainer", before)) == spec_of(changed), "an old study is that of the new files"


def test_ids_stay_inside_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "maps"
    (inside / "sub").mkdir(parents=True)
    np.save(tmp_path / "secret.npy", maps()[0])
    np.save(inside / "sub" / "one.npy", maps()[1])
    np.save(inside / "a%3Ab.npy", maps()[2])
    found = explain(inside, "sub/one", "../secret", str(tmp_path / "secret"), "a:b")
    assert found.flatten(1).isnan().all(1).tolist() == [False, True, True, False]
    assert stems("/etc/film") == ["%2Fetc%2Ffilm"]
    assert stems("a\\..\\b") == ["a%5C..%5Cb"]
    assert stems("") == [""]


class Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_pickle_is_never_opened(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([Boom()], dtype=object)
    (np.save if suffix == "npy" else np.savez)(tmp_path / f"one.{suffix}", objects)
    with pytest.raises(BadInput, match=rf"'one.{suffix}' cannot be read as a map: .*pickle"):
        explain(tmp_path, "one")
    (tmp_path / "two.npy").write_bytes(pickle.dumps(Boom()))
    with pytest.raises(BadInput, match=r"'two.npy' cannot be read as a map"):
        explain(tmp_path, "two")
    assert not (tmp_path / "exploded").exists()


def write(folder: Path, kind: str) -> None:
    if kind == "shape":
        np.save(folder / "one.npy", np.zeros((2, *SIZE)))
    elif kind == "aspect":
        np.save(folder / "one.npy", np.zeros((40, 40)))
    elif kind == "color":
        Image.new("RGB", SIZE).save(folder / "one.png")
    elif kind == "several":
        np.savez(folder / "one.npz", a=np.zeros(SIZE), b=np.zeros(SIZE))
    elif kind == "twice":
        np.save(folder / "one.npy", np.zeros(SIZE))
        Image.new("L", SIZE).save(folder / "one.png")
    elif kind == "text":
        np.save(folder / "one.npy", np.array([["a", "b"]]))
    else:
        (folder / f"one.{kind}").write_bytes(b"no such thing")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("shape", r"'one.npy' has shape \(2, 32, 48\); expected one map"),
        ("aspect", r"is a map of 40 x 40, and the picture that the classifier sees has 32 x 48"),
        ("color", r"'one.png' cannot be read as a map: it is a picture in RGB, write gray"),
        ("several", r"'one.npz' cannot be read as a map: it holds 2 arrays, expected one"),
        ("twice", r"picture 'one' has several maps, 'one.npy' and 'one.png'; keep one"),
        ("text", r"'one.npy' cannot be read as a map: could not convert string"),
        ("npy", r"'one.npy' cannot be read as a map"),
        ("npz", r"'one.npz' cannot be read as a map"),
        ("png", r"'one.png' cannot be read as a map"),
        ("safetensors", r"'one.safetensors' cannot be read as a map"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, kind: str, said: str) -> None:
    write(tmp_path, kind)
    with pytest.raises(BadInput, match=said):
        explain(tmp_path, "one")


def test_a_wrong_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no folder; name the folder that holds the maps"):
        Precomputed(str(tmp_path / "no_such_folder"))
    with pytest.raises(Unfit, match="precomputed has no maps; name their folder"):
        EXPLAINERS["precomputed"].factory()(tiny_classifier(), batch_of("one"))


def test_contract(tmp_path: Path) -> None:
    """Maps under every id that the contract's pictures have, renamed ones included."""
    for name in (f"{prefix}picture {n}" for prefix in ("", "other ") for n in range(4)):
        np.save(tmp_path / f"{name}.npy", maps()[int(name[-1])])
    check_explainer(Precomputed(str(tmp_path)))
