"""How a classifier runs under the perturbation engine: numerical mode, batch size, score cache, and what was spent.

Precision and batch size belong to a result's key. A classifier without an engine runs in float32, 16 pictures at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor

from xai_bench.environment import environment
from xai_bench.errors import BadInput
from xai_bench.score_cache import ScoreCache
from xai_bench.spec import digest

if TYPE_CHECKING:
    from xai_bench.classifiers.classifier import Classifier

T = TypeVar("T")
R = TypeVar("R")

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Mode:
    """The arithmetic of the forward pass. `compile`: by torch.compile, which needs a C++ compiler on a CPU."""

    precision: Precision = "float32"
    compile: bool = False

    def __str__(self) -> str:
        return self.precision + (" compiled" if self.compile else "")


@dataclass
class Engine:
    """The mode and batch size of every model call that goes through coalitions, and a cache of their answers.

    `progress` is called with the number of answers after each batch. `asked` counts questions, `answered` those that
    the model had to answer. `batch_size` halves where memory runs out, and `halved` says how often.
    """

    mode: Mode = field(default_factory=Mode)
    batch_size: int = 16
    cache: ScoreCache | None = None
    progress: Callable[[int], None] | None = None
    halved: int = 0
    asked: int = 0
    answered: int = 0
    _ready: dict[Any, tuple[Any, Callable[[Tensor], Tensor]]] = field(default_factory=dict, repr=False)
    _contexts: dict[Any, str | None] = field(default_factory=dict, repr=False)

    def __deepcopy__(self, memo: Any) -> Engine:
        """A copied classifier may get other weights: nothing prepared goes with it."""
        return Engine(self.mode, self.batch_size, self.cache, self.progress)

    def advance(self, count: int) -> None:
        """Count answers and tell the progress."""
        self.answered += count
        if self.progress is not None:
            self.progress(count)

    def make_room(self, error: Exception) -> None:
        """Go on with half the batch where memory ran out; any other error goes on.

        Raises OutOfMemory where the batch is one picture already.
        """
        if isinstance(error, OutOfMemory) or not out_of_memory(error):
            raise error
        if self.batch_size == 1:
            raise OutOfMemory("one picture at a time still needs more than there is") from error
        self.batch_size, self.halved = self.batch_size // 2, self.halved + 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def in_batches(self, items: Sequence[T], work: Callable[[Sequence[T], int], R]) -> Iterator[R]:
        """`work(part, size)` of all items, a part at a time, to be padded to `size`; smaller where memory runs out."""
        start = 0
        while start < len(items):
            part = items[start : start + self.batch_size]
            try:
                done = work(part, self.batch_size)
            except (RuntimeError, MemoryError) as error:
                self.make_room(error)
                continue
            start += len(part)
            yield done

    @contextmanager
    def running(self, classifier: Classifier, shape: Sequence[int], now: Stamp | None = None) -> Iterator[None]:
        """Within the block the classifier's forward pass runs in this mode. `now`: its stamp, if it is known."""
        if self.mode == Mode():
            yield
            return
        before = classifier.runner
        classifier.runner = self._runner(classifier, shape, now or stamp(classifier))
        try:
            yield
        finally:
            classifier.runner = before

    def _runner(self, classifier: Classifier, shape: Sequence[int], now: Stamp) -> Callable[[Tensor], Tensor]:
        key = (self.mode, tuple(shape), self.batch_size)
        if key not in self._ready or self._ready[key][0] != now:
            self._ready[key] = (now, prepare(classifier, self.mode))
        return self._ready[key][1]

    def context(self, classifier: Classifier, shape: Sequence[int], now: Stamp) -> str | None:
        """What the answers depend on besides picture and coalition; None where rows depend on their companions."""
        key = (self.mode, tuple(shape), self.batch_size, now)
        if key not in self._contexts:
            parts = (classifier.identity(), str(self.mode), self.batch_size, classifier.device.type, environment())
            self._contexts[key] = digest(parts) if self._independent(classifier, shape) else None
        return self._contexts[key]

    def _independent(self, classifier: Classifier, shape: Sequence[int]) -> bool:
        """Whether, for this batch shape, a row's logits are bitwise the same at every place and beside any other."""
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(self.batch_size, *shape, generator=generator).to(classifier.device)
        with torch.inference_mode(), self.running(classifier, shape):
            logits, turned = classifier(images), classifier(images.flip(0)).flip(0)
            beside = classifier(torch.cat([images[:1], 1 - images[1:]]))
        return torch.equal(logits, turned) and torch.equal(logits[:1], beside[:1])


def prepare(classifier: Classifier, mode: Mode) -> Callable[[Tensor], Tensor]:
    """Images to float32 logits in this mode; a compiled one has the present weights baked in.

    Raises BadInput, at the first call, where the mode needs a compiler and none works.
    """
    dtype = DTYPES[mode.precision]

    def forward(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            return classifier.logits(images).float()

    if not mode.compile:
        return forward
    compiled = torch.compile(forward, dynamic=False, options={"freezing": True})

    def run(images: Tensor) -> Tensor:
        from torch._dynamo.exc import BackendCompilerFailed  # almost a second to import, and here it is imported
        from torch._inductor.exc import InductorError

        try:
            found: Tensor = compiled(images)
        except (BackendCompilerFailed, InductorError) as error:
            raise BadInput(
                f"{classifier.architecture} could not be compiled ({type(error).__name__}); install a C++ compiler, "
                "or set compile = false."
            ) from error
        return found

    return run


Stamp = tuple[Any, ...]


def stamp(classifier: Classifier) -> Stamp:
    """Changes when weights change: each one's place, version and first value. A thousand times cheaper than a hash."""
    weights = [t.detach() for t in classifier.state_dict(keep_vars=True).values()]
    places = tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in weights)
    # `p.data.mul_(2)` moves no version counter; the first values tell.
    firsts = [t.reshape(-1)[:1] for t in weights if t.is_floating_point() and t.numel()]
    return (*places, *(torch.cat(firsts).tolist() if firsts else ()))


class OutOfMemory(MemoryError):
    """Memory ran out, and there is nothing left to halve."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or in the host's allocator."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text
