"""Rules for the functions that a network is made of.

Whoever calls a function, a module or the model's own code, meets the rule in its place. So a module that is used twice,
a `torch.relu` in a `forward` and work in place are all alike, and nothing is hooked to the user's model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]


class Ruled(TorchFunctionMode):
    """Within the block each of these functions is another one; `calls` counts how often one was called.

    >>> with Ruled({F.relu: lambda x, inplace: -x}) as ruled:
    ...     negative = torch.nn.ReLU()(torch.ones(2))
    >>> negative.tolist(), ruled.calls
    ([-1.0, -1.0], 1)
    """

    def __init__(self, rules: Mapping[Function, Function]) -> None:
        super().__init__()
        self.rules, self.calls = rules, 0

    def __torch_function__(
        self, func: Function, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        rule = self.rules.get(func, func)
        self.calls += rule is not func
        return rule(*args, **(kwargs or {}))


def named(*names: str) -> set[Function]:
    """The functions of these names, wherever torch has them: `torch.relu`, `Tensor.relu`, `torch.nn.functional.relu`.

    >>> named("relu") == {torch.relu, Tensor.relu, F.relu}
    True
    """
    return {getattr(place, name) for place in (torch, Tensor, F) for name in names if hasattr(place, name)}


def with_slope(value: Tensor, carrier: Tensor, slope: Tensor) -> Tensor:
    """`value`, with `slope` as its gradient with respect to `carrier`."""
    return value.detach() + slope.detach() * (carrier - carrier.detach())
