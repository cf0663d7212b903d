"""What this machine has, and what is odd about its installation."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch

from xai_bench import _torchvision_ops
from xai_bench.environment import bfloat16_unit, environment
from xai_bench.registry import REGISTRIES

BFLOAT16 = {
    "AMX": "AMX, several times as fast as float32; try precision = auto",
    "AVX-512": "AVX-512, faster than float32; try precision = auto",
    "": "not in hardware, precision = auto stays in float32",
}


def findings() -> list[str]:
    """One line a finding, the odd ones with a remedy."""
    lines = [f"{name}: {value}" for name, value in environment().items()]
    lines.append(f"cores: {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    lines.append(f"bfloat16 on this processor: {BFLOAT16[bfloat16_unit()]}")
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        lines.append("no C++ compiler was found: `compile = true` needs one on a CPU, such as g++")
    if _torchvision_ops.declare_missing():
        lines.append(
            "torchvision: its compiled operators do not fit this torch; models and transforms work, "
            "detection operators do not"
        )
    if importlib.util.find_spec("cv2") is None:
        lines.append("OpenCV is missing: install opencv-python-headless (SHAP's inpainting masks need it)")
    lines += [f"{registry.plural}: {', '.join(registry)}" for registry in REGISTRIES.values()]
    return lines
