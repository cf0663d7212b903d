"""What surrounds the start of a process: its GPU, Ctrl-C, and the caller's script, which it must not run again."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType

import torch


def own_gpu(number: int) -> dict[str, str]:
    """The environment in which a worker sees its own GPU only."""
    if not torch.cuda.is_available():
        return {}
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = listed.split(",") if listed else [str(n) for n in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]}


@contextlib.contextmanager
def surroundings(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for processes that begin in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C is kept for the end of the block, here and in processes that begin in it, until they ask for it."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Processes that begin in the block do not run the caller's script again; they need nothing of it.

    Else every script would need `if __name__ == "__main__":` around its first line.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
