"""The quick look at one film: what it says is what the classifier says; nothing half-written."""

import errno
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from xai_bench.classifiers.checkpoint import load_checkpoint, save_checkpoint
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.small_cnn import SmallCNN
from xai_bench.cli.single import explain_film
from xai_bench.errors import BadInput, UnknownName
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch
from xai_bench.registry import EXPLAINERS, explainer
from xai_bench.samples import Head
from xai_bench.spec import spec_of

CLASSES = ("normal", "scoliosis", "spondylolisthesis")
ASKED: list[int] = []


@dataclass(frozen=True)
class Asked:
    """Remembers the target."""

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        ASKED.extend(batch.targets.tolist())
        return batch.images.mean(1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the registered explainer `asked` was asked to explain."""
    len(EXPLAINERS)  # the built-in ones come first
    monkeypatch.setattr(EXPLAINERS, "_entries", dict(EXPLAINERS._entries))
    explainer("asked")(Asked)
    ASKED.clear()
    return ASKED


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    network = SmallCNN(width=8)
    classifier = network.build((Head("view", CLASSES),), Input(Resize(40, 32)), seed=1)
    save_checkpoint(classifier, tmp_path / "checkpoint", {"architecture": spec_of(network)})
    return tmp_path / "checkpoint"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 32), dtype=np.uint8)).save(path)
    return path


def width(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.width


def test_it_says_what_the_classifier_says(checkpoint: Path, film: Path, tmp_path: Path, asked: list[int]) -> None:
    lines = explain_film(film, checkpoint, ["asked", "grad_cam"], None, tmp_path / "map.png")
    classifier, _ = load_checkpoint(checkpoint)
    with Image.open(film) as picture:
        pixels = torch.from_numpy(np.array(picture).astype(np.float32) / 255)[None, None]
    with torch.inference_mode():
        p = classifier.probabilities(classifier(pixels))[0]
    assert lines[0] == "prediction: " + ", ".join(f"{c} {v:.3f}" for c, v in zip(CLASSES, p.tolist(), strict=True))
    assert [line.split(":")[0] for line in lines] == ["prediction", "asked", "grad_cam", "picture"]
    assert asked == [int(p.argmax())]
    explain_film(film, checkpoint, ["asked"], None, tmp_path / "one.png")
    assert 2 * width(tmp_path / "map.png") == 3 * width(tmp_path / "one.png")  # the film and each map side by side


@pytest.mark.parametrize("index", range(3))
def test_a_named_class_is_explained(checkpoint: Path, film: Path, tmp_path: Path, asked: list[int], index: int) -> None:
    explain_film(film, checkpoint, ["asked"], CLASSES[index], tmp_path / "map.png")
    assert asked == [index]


@pytest.mark.parametrize("kind", ["16 bits", "color", "palette", "transparent"])
def test_films_of_every_kind(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    gray = np.random.default_rng(0).integers(0, 255, (50, 40), dtype=np.uint8)
    color = Image.fromarray(np.dstack([gray, gray // 2, gray]))
    made = {
        "16 bits": Image.fromarray(gray.astype(np.uint16) * 257),
        "color": color,
        "palette": color.convert("P"),
        "transparent": color.convert("RGBA"),
    }
    made[kind].save(tmp_path / "film.png")
    lines = explain_film(tmp_path / "film.png", checkpoint, ["grad_cam"], None, tmp_path / "map.png")
    assert lines[0].startswith("prediction: normal 0.")


def test_mistakes_are_named(checkpoint: Path, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.png"
    for name, target, error, said in (
        ("grad_kam", None, UnknownName, "Did you mean 'grad_cam'"),
        ("mean_region", None, BadInput, "must be fitted on training films"),
        ("grad_cam", "fracture", BadInput, "choose normal, scoliosis, spondylolisthesis"),
        ("grad_cam:nothing", None, BadInput, "layer 'nothing' does not exist"),
    ):
        with pytest.raises(error, match=said):
            explain_film(film, checkpoint, [name], target, out)
    with pytest.raises(BadInput, match="is no file"):
        explain_film(tmp_path, checkpoint, ["grad_cam"], None, out)
    with pytest.raises(BadInput, match=r"ending in \.png"):
        explain_film(film, checkpoint, ["grad_cam"], None, tmp_path / "map.jpg")
    assert not out.exists()


def test_a_model_that_returns_nan_is_said(checkpoint: Path, film: Path, tmp_path: Path) -> None:
    classifier, card = load_checkpoint(checkpoint)
    with torch.no_grad():
        list(classifier.parameters())[-1].fill_(torch.nan)
    save_checkpoint(classifier, checkpoint, card)
    with pytest.raises(BadInput, match="NaN or infinite"):
        explain_film(film, checkpoint, ["grad_cam"], None, tmp_path / "map.png")


def test_a_full_disk_leaves_the_old_picture_and_nothing_else(
    checkpoint: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "map.png"
    out.parent.mkdir()
    out.write_bytes(b"old")
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write(self, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInput, match=r"cannot be written \(No space left on device\); name another with --out"):
        explain_film(film, checkpoint, ["grad_cam"], None, out)
    assert [p.name for p in out.parent.iterdir()] == ["map.png"] and out.read_bytes() == b"old"
