"""The classifier noun: images in [0, 1] to logits, whatever stands behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.code_version import code_version
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.inputs import Input
from xai_bench.samples import Head

if TYPE_CHECKING:
    from xai_bench.engine import Engine

M = TypeVar("M", bound=nn.Module)

LIBRARIES = ("torch", "torchvision", "timm", "transformers")
"""Where models come from whose code needs no hash: these packages' versions stand in every receipt."""


class Classifier(nn.Module):
    """An `nn.Module` from images in [0, 1] to the concatenated logits of its heads, with its own normalization.

    Gray pictures (one channel) are repeated for a three-channel model and color ones averaged for a one-channel model.
    A one-logit model of a two-class softmax head becomes logits (-z/2, z/2): the same probability, useful gradients for
    both. `cam_layer` names the module whose output CAM methods look at; if none is given it is found when first asked
    for. A single mean and std serve all channels; the model has as many as its first convolution takes.
    """

    def __init__(
        self,
        model: nn.Module,
        heads: Sequence[Head],
        *,
        reader: Input | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        cam_layer: str | None = None,
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or len(mean) not in (1, 3):
            raise BadInput(
                f"mean {tuple(mean)} and std {tuple(std)}: expected one or three values each, as many as channels."
            )
        self.model = model
        self.heads = tuple(heads)
        self.reader = reader or Input()
        self._named_layer = cam_layer
        self._found_layer: str | None = None
        self.differentiable = True
        self.architecture = type(model).__name__
        self.engine: Engine | None = None  # how coalitions are evaluated; None: float32, 16 pictures at once
        self.runner: Callable[[Tensor], Tensor] | None = None  # stands in for `logits` while the engine runs
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        first = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 1)
        self.channels = 3 if first == 3 else len(mean)  # what the wrapped model takes
        self.mean: Tensor
        self.std: Tensor

    @property
    def n_logits(self) -> int:
        """Number of concatenated logits."""
        return sum(len(head.classes) for head in self.heads)

    def normalize(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """The picture as the wrapped model wants it."""
        if images.shape[1] == 1 and self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif images.shape[1] == 3 and self.channels == 1:
            first = images[:, :1]  # so written, a gray film among color ones keeps every bit
            images = first + (images - first).mean(1, keepdim=True)
        return (images - self.mean) / self.std

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b logits"]:
        """Logits of all heads, concatenated."""
        return self.logits(images) if self.runner is None else self.runner(images)

    def logits(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b logits"]:
        """The same, always by the wrapped model itself."""
        seen = self.normalize(images)
        if not self.training:  # quicker on a CPU: convolutions read all channels of a pixel at once
            seen = seen.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.model(seen)
        if logits.ndim == 1:
            logits = logits[:, None]
        if logits.shape[1] == 1 and self.n_logits == 2:
            logits = torch.cat([-logits / 2, logits / 2], dim=1)
        if logits.shape[1] != self.n_logits:
            raise BadInput(
                f"the model returns {logits.shape[1]} logits, the heads {[h.name for h in self.heads]} have "
                f"{self.n_logits} classes; name one class for each logit."
            )
        return logits

    def probabilities(self, logits: Float[Tensor, "b logits"]) -> Float[Tensor, "b logits"]:
        """Each head's link applied to its part of the logits."""
        parts = []
        links = {"softmax": lambda z: torch.softmax(z, 1), "sigmoid": torch.sigmoid, "identity": torch.clone}
        for head, part in zip(
            self.heads, torch.split(logits, [len(h.classes) for h in self.heads], dim=1), strict=True
        ):
            parts.append(links[head.link](part))
        return torch.cat(parts, dim=1)

    def offset(self, head: str) -> int:
        """Index of a head's first logit."""
        start = 0
        for h in self.heads:
            if h.name == head:
                return start
            start += len(h.classes)
        raise BadInput(f"head {head!r} does not exist; this classifier has {[h.name for h in self.heads]}.")

    @property
    def cam_layer(self) -> str | None:
        """The module that CAM methods look at, as named or as found; None where nothing is a map of the picture."""
        if self._named_layer is None and self._found_layer is None:
            from xai_bench.classifiers.layers import find_cam_layer  # it needs this module

            size = (self.reader.resize.height, self.reader.resize.width)
            self._found_layer = find_cam_layer(self.model, self.channels, size)
        return self._named_layer or self._found_layer

    @cam_layer.setter
    def cam_layer(self, name: str | None) -> None:
        self._named_layer = name

    def layer(self, name: str | None = None) -> nn.Module:
        """A module by its dotted name inside the wrapped model; by default the one that CAM methods look at."""
        modules = dict(self.model.named_modules())
        wanted = name or self.cam_layer
        if wanted is None:
            raise BadInput(f"no CAM layer is known for {self.architecture}; name one, such as {list(modules)[-1]!r}.")
        if wanted not in modules:
            raise BadInput(
                f"layer {wanted!r} does not exist in {self.architecture}.{did_you_mean(wanted, list(modules))}"
            )
        found: nn.Module = modules[wanted]
        return found

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def weights_hash(self) -> str:
        """A hash of every parameter and buffer, the architecture and how films are read: what identifies this model."""
        digest = hashlib.sha256(repr((self.architecture, self.heads, self.reader, self._named_layer)).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:24]

    def own_classes(self) -> list[type[nn.Module]]:
        """The classes of its modules that are no library's: their code is a part of what it computes."""
        classes = {type(module) for module in self.model.modules()}
        own = [c for c in classes if c.__module__.split(".")[0] not in LIBRARIES]
        return sorted(own, key=lambda c: (c.__module__, c.__qualname__))

    def identity(self) -> str:
        """What identifies a classifier in memory: its weights, and the code of its modules that are no library's."""
        code = [(f"{c.__module__}.{c.__qualname__}", code_version(c)) for c in self.own_classes()]
        return hashlib.sha256(repr((self.weights_hash(), code)).encode()).hexdigest()[:24]


@contextmanager
def untouched(classifier: M) -> Iterator[M]:
    """Explain in eval mode without parameter gradients, and leave modes, `requires_grad` and gradients as they were."""
    modes = {module: module.training for module in classifier.modules()}
    wants = {p: p.requires_grad for p in classifier.parameters()}
    grads = {p: p.grad for p in classifier.parameters()}
    classifier.eval()
    classifier.requires_grad_(False)
    try:
        yield classifier
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, wanted in wants.items():
            parameter.requires_grad_(wanted)
            parameter.grad = grads[parameter]
