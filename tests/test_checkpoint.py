"""Checkpoints: safetensors and a card, written whole or not at all; pickles are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from xai_bench.classifiers.checkpoint import load_checkpoint, save_checkpoint
from xai_bench.classifiers.small_attention import SmallAttention
from xai_bench.classifiers.small_cnn import SmallCNN
from xai_bench.classifiers.timm_zoo import TimmModel
from xai_bench.classifiers.torchvision_zoo import TorchvisionModel
from xai_bench.classifiers.training import Training
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Intensity, Resize
from xai_bench.samples import Head
from xai_bench.spec import spec_of

HEADS = (Head("finding", ("no", "yes")), Head("signs", ("a", "b"), "sigmoid"))
READER = Input(Resize(48, 40, "letterbox"), Intensity("percentile", 1, 99))
SMALL = SmallCNN(width=8)


def card_of(architecture: object, **more: Any) -> dict[str, Any]:
    return {"architecture": spec_of(architecture), **more}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(SMALL.build(HEADS, READER, seed=1), tmp_path / "model", card_of(SMALL))
    return tmp_path / "model"


@pytest.mark.parametrize(
    "architecture",
    [
        SMALL,
        SmallAttention(width=8),
        TorchvisionModel("squeezenet1_0", mean=(0.5,) * 3, std=(0.5,) * 3),
        TimmModel("mobilevit_xxs"),
    ],
    ids=lambda a: a.xai_bench_name,
)
def test_what_is_saved_comes_back(tmp_path: Path, architecture: Any) -> None:
    classifier = architecture.build(HEADS, READER, seed=5).eval()
    card = card_of(architecture, training=spec_of(Training(epochs=3)), seed=5, data="abc", accuracy={"finding": 0.9})
    save_checkpoint(classifier, tmp_path / "model", card)
    loaded, found = load_checkpoint(tmp_path / "model")
    images = torch.rand(2, 1, 48, 40)
    assert torch.equal(loaded(images), classifier(images))
    assert (loaded.heads, loaded.reader, loaded.architecture) == (HEADS, READER, classifier.architecture)
    assert not loaded.training
    assert found["weights"] == loaded.weights_hash() == classifier.weights_hash()
    assert card.items() <= found.items()


def test_the_pretrained_file_is_not_needed_again(tmp_path: Path) -> None:
    path = tmp_path / "pretrained.pth"
    torch.save(TorchvisionModel("squeezenet1_0").build(HEADS, READER, 0).model.state_dict(), path)
    architecture = TorchvisionModel("squeezenet1_0", weights=str(path))
    save_checkpoint(architecture.build(HEADS, READER, 0), tmp_path / "model", card_of(architecture))
    path.unlink()
    assert load_checkpoint(tmp_path / "model")[1]["architecture"] == spec_of(architecture)


def test_saving_twice_gives_the_same_bytes_and_replaces_the_old(saved: Path) -> None:
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    save_checkpoint(SMALL.build(HEADS, READER, seed=1), saved, card_of(SMALL))
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    save_checkpoint(SMALL.build(HEADS, READER, seed=2), saved, card_of(SMALL))
    assert len(list(saved.iterdir())) == 2
    assert load_checkpoint(saved)[0].weights_hash() == SMALL.build(HEADS, READER, seed=2).weights_hash()


def test_a_save_that_fails_leaves_the_old_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    before = load_checkpoint(saved)[0].weights_hash()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BadInput, match="No space left on device"):
        save_checkpoint(SMALL.build(HEADS, READER, seed=2), saved, card_of(SMALL))
    monkeypatch.undo()
    assert load_checkpoint(saved)[0].weights_hash() == before
    assert len(list(saved.iterdir())) == 2


def test_a_checkpoint_of_another_architecture_is_refused(saved: Path) -> None:
    change(saved, architecture=spec_of(SmallCNN(width=10)))
    with pytest.raises(
        BadInput, match=r"another architecture than small_cnn: 0 tensors missing, 0 unexpected, \d+ of another shape"
    ):
        load_checkpoint(saved)
    change(saved, architecture=spec_of(TorchvisionModel("squeezenet1_0")))
    with pytest.raises(BadInput, match=r"another architecture than squeezenet1_0: \d+ tensors missing"):
        load_checkpoint(saved)


def change(folder: Path, **fields: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **fields}))


def test_a_flipped_bit_is_noticed(saved: Path) -> None:
    (weights,) = saved.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BadInput, match="damaged or was edited"):
        load_checkpoint(saved)


def test_a_cut_file_is_noticed(saved: Path) -> None:
    (weights,) = saved.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(BadInput, match="not a readable safetensors file"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.pth", "model.pkl"])
def test_a_pickled_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    torch.save(SMALL.build(HEADS, READER, 0), tmp_path / name)
    with pytest.raises(BadInput, match="is a pickle, which can run code"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.pth", "../other/weights.safetensors"])
def test_a_card_may_only_name_safetensors_beside_it(saved: Path, name: str) -> None:
    change(saved, file=name)
    with pytest.raises(BadInput, match=r"only a \.safetensors file in the same folder is read"):
        load_checkpoint(saved)


def test_a_missing_or_broken_card_is_explained(saved: Path) -> None:
    (saved / "card.json").write_text("{")
    with pytest.raises(BadInput, match="not readable JSON"):
        load_checkpoint(saved)
    (saved / "card.json").write_text('{"heads": []}')
    with pytest.raises(BadInput, match="lacks architecture, reader, weights, file"):
        load_checkpoint(saved)
    (saved / "card.json").unlink()
    with pytest.raises(BadInput, match=r"has no card\.json"):
        load_checkpoint(saved)


def test_a_card_needs_its_architecture(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs `architecture`"):
        save_checkpoint(SMALL.build(HEADS, READER, 0), tmp_path / "model", {})
    assert not (tmp_path / "model").exists()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        save_checkpoint(SMALL.build(HEADS, READER, 0), tmp_path / "file" / "model", card_of(SMALL))


@pytest.mark.parametrize("fields", [{"heads": 3}, {"heads": [3]}, {"reader": "224"}, {"architecture": "small_cnn"}])
def test_an_edited_card_is_explained(saved: Path, fields: dict[str, Any]) -> None:
    change(saved, **fields)
    with pytest.raises(BadInput, match="does not describe architecture, reader and heads"):
        load_checkpoint(saved)


def test_missing_weights_are_explained(saved: Path) -> None:
    next(saved.glob("weights-*")).unlink()
    with pytest.raises(BadInput, match=r"lacks its weights 'weights-.*'; copy the whole folder"):
        load_checkpoint(saved)
