"""The training loop, run by Lightning. A module of its own because importing Lightning takes seconds."""

from __future__ import annotations

import fcntl
import io
import logging
import math
import os
import pickle
import shutil
import signal
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from lightning.pytorch.callbacks import Callback, EarlyStopping, LambdaCallback, ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from xai_bench.classifiers.training import Training, TrainingSet, as_floats, columns_of
from xai_bench.errors import BadInput
from xai_bench.interruption import between_cells
from xai_bench.samples import Head

WARM_UP = 0.05
MONITORED = "validation_loss"


@dataclass(frozen=True)
class Job:
    """One training: `path` is where its state is kept between epochs."""

    heads: tuple[Head, ...]
    training: Training
    data: TrainingSet
    seed: int
    path: Path
    advance: Callable[[int], None]  # called with 1 after each epoch


def fit(network: nn.Module, job: Job) -> None:
    """Train a network from pictures (or features) to logits in place, going on where an earlier call was stopped."""
    with _claimed(job.path) as path:
        _fit(network, replace(job, path=path))


def _fit(network: nn.Module, job: Job) -> None:
    task = Fit(network, job)
    state = _sound(job.path)
    devices = range(torch.cuda.device_count())
    with _folder_problems(job.path), _quiet(), _own_backend(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(job.seed)
        handler = signal.getsignal(signal.SIGINT)
        try:
            _trainer(job).fit(task, _Count(task.steps), _Count(task.checks), ckpt_path=state, weights_only=True)
        except SystemExit as stop:
            if not isinstance(stop.__context__, KeyboardInterrupt):
                raise
            signal.signal(signal.SIGINT, handler)  # on Ctrl-C Lightning ignores the signal for good, and exits
            raise KeyboardInterrupt from None
        except (pickle.UnpicklingError, EOFError) as error:
            raise BadInput(
                f"the state of a stopped training, {str(job.path)!r}, is damaged; delete it to begin again."
            ) from error
    if task.best is not None:
        network.load_state_dict(task.best)
    job.path.unlink(missing_ok=True)
    with suppress(OSError):  # another process keeps its state there
        job.path.parent.rmdir()


@contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    """The path while no other process of this machine uses it, else one beside it that only this process knows."""
    while True:
        with _folder_problems(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder = os.open(path.parent, os.O_RDONLY)
            except FileNotFoundError:  # another process has just ended
                continue
        try:
            if not _locked(folder):
                path = path.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
            elif not (path.parent.is_dir() and path.parent.stat().st_ino == os.fstat(folder).st_ino):
                continue  # another process removed the folder before it could be claimed
            yield path
            return
        finally:
            os.close(folder)


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed when the process ends, however it ends
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: nobody can tell whether others are there
        return True
    return True


def _sound(path: Path) -> str | None:
    """Where a stopped training goes on. A state that a full disk or a dying machine left damaged is thrown away."""
    if not path.is_file():
        return None
    data = io.BytesIO(path.read_bytes())
    try:
        sound = zipfile.ZipFile(data).testzip() is None
    except Exception:  # flipped bytes break a zip file in many ways
        sound = False
    if sound:
        return str(path)
    warnings.warn(f"the state of a stopped training, {path}, is damaged; it begins again.", UserWarning, stacklevel=2)
    path.unlink()
    return None


@contextmanager
def _folder_problems(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"training folder {str(path.parent)!r} cannot be used ({error.strerror or error}, "
            f"{_free(path)}); free space or choose another folder; the same command then goes on."
        ) from error


def _free(path: Path) -> str:
    for folder in path.parents:
        if folder.is_dir():
            return f"{shutil.disk_usage(folder).free:,} bytes are free there"
    return "nothing is there"


class Fit(pl.LightningModule):  # type: ignore[misc]  # Lightning ships no types that we follow
    """One network's losses, order of pictures, and best epoch. An epoch's randomness is a function of (seed, epoch)."""

    def __init__(self, network: nn.Module, job: Job) -> None:
        super().__init__()
        self.network = network
        self.job = job
        self.best: dict[str, Tensor] | None = None
        self.best_loss = math.inf
        self.weights = loss_weights(job.heads, job.data.labels) if job.training.class_weights else None
        self.order: tuple[Tensor, ...] = ()
        self.generator = torch.Generator()
        whole, rest = divmod(len(job.data.images), job.training.batch_size)
        self.steps = max(1, whole + (rest > 1))  # batch norm cannot learn from a batch of one picture
        self.checks = math.ceil(len(job.data.validation_images) / job.training.batch_size)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with warm-up and cosine, step by step."""
        training = self.job.training
        wanted = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(wanted, training.learning_rate, weight_decay=training.weight_decay)
        total = self.steps * training.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """A training that was stopped after its last epoch has nothing left to do."""
        if any(isinstance(c, EarlyStopping) and c.wait_count >= c.patience for c in self.trainer.callbacks):
            self.trainer.should_stop = True

    def on_train_epoch_start(self) -> None:
        """A new order of the pictures; frozen parts in eval mode."""
        between_cells()  # the state of the last epoch is on disk
        seed = (self.job.seed << 16) + self.current_epoch
        torch.manual_seed(seed)  # dropout
        self.generator.manual_seed(seed)
        shuffled = torch.randperm(len(self.job.data.images), generator=self.generator)
        self.order = torch.split(shuffled, self.job.training.batch_size)
        set_modes(self.network, self.job.training)

    def training_step(self, step: int) -> Tensor:
        """The loss of one batch."""
        rows = self.order[step]
        images = as_floats(self.job.data.images[rows].to(self.device))
        if self.job.training.augment is not None:
            images = self.job.training.augment(images, self.generator)
        return self._loss(images, self.job.data.labels[rows])

    def validation_step(self, step: int) -> None:
        """Add one batch to the epoch's validation loss."""
        rows = slice(step * self.job.training.batch_size, (step + 1) * self.job.training.batch_size)
        images = as_floats(self.job.data.validation_images[rows].to(self.device))
        self.log(
            MONITORED, self._loss(images, self.job.data.validation_labels[rows]), batch_size=len(images), prog_bar=True
        )

    def on_train_epoch_end(self) -> None:
        """Keep the best epoch's weights."""
        broken = [n for n, p in self.network.named_parameters() if not torch.isfinite(p).all()]
        loss = float(self.trainer.callback_metrics.get(MONITORED, 0.0))
        if broken or not math.isfinite(loss):
            raise BadInput(
                f"training diverged in epoch {self.current_epoch + 1}: {'weights are' if broken else 'the loss is'} "
                f"NaN or infinite; lower learning_rate (now {self.job.training.learning_rate:g}) or check the pictures."
            )
        if self.job.training.patience is not None and loss < self.best_loss:
            self.best_loss = loss
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The best epoch goes into the saved state."""
        checkpoint["best"], checkpoint["best_loss"] = self.best, self.best_loss

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """And comes back from it."""
        self.best, self.best_loss = checkpoint["best"], checkpoint["best_loss"]

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return loss_of(self.job.heads, self.network(images).float(), labels.to(self.device), self.weights)


def set_modes(network: nn.Module, training: Training) -> None:
    """Train mode, but eval for what must stay as it is: a frozen trunk, batch norm where asked for or itself frozen."""
    network.train(training.regime != "feature_extraction")
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            frozen = module.weight is not None and not module.weight.requires_grad
            module.train(module.training and not training.freeze_batch_norm and not frozen)


def rate(step: int, total: int) -> float:
    """Factor of the learning rate: a line up to 1 in the first 5 % of the steps, then a cosine down to 0."""
    warm = max(1, round(WARM_UP * total))
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def loss_of(
    heads: Sequence[Head],
    logits: Float[Tensor, "b logits"],
    labels: Int[Tensor, "b columns"],
    weights: Sequence[Tensor] | None,
) -> Tensor:
    """Cross entropy (softmax) or binary cross entropy (sigmoid), averaged over known labels and summed over heads."""
    parts = torch.split(logits, [len(h.classes) for h in heads], dim=1)
    total = 0.0 * logits.sum()
    for i, (head, z, wanted) in enumerate(zip(heads, parts, columns_of(heads, labels), strict=True)):
        weight = None if weights is None else weights[i].to(z.device)
        known = wanted >= 0
        if not known.any():
            continue
        if head.link == "sigmoid":
            each = F.binary_cross_entropy_with_logits(
                z, wanted.clamp(min=0).to(z.dtype), pos_weight=weight, reduction="none"
            )
            total = total + each[known].mean()
        else:
            total = total + F.cross_entropy(z[known[:, 0]], wanted[known[:, 0], 0], weight)
    return total


def loss_weights(heads: Sequence[Head], labels: Int[Tensor, "n columns"]) -> list[Tensor]:
    """For each class, n / (classes x count) (softmax) or negatives / positives (sigmoid); unknown labels left out."""
    found = []
    for head, wanted in zip(heads, columns_of(heads, labels), strict=True):
        if head.link == "sigmoid":
            found.append((wanted == 0).sum(0) / (wanted == 1).sum(0).clamp(min=1))
        else:
            counts = torch.bincount(wanted[wanted >= 0], minlength=len(head.classes))
            found.append(counts.sum() / (len(head.classes) * counts.clamp(min=1)))
    return found


class _Count:
    """Numbers of batches in place of a data loader: the pictures are in memory and are taken by index."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.steps))


def _trainer(job: Job) -> pl.Trainer:
    callbacks: list[Callback] = [
        ModelCheckpoint(
            job.path.parent, job.path.stem, save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
        ),
        LambdaCallback(on_train_epoch_end=lambda *_: job.advance(1)),
    ]
    if job.training.patience is not None:
        callbacks.append(EarlyStopping(MONITORED, patience=job.training.patience, check_on_train_epoch_end=True))
    return pl.Trainer(
        devices=1,
        precision="bf16-mixed" if job.training.precision == "bfloat16" else "32-true",
        max_epochs=job.training.epochs,
        deterministic="warn" if torch.cuda.is_available() else None,  # some CUDA layers have no deterministic form
        benchmark=False,
        callbacks=callbacks,
        limit_val_batches=None if len(job.data.validation_images) else 0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=job.path.parent,
        plugins=LightningEnvironment(),  # one process, also inside a SLURM job that has several
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's tips, and without its warnings about choices that are deliberate here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in loggers]
    try:
        for log in loggers:
            log.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


@contextmanager
def _own_backend() -> Iterator[None]:
    """Put torch's global switches back, which the trainer turns."""
    cudnn, strict, warn = (
        torch.backends.cudnn,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark = cudnn.benchmark
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        cudnn.benchmark = benchmark
