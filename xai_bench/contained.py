"""Calls into packages that draw from global random states, warn and print."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch

FAILURES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What a package raises for a model, a film or a map that it cannot use; anything else is not its own failure."""


def words(error: Exception) -> str:
    """What a package says of its failure, in one line.

    >>> words(ValueError("not here.\\nSee the manual"))
    'ValueError: not here'
    """
    said = str(error).strip().split("\n")[0][:200].rstrip(".") or "no reason given"
    return f"{type(error).__name__}: {said}"


@contextlib.contextmanager
def contained(seed: int, device: torch.device) -> Iterator[None]:
    """Within the block the global random states start from `seed`, and nothing is warned of or printed.

    After it, the states of Python, numpy, torch and of the device are what they were.

    >>> drawn = []
    >>> for _ in range(2):
    ...     with contained(3, torch.device("cpu")):
    ...         print("silent")
    ...         drawn.append(torch.rand(1))
    >>> drawn[0] == drawn[1]
    tensor([True])
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  # global state is what the packages use
    devices = [device] if device.type == "cuda" else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))  # progress bars
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)
        for used in devices:
            with torch.cuda.device(used):
                torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  # the same
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002  # the same
