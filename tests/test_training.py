"""Training: it learns, it is a function of its arguments, it goes on where it was stopped."""

import itertools
import logging
import math
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_bench.classifiers import _lightning
from xai_bench.classifiers.augment import Augment
from xai_bench.classifiers.checkpoint import save_checkpoint
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.small_attention import SmallAttention
from xai_bench.classifiers.small_cnn import SmallCNN
from xai_bench.classifiers.torchvision_zoo import TorchvisionModel
from xai_bench.classifiers.training import Training, TrainingSet, accuracy, label_rows, train
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head
from xai_bench.spec import make, spec_of

HEADS = (Head("bar", ("lying", "standing")),)
READER = Input(Resize(32, 32))
SMALL = SmallCNN(width=16)


def bars(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A bright bar somewhere in noise; which way it lies is the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=generator)
    images = 0.3 * torch.rand(n, 1, 32, 32, generator=generator)
    for image, label, (r, c) in zip(
        images, labels, torch.randint(2, 22, (n, 2), generator=generator).tolist(), strict=True
    ):
        height, width = (8, 2) if label else (2, 8)
        image[0, r : r + height, c : c + width] += 0.6
    return images, labels


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return TrainingSet(*bars(160, 0), *bars(64, 1))


def trained(
    data: TrainingSet,
    folder: Path,
    architecture: Any = SMALL,
    seed: int = 0,
    heads: tuple[Head, ...] = HEADS,
    **fields: Any,
) -> Classifier:
    training = Training(**{"epochs": 2, **fields})
    return train(architecture, training, heads, READER, data, seed=seed, folder=folder)


def test_small_cnn_learns_and_small_attention_learns_on_its_frozen_stem(tmp_path: Path, data: TrainingSet) -> None:
    cnn = trained(data, tmp_path / "state", epochs=12, learning_rate=1e-2)
    assert accuracy(cnn, data.validation_images, data.validation_labels)["bar"] >= 0.95
    save_checkpoint(cnn, tmp_path / "stem", {"architecture": spec_of(SMALL)})
    architecture = SmallAttention(stem=str(tmp_path / "stem"), width=16)
    attention = trained(data, tmp_path / "state", architecture, epochs=6)
    assert accuracy(attention, data.validation_images, data.validation_labels)["bar"] >= 0.95
    stem = attention.model.get_submodule("stem").state_dict()
    assert all(torch.equal(stem[name], t) for name, t in cnn.layer().state_dict().items())
    with pytest.raises(BadInput, match="expected a small_cnn of width 8"):
        replace(architecture, width=8).build(HEADS, READER, 0)


def test_same_seed_same_bits_other_seed_other_bits(tmp_path: Path, data: TrainingSet) -> None:
    fields = {"augment": Augment(flip=0.5), "class_weights": True}
    hashes = [trained(data, tmp_path, seed=seed, **fields).weights_hash() for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


class KilledError(Exception):
    """Stands for a kill between two epochs."""


@pytest.mark.parametrize("patience", [None, 5])
def test_a_killed_training_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, data: TrainingSet, monkeypatch: pytest.MonkeyPatch, patience: int | None
) -> None:
    fields: dict[str, Any] = {
        "architecture": SmallAttention(width=8),
        "epochs": 4,
        "patience": patience,
        "augment": Augment(),
    }
    whole = trained(data, tmp_path / "whole", **fields)
    assert not (tmp_path / "whole").exists()
    begin, epochs = _lightning.Fit.on_train_epoch_start, []

    def dying(self: Any) -> None:
        epochs.append(self.current_epoch)
        if epochs == [0, 1, 2]:
            raise KilledError
        begin(self)

    monkeypatch.setattr(_lightning.Fit, "on_train_epoch_start", dying)
    with pytest.raises(KilledError):
        trained(data, tmp_path / "cut", **fields)
    assert len(list((tmp_path / "cut").iterdir())) == 1
    rest = trained(data, tmp_path / "cut", **fields)
    assert epochs == [0, 1, 2, 2, 3]
    assert rest.weights_hash() == whole.weights_hash()
    assert not (tmp_path / "cut").exists()


