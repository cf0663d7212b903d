"""What a number was computed with: versions, processor, threads, memory. Goes into receipts, never into keys."""

from __future__ import annotations

import contextlib
import functools
import platform
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "timm", "captum", "lime", "shap", "scikit-image", "numpy")
"""Packages whose version may change a number."""


def package_version(name: str) -> str:
    """The installed version, or `absent`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def bfloat16_unit() -> str:
    """What of this processor multiplies in bfloat16: `AMX`, `AVX-512`, or nothing, where it would be slow."""
    for name, test in (("AMX", "_is_amx_tile_supported"), ("AVX-512", "_is_avx512_bf16_supported")):
        if getattr(torch.cpu, test, bool)():  # older versions of torch cannot tell
            return name
    return ""


def environment() -> dict[str, str | int | bool]:
    """Versions and hardware, without the machine's name. Where all are equal, equal work gives equal bytes."""
    return {
        **_installed(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@functools.cache
def _installed() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: package_version(name) for name in (*PACKAGES, "xai-bench")},
        "processor": f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})",
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):  # Linux only
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.machine()


def other_versions(recorded: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Package -> (recorded version, present version), of the packages of which they differ."""
    now = _installed()
    return {p: (str(recorded[p]), now[p]) for p in PACKAGES if p in recorded and recorded[p] != now[p]}


@contextlib.contextmanager
def peak_memory() -> Iterator[Callable[[], dict[str, int]]]:
    """Within the block: a function that gives the peak memory of the process since it began, in megabytes.

    Of a GPU, what torch had allocated on it. Where the peak cannot be reset (not on Linux), it is the process's own.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak of this process, and nothing else
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()

    def peak() -> dict[str, int]:
        unit = 1 if sys.platform == "darwin" else 1024
        found = {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 1_000_000}
        return found | ({"peak_cuda_mb": torch.cuda.max_memory_allocated() // 1_000_000} if cuda else {})

    yield peak
