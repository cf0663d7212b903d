"""Running only what follows a layer: what ran before it is remembered and handed out again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.protocols import Batch
from xai_bench_explainers._cam import run_watched


@contextmanager
def head_after(
    classifier: Classifier, layer: nn.Module, batch: Batch
) -> Iterator[tuple[Tensor, Callable[[Tensor], Float[Tensor, "b logits"]]]]:
    """What the layer returns for these pictures, and a function from another output of its shape to the logits.

    That function uses its argument up, as the next layer may work in place. It does not run the modules that finished
    before the layer: they hand out again what they returned, so shortcuts around the layer keep their values. Nothing
    has gradients.
    """
    with untouched(classifier), torch.no_grad():
        calls = _calls(classifier, layer, batch)
        last = max(i for i, call in enumerate(calls) if call.module is layer)
        before, output = calls[:last], calls[last].output

        def head(changed: Tensor) -> Tensor:
            with _standing_in([*before, Call(layer, changed, lasting=True)]):
                return classifier.logits(batch.images)

        head(output.clone())
        for call in before:
            call.settle()
        yield output, head


@dataclass
class Call:
    """A module that ran, and what it returned; `lasting`: no later step changes that in place, so it needs no copy."""

    module: nn.Module
    output: Any
    lasting: bool = False
    copy: Any = None

    def answer(self) -> Any:
        """What the module returned."""
        if self.lasting:
            return self.output
        self.copy = self.output.clone() if isinstance(self.output, Tensor) else deepcopy(self.output)
        return self.copy

    def settle(self) -> None:
        """After a trial: see whether the copy that was handed out is still as it was."""
        self.lasting = isinstance(self.copy, Tensor) and self.copy._version == 0  # counts changes in place
        self.copy = None


def _calls(classifier: Classifier, layer: nn.Module, batch: Batch) -> list[Call]:
    """The calls of one forward pass in order; only the outermost of those that do not contain the layer."""
    above = {m for m in classifier.modules() if m is not layer and any(inner is layer for inner in m.modules())}
    inside: list[nn.Module] = []
    seen: list[Call] = []

    def enter(module: nn.Module, _inputs: object) -> None:
        inside.append(module)

    def leave(module: nn.Module, _inputs: object, output: object) -> None:
        inside.pop()
        if module not in above and above.issuperset(inside):
            seen.append(Call(module, deepcopy(output)))

    handles: list[Any] = []
    for module in classifier.model.modules():
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        run_watched(classifier, layer, batch, lambda _: None)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@contextmanager
def _standing_in(calls: Sequence[Call]) -> Iterator[None]:
    """Within the block a module returns what it returned in these calls, one after the other, and then runs again."""
    waiting: dict[nn.Module, deque[Call]] = {}
    for call in calls:
        waiting.setdefault(call.module, deque()).append(call)
    own = {module: vars(module).get("forward") for module in waiting}
    for module, queue in waiting.items():
        vars(module)["forward"] = _answering(queue, module.forward)
    try:
        yield
    finally:
        _restore(own)


def _restore(own: Mapping[nn.Module, Callable[..., Any] | None]) -> None:
    for module, forward in own.items():
        if forward is None:
            del vars(module)["forward"]
        else:
            vars(module)["forward"] = forward


def _answering(queue: deque[Call], forward: Callable[..., Any]) -> Callable[..., Any]:
    def answer(*args: Any, **kwargs: Any) -> Any:
        return queue.popleft().answer() if queue else forward(*args, **kwargs)

    return answer
