"""What this machine has, and what is odd about its installation."""

from __future__ import annotations

import importlib.util
import os

import torch

from xai_bench import _torchvision_ops
from xai_bench.environment import environment
from xai_bench.registry import REGISTRIES


def findings() -> list[str]:
    """One line a finding, the odd ones with a remedy."""
    lines = [f"{name}: {value}" for name, value in environment().items()]
    lines.append(f"cores: {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    if _torchvision_ops.STUBBED:
        lines.append(
            "torchvision: its compiled operators do not fit this torch; models and transforms work, "
            "detection operators do not"
        )
    if importlib.util.find_spec("cv2") is None:
        lines.append("OpenCV is missing: install opencv-python-headless (SHAP's inpainting masks need it)")
    lines += [f"{registry.plural}: {', '.join(registry)}" for registry in REGISTRIES.values()]
    return lines