def test_two_trainings_of_the_same_at_once_do_not_disturb_each_other(tmp_path: Path, data: TrainingSet) -> None:
    training, folder = Training("random_init", epochs=3, batch_size=16), tmp_path / "both"
    alone = train(SMALL, training, HEADS, READER, data, seed=0, folder=tmp_path / "alone")
    epochs, inner = list[int](), list[Classifier]()

    def meanwhile(_: int) -> None:  # a second process would do no other than this
        epochs.append(len(epochs))
        if len(epochs) == 2:
            (state,) = folder.iterdir()
            kept = state.read_bytes()
            inner.append(train(SMALL, training, HEADS, READER, data, seed=0, folder=folder))
            assert [state] == list(folder.iterdir()) and state.read_bytes() == kept

    outer = train(SMALL, training, HEADS, READER, data, seed=0, folder=folder, advance=meanwhile)
    assert alone.weights_hash() == outer.weights_hash() == inner[0].weights_hash()
    assert not folder.exists()


def test_another_training_does_not_take_up_the_state(
    tmp_path: Path, data: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(self: Any) -> None:
        if self.current_epoch == 1:
            raise KilledError
        begin(self)

    begin = _lightning.Fit.on_train_epoch_start
    alone = trained(data, tmp_path / "alone", seed=7)
    monkeypatch.setattr(_lightning.Fit, "on_train_epoch_start", dying)
    with pytest.raises(KilledError):
        trained(data, tmp_path / "shared")
    monkeypatch.undo()
    assert trained(data, tmp_path / "shared", seed=7).weights_hash() == alone.weights_hash()
    assert len(list((tmp_path / "shared").iterdir())) == 1  # the first one's state still waits


def test_state_that_is_damaged_or_a_pickle_is_refused(
    tmp_path: Path, data: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        _lightning.Fit,
        "on_validation_epoch_end",
        lambda self: (_ for _ in ()).throw(KilledError()) if self.current_epoch else None,
    )
    with pytest.raises(KilledError):
        trained(data, tmp_path)
    monkeypatch.undo()
    (state,) = tmp_path.iterdir()
    torch.save({"a": nn.Linear(1, 1)}, state)
    with pytest.raises(BadInput, match="is damaged"):
        trained(data, tmp_path)


@pytest.mark.parametrize("harm", [lambda d: d[: len(d) // 2], lambda d: d[:-40] + b"x" + d[-39:], lambda d: b""])
def test_a_torn_state_is_thrown_away_and_training_begins_again(
    tmp_path: Path, data: TrainingSet, monkeypatch: pytest.MonkeyPatch, harm: Callable[[bytes], bytes]
) -> None:
    def dying(self: Any) -> None:
        if self.current_epoch == 1:
            raise KilledError
        begin(self)

    begin = _lightning.Fit.on_train_epoch_start
    whole = trained(data, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(_lightning.Fit, "on_train_epoch_start", dying)
        trained(data, tmp_path / "cut")
    (state,) = (tmp_path / "cut").iterdir()
    state.write_bytes(harm(state.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged; it begins again"):
        again = trained(data, tmp_path / "cut")
    assert again.weights_hash() == whole.weights_hash()


def test_early_stopping_keeps_the_best_epoch(
    tmp_path: Path, data: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate that ruins later epochs: what is returned has the lowest validation loss of all that were seen."""
    seen: list[tuple[float, dict[str, Tensor]]] = []
    end = _lightning.Fit.on_train_epoch_end

    def spying(self: Any) -> None:
        weights = {name: t.clone() for name, t in self.network.state_dict().items()}
        seen.append((float(self.trainer.callback_metrics["validation_loss"]), weights))
        end(self)

    monkeypatch.setattr(_lightning.Fit, "on_train_epoch_end", spying)
    found = trained(data, tmp_path, epochs=12, patience=2, learning_rate=0.05)
    best = min(range(len(seen)), key=lambda i: seen[i][0])
    assert len(seen) == min(12, best + 3)
    assert all(torch.equal(t, seen[best][1][name]) for name, t in found.state_dict().items())
    with torch.inference_mode():
        loss = F.cross_entropy(found(data.validation_images), data.validation_labels[:, 0]).item()
    assert loss == pytest.approx(seen[best][0], rel=1e-4)


def test_nothing_global_changes_and_nothing_is_said(
    tmp_path: Path, data: TrainingSet, capfd: pytest.CaptureFixture[str]
) -> None:
    rng, level, filters = (
        torch.random.get_rng_state(),
        logging.getLogger("lightning.pytorch").level,
        warnings.filters[:],
    )
    trained(data, tmp_path / "state", epochs=1)
    assert torch.equal(rng, torch.random.get_rng_state())
    assert logging.getLogger("lightning.pytorch").level == level
    assert warnings.filters == filters
    assert not torch.are_deterministic_algorithms_enabled()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_result_is_ready_to_explain(tmp_path: Path, data: TrainingSet) -> None:
    found = trained(data, tmp_path, epochs=1, precision="bfloat16")
    assert not found.training
    assert all(p.requires_grad and p.grad is None and p.dtype == torch.float32 for p in found.parameters())


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> TorchvisionModel:
    path = tmp_path_factory.mktemp("weights") / "shufflenet.pth"
    torch.save(TorchvisionModel("shufflenet_v2_x0_5").build(HEADS, READER, 0).model.state_dict(), path)
    return TorchvisionModel("shufflenet_v2_x0_5", weights=str(path))


def changed(before: Classifier, after: Classifier) -> set[str]:
    old = before.state_dict()
    return {name for name, t in after.state_dict().items() if not torch.equal(t, old[name])}


def test_feature_extraction_changes_only_the_last_layer(
    tmp_path: Path, data: TrainingSet, pretrained: TorchvisionModel
) -> None:
    start = pretrained.build(HEADS, READER, 0)
    fast = trained(data, tmp_path, pretrained, regime="feature_extraction")
    slow = trained(
        data, tmp_path, pretrained, regime="feature_extraction", augment=Augment(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    )
    assert changed(start, fast) == changed(start, slow) == {"model.fc.weight", "model.fc.bias"}
    torch.testing.assert_close(
        fast.model.fc.weight, slow.model.fc.weight, atol=1e-4, rtol=1e-3
    )  # features once or every time


def test_feature_extraction_where_more_follows_the_last_layer(tmp_path: Path, data: TrainingSet) -> None:
    path = tmp_path / "weights.pth"
    torch.save(TorchvisionModel("squeezenet1_0").build(HEADS, READER, 0).model.state_dict(), path)
    architecture = TorchvisionModel("squeezenet1_0", weights=str(path))
    few = TrainingSet(data.images[:32], data.labels[:32], data.validation_images[:8], data.validation_labels[:8])
    found = trained(few, tmp_path, architecture, regime="feature_extraction", epochs=1)
    assert changed(architecture.build(HEADS, READER, 0), found) == {
        "model.classifier.1.weight",
        "model.classifier.1.bias",
    }


def test_fine_tuning_with_frozen_batch_norm_keeps_its_statistics(
    tmp_path: Path, data: TrainingSet, pretrained: TorchvisionModel
) -> None:
    start = pretrained.build(HEADS, READER, 0)
    few = TrainingSet(data.images[:64], data.labels[:64], data.validation_images[:8], data.validation_labels[:8])
    frozen = changed(start, trained(few, tmp_path, pretrained, regime="fine_tuning", epochs=1, freeze_batch_norm=True))
    free = changed(start, trained(few, tmp_path, pretrained, regime="fine_tuning", epochs=1))
    assert free - frozen == {name for name in start.state_dict() if "running" in name or "num_batches" in name}
    assert {"model.fc.weight", "model.conv1.0.weight", "model.conv1.1.weight"} <= frozen


def test_random_init_forgets_trained_weights(tmp_path: Path, data: TrainingSet, pretrained: TorchvisionModel) -> None:
    few = TrainingSet(data.images[:32], data.labels[:32], data.validation_images[:8], data.validation_labels[:8])
    one = trained(few, tmp_path, pretrained, epochs=1)
    assert one.weights_hash() == trained(few, tmp_path, replace(pretrained, weights="none"), epochs=1).weights_hash()


@pytest.mark.parametrize("regime", ["feature_extraction", "fine_tuning"])
def test_regimes_that_need_weights_say_so(tmp_path: Path, data: TrainingSet, regime: str) -> None:
    for architecture in (TorchvisionModel("squeezenet1_0"), SMALL):
        with pytest.raises(BadInput, match="starts from trained weights"):
            trained(data, tmp_path, architecture, regime=regime)


def test_bytes_and_floats_train_alike(tmp_path: Path, data: TrainingSet) -> None:
    whole = (data.images * 255).round().to(torch.uint8)
    check = (data.validation_images * 255).round().to(torch.uint8)
    as_bytes = TrainingSet(whole, data.labels, check, data.validation_labels)
    as_floats = TrainingSet(whole.float() / 255, data.labels, check.float() / 255, data.validation_labels)
    one, two = (trained(d, tmp_path, epochs=1) for d in (as_bytes, as_floats))
    assert one.weights_hash() == two.weights_hash()


def test_several_heads_learn_at_once_and_unknown_labels_are_left_out(tmp_path: Path) -> None:
    heads = (*HEADS, Head("signs", ("bright", "dark"), "sigmoid"))
    images, bar = bars(200, 2)
    dark = torch.arange(200) % 2
    images = images * (1 - 0.5 * dark).view(-1, 1, 1, 1)
    labels = torch.stack([bar, 1 - dark, dark], 1)
    labels[::3, 0] = -1
    labels[1::5, 1:] = -1
    found = trained(
        TrainingSet(images, labels, images[:0], labels[:0]), tmp_path, heads=heads, epochs=8, class_weights=True
    )
    assert min(accuracy(found, images, labels).values()) >= 0.95


def test_loss_is_the_sum_over_heads_of_means_over_known_labels() -> None:
    heads = (Head("a", ("x", "y", "z")), Head("b", ("u", "v"), "sigmoid"))
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([[0, 1, 0], [2, -1, 1], [-1, 0, 0], [1, 1, -1]])
    softmax = [
        -math.log(z[:3].exp()[y] / z[:3].exp().sum())
        for z, (y, *_) in zip(logits, labels.tolist(), strict=True)
        if y >= 0
    ]
    sigmoid = [
        math.log1p(math.exp(-z if y else z))
        for z, y in zip(logits[:, 3:].flatten().tolist(), labels[:, 1:].flatten().tolist(), strict=True)
        if y >= 0
    ]
    expected = sum(softmax) / 3 + sum(sigmoid) / 6
    assert _lightning.loss_of(heads, logits, labels, None).item() == pytest.approx(expected)
    assert _lightning.loss_of(heads, logits, torch.full_like(labels, -1), None).item() == 0


def test_class_weights_are_inverse_frequencies() -> None:
    heads = (Head("a", ("x", "y", "z")), Head("b", ("u",), "sigmoid"))
    labels = torch.tensor([[0, 1], [0, 0], [1, 0], [-1, 0]])
    softmax, sigmoid = _lightning.loss_weights(heads, labels)
    assert softmax.tolist() == [3 / (3 * 2), 3 / (3 * 1), 3 / 3]
    assert sigmoid.tolist() == [3.0]


def test_learning_rate_warms_up_to_one_and_falls_to_zero() -> None:
    rates = [_lightning.rate(step, 100) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(a >= b for a, b in itertools.pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(0)


def test_a_trailing_batch_of_one_is_left_out(tmp_path: Path, data: TrainingSet) -> None:
    """Batch norm on 1 x 1 maps cannot learn from a single picture and would raise."""
    few = TrainingSet(data.images[:33], data.labels[:33], data.validation_images, data.validation_labels)
    assert trained(few, tmp_path, TorchvisionModel("shufflenet_v2_x0_5"), epochs=1).n_logits == 2


def test_a_diverged_training_is_explained_and_leaves_no_classifier(tmp_path: Path, data: TrainingSet) -> None:
    images = data.images.clone()
    images[3] = float("nan")
    with pytest.raises(
        BadInput, match=r"training diverged in epoch 1: weights are NaN or infinite; lower learning_rate \(now 0.003\)"
    ):
        trained(TrainingSet(images, data.labels, data.validation_images, data.validation_labels), tmp_path)


def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path, data: TrainingSet) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be used"):
        trained(data, tmp_path / "file" / "state", epochs=1)


@pytest.mark.parametrize(
    ("labels", "heads", "message"),
    [
        (torch.tensor([0, 5]), HEADS, "labels reach from 0 to 5"),
        (torch.tensor([-1, -1]), HEADS, "no training picture has a label"),
        (torch.tensor([[0, 1], [1, 0]]), HEADS, "labels have 2 columns"),
        (torch.tensor([0, 1]), (Head("angle", ("cobb",), "identity"),), "raw outputs"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, labels: Tensor, heads: tuple[Head, ...], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        trained(
            TrainingSet(torch.rand(2, 1, 32, 32), labels, torch.rand(0, 1, 32, 32), labels[:0]), tmp_path, heads=heads
        )


def test_too_little_data_is_refused(tmp_path: Path) -> None:
    images, labels = bars(4, 0)
    with pytest.raises(BadInput, match="3 labels"):
        TrainingSet(images, labels[:3], images, labels)
    with pytest.raises(BadInput, match="1 training and 4 validation"):
        trained(TrainingSet(images[:1], labels[:1], images, labels), tmp_path)
    with pytest.raises(BadInput, match="4 training and 0 validation"):
        trained(TrainingSet(images, labels, images[:0], labels[:0]), tmp_path, patience=2)


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"freeze_batch_norm": True},
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Training(**fields)


def test_training_survives_its_spec() -> None:
    training = Training("fine_tuning", epochs=3, patience=2, augment=Augment(rotate=45.0), freeze_batch_norm=True)
    assert make(Training, spec_of(training)["fields"], where="training") == training


def test_label_rows_refuses_unknown_classes() -> None:
    with pytest.raises(BadInput, match="'sideways' is not a class of head 'bar'"):
        label_rows(HEADS, [{"bar": "sideways"}])


def test_digest_depends_on_every_pixel_and_label(data: TrainingSet) -> None:
    images, labels = data.images.clone(), data.labels.clone()
    images[0, 0, 0, 0] += 1e-3
    labels[-1] = 1 - labels[-1]
    variants = [
        data,
        replace(data, images=images),
        replace(data, labels=labels),
        replace(data, validation_labels=data.validation_labels.flip(0)),
    ]
    assert len({d.digest() for d in variants}) == 4
    assert replace(data).digest() == data.digest()


def test_ctrl_c_while_training_is_an_interrupt_and_training_goes_on_later(data: TrainingSet, tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    training = Training(epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, training, HEADS, READER, data, seed=0, folder=tmp_path, advance=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler  # the next Ctrl-C works too
    resumed = train(SMALL, training, HEADS, READER, data, seed=0, folder=tmp_path)
    assert resumed.weights_hash() == trained(data, tmp_path / "whole").weights_hash()
