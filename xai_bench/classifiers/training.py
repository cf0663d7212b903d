"""Training classifiers: what is trained, on what, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from xai_bench.classifiers.augment import Augment
from xai_bench.classifiers.checkpoint import bare
from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.classifiers.layers import last_layers
from xai_bench.errors import BadInput
from xai_bench.inputs import Input
from xai_bench.samples import Head
from xai_bench.spec import digest, spec_of

Regime = Literal["random_init", "feature_extraction", "fine_tuning"]


@dataclass(frozen=True)
class Training:
    """How a classifier is trained: AdamW, learning rate warmed up over 5 % of the steps, then lowered along a cosine.

    The default rate is for small networks from scratch; fine-tuning wants about a tenth of it.

    `random_init` forgets an architecture's trained weights, `feature_extraction` trains only the last layer on the
    frozen rest, `fine_tuning` trains all. With `patience`, training stops after so many epochs without a lower
    validation loss and the best epoch is kept; without, the last one is. `class_weights` weighs classes inversely to
    their number of films.
    `freeze_batch_norm` keeps the pretrained statistics, which small batches would spoil.
    """

    regime: Regime = "random_init"
    epochs: int = 12
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int | None = None
    class_weights: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    freeze_batch_norm: bool = False
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or (self.patience is not None and self.patience < 1):
            raise BadInput(
                f"epochs {self.epochs} and patience {self.patience} must be at least 1, "
                f"batch_size {self.batch_size} at least 2."
            )
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise BadInput(
                f"learning_rate {self.learning_rate} must be above 0 and weight_decay {self.weight_decay} not below 0."
            )
        if self.freeze_batch_norm and self.regime != "fine_tuning":
            raise BadInput(
                f"freeze_batch_norm keeps pretrained statistics while fine-tuning; remove it for {self.regime!r}."
            )


@dataclass(frozen=True)
class TrainingSet:
    """Films in memory at model size, bytes or floats in [0, 1], and their labels.

    A softmax head takes one column of labels (the class's index), a sigmoid head one column a class (1 or 0); -1 is
    unknown and not learned from. One softmax head may have labels of shape (n,). `label_rows` makes them.
    """

    images: Float[Tensor, "n ..."] | UInt8[Tensor, "n ..."]
    labels: Int[Tensor, "n ..."]
    validation_images: Float[Tensor, "m ..."] | UInt8[Tensor, "m ..."]
    validation_labels: Int[Tensor, "m ..."]

    def __post_init__(self) -> None:
        for name in ("labels", "validation_labels"):
            labels = getattr(self, name)
            object.__setattr__(
                self, name, labels[:, None] if labels.ndim == 1 else labels
            )  # a frozen dataclass normalizes once
        for images, labels, what in (
            (self.images, self.labels, "training"),
            (self.validation_images, self.validation_labels, "validation"),
        ):
            if len(images) != len(labels):
                raise BadInput(
                    f"{len(images)} {what} pictures have {len(labels)} labels; give one row of labels for each picture."
                )

    def check(self, heads: Sequence[Head], training: Training) -> None:
        """Raises BadInput where labels do not fit the heads, or where there is too little to train on."""
        columns = [len(h.classes) if h.link == "sigmoid" else 1 for h in heads]
        raw = [h.name for h in heads if h.link == "identity"]
        if raw:
            raise BadInput(
                f"head {raw[0]!r} has raw outputs (identity); only softmax and sigmoid heads can be trained."
            )
        if len(self.images) < 2 or (training.patience is not None and not len(self.validation_images)):
            raise BadInput(
                f"{len(self.images)} training and {len(self.validation_images)} validation pictures; expected at "
                "least 2 to train on, and at least 1 to validate on where `patience` is set."
            )
        limits = torch.tensor(
            [n for h in heads for n in ([2] * len(h.classes) if h.link == "sigmoid" else [len(h.classes)])]
        )
        for labels in (self.labels, self.validation_labels):
            if labels.shape[1] != sum(columns):
                raise BadInput(
                    f"labels have {labels.shape[1]} columns; heads {[h.name for h in heads]} take {columns}, "
                    "as label_rows makes them."
                )
            if (labels < -1).any() or (labels >= limits).any():
                raise BadInput(
                    f"labels reach from {labels.min()} to {labels.max()}; expected -1 (unknown), or from 0 to less "
                    f"than {limits.tolist()}."
                )
        if (self.labels < 0).all():
            raise BadInput("no training picture has a label; label some, or choose another head.")

    def digest(self) -> str:
        """A hash of all pictures and labels."""
        found = hashlib.sha256()
        for f in fields(self):
            tensor = getattr(self, f.name).contiguous()
            found.update(f"{f.name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()[:24]


def columns_of(heads: Sequence[Head], labels: Int[Tensor, "n columns"]) -> Sequence[Int[Tensor, "n ..."]]:
    """Each head's columns of labels."""
    return torch.split(labels, [len(h.classes) if h.link == "sigmoid" else 1 for h in heads], dim=1)


def label_rows(heads: Sequence[Head], labels: Sequence[Mapping[str, str | None]]) -> Int[Tensor, "n columns"]:
    """Labels by name as a TrainingSet takes them. Raises BadInput for a class that a head lacks.

    >>> heads = [Head("a", ("x", "y")), Head("b", ("u", "v"), "sigmoid")]
    >>> label_rows(heads, [{"a": "y", "b": "u"}, {"a": None}]).tolist()
    [[1, 1, 0], [-1, -1, -1]]
    """
    rows = [[value for head in heads for value in _columns(head, row.get(head.name))] for row in labels]
    count = sum(len(_columns(head, None)) for head in heads)
    return torch.tensor(rows, dtype=torch.long).view(len(labels), count)


def _columns(head: Head, label: str | None) -> list[int]:
    if label is not None and label not in head.classes:
        raise BadInput(f"label {label!r} is not a class of head {head.name!r}, which has {', '.join(head.classes)}.")
    if head.link == "sigmoid":
        return [-1 if label is None else int(c == label) for c in head.classes]
    return [-1 if label is None else head.classes.index(label)]


def train(
    architecture: Any,
    training: Training,
    heads: Sequence[Head],
    reader: Input,
    data: TrainingSet,
    *,
    seed: int,
    folder: Path,
    advance: Callable[[int], None] = lambda _: None,
) -> Classifier:
    """Train a registered architecture; the same seed, data and thread count give bitwise the same weights.

    `folder` holds the state of a training that was stopped: calling again with the same arguments goes on after the
    last complete epoch and ends with the same weights. It is removed at the end. `advance(1)` is called after each
    epoch. Raises BadInput for data that do not fit, and where the loss is no longer a number.
    """
    from xai_bench.classifiers._lightning import Job, fit  # Lightning takes seconds to import

    data.check(heads, training)
    classifier = _start(architecture, training).build(heads, reader, seed)
    parts = [
        spec_of(architecture),
        spec_of(training),
        spec_of(reader),
        [spec_of(h) for h in heads],
        seed,
        data.digest(),
    ]
    network: nn.Module = classifier
    if training.regime == "fine_tuning":
        classifier.requires_grad_(True)
    elif training.regime == "feature_extraction":
        classifier.requires_grad_(False)
        ends = last_layers(classifier.model)
        for layer in ends.values():
            layer.requires_grad_(True)
        if training.augment is None and len(ends) == 1:
            network, data = _on_features(classifier, next(iter(ends.values())), data, training)
    fit(network, Job(tuple(heads), training, data, seed, folder / f"{digest(parts)}.ckpt", advance))
    return _tidy(classifier)


def _start(architecture: Any, training: Training) -> Any:
    """What the regime starts from. A stem is no weights: it is a part of the architecture, and stays frozen."""
    if training.regime == "random_init":
        return replace(architecture, weights="none") if hasattr(architecture, "weights") else architecture
    if bare(architecture) == architecture:
        raise BadInput(
            f"regime {training.regime!r} starts from trained weights, and {architecture} has none; give `weights`, or "
            "use 'random_init'."
        )
    return architecture


def _on_features(
    classifier: Classifier, last: nn.Module, data: TrainingSet, training: Training
) -> tuple[nn.Module, TrainingSet]:
    """The last layer and what goes into it, computed once; all as it was where more follows that layer."""
    sample = data.images[:2]
    inputs, outputs, logits = _through(classifier, last, sample, training)
    if not isinstance(last, nn.Linear) or inputs.ndim != 2 or not torch.equal(outputs, logits):
        return classifier, data
    parts = []
    for images in (data.images, data.validation_images):
        batches = (
            [_through(classifier, last, part, training)[0] for part in torch.split(images, training.batch_size)]
            if len(images)
            else []
        )
        parts.append(torch.cat(batches) if batches else inputs[:0])
    return last, TrainingSet(parts[0], data.labels, parts[1], data.validation_labels)


def _through(
    classifier: Classifier, last: nn.Module, images: Tensor, training: Training
) -> tuple[Tensor, Tensor, Tensor]:
    seen: list[Tensor] = []
    handle = last.register_forward_hook(lambda _m, args, output: seen.extend([args[0], output]))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        low = torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16")
        with untouched(classifier), torch.no_grad(), low:
            logits = classifier.to(device)(as_floats(images.to(device)))
    finally:
        handle.remove()
        classifier.cpu()
    return seen[0].float().cpu(), seen[1].float().cpu(), logits.float().cpu()


def as_floats(images: Tensor) -> Tensor:
    """Bytes to [0, 1]; floats as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def _tidy(classifier: Classifier) -> Classifier:
    """On the CPU, in eval mode, without gradients."""
    classifier.cpu().eval().requires_grad_(True)
    for parameter in classifier.parameters():
        parameter.grad = None
    return classifier


def accuracy(
    classifier: Classifier, images: Tensor, labels: Int[Tensor, "n columns"], batch_size: int = 64
) -> dict[str, float]:
    """Share of labels that each head gets right, in [0, 1]; NaN without labels."""
    with untouched(classifier), torch.inference_mode():
        parts = [classifier(as_floats(part.to(classifier.device))).cpu() for part in torch.split(images, batch_size)]
    logits = torch.split(torch.cat(parts), [len(h.classes) for h in classifier.heads], dim=1)
    columns = columns_of(classifier.heads, labels)
    found = {}
    for head, z, wanted in zip(classifier.heads, logits, columns, strict=True):
        guess = (z > 0).long() if head.link == "sigmoid" else z.argmax(1, keepdim=True)
        found[head.name] = (guess == wanted)[wanted >= 0].float().mean().item()
    return found
