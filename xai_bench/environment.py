"""What a number was computed with: versions, processor, threads. Goes into receipts, never into keys."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

_PACKAGES = ("torch", "torchvision", "timm", "captum", "lime", "shap", "scikit-image", "numpy", "xai-bench")


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


@functools.cache
def environment() -> dict[str, str | int | bool]:
    """Versions and hardware, without the machine's name."""
    return {
        "python": platform.python_version(),
        **{name: package_version(name) for name in _PACKAGES},
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
