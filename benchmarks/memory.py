"""Peak memory of perturbation methods beyond inputs and model, counted allocation by allocation.

    python benchmarks/memory.py                   # some minutes on one core
    python benchmarks/memory.py --device cuda

The resident size of a process moves by some 80 MB from reading to reading; allocations do not move at all. On a CPU
every allocation and release of torch's allocator is taken from its profiler and added up; NumPy and Python are counted
by tracemalloc, and the two peaks are added although they need not fall together. On a GPU torch counts by itself.
Results are not taken off. Pictures are in color at 224 px, float32, batches of 32. The model is resnet18, or, where
ten times the samples would take too long, one convolution, which hides no growth behind its activations. The last
output stands in docs/performance.md.
"""

from __future__ import annotations

import argparse
import gc
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from perturbation import CLASSES, SIDE, Work, machine, make_batch, make_classifier, metric_task
from torch import nn
from torch.profiler import ProfilerActivity, profile
from xai_bench_explainers._players import _segmented
from xai_bench_explainers._trees import halving

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch
from xai_bench.samples import Head
from xai_bench.spec import build

BATCH = 32
BUDGET = {"lime": "samples", "rise": "samples", "shap_partition": "evaluations", "deletion": "steps"}
SETTINGS = [("resnet18", "forward", 32, 1),
            ("resnet18", "lime", 200, 1), ("resnet18", "lime", 1000, 1), ("resnet18", "lime", 16, 32),
            ("resnet18", "lime", 16, 64),
            ("resnet18", "rise", 200, 1), ("resnet18", "rise", 1000, 1), ("resnet18", "rise", 16, 32),
            ("resnet18", "shap_partition", 200, 1), ("resnet18", "shap_partition", 16, 32),
            ("resnet18", "deletion", 224, 1), ("resnet18", "deletion", 16, 32),
            ("one convolution", "forward", 32, 1),
            *(("one convolution", method, budget, pictures) for method in ("lime", "rise", "shap_partition")
              for budget, pictures in ((1000, 1), (10000, 1), (100, 32), (100, 64))),
            ("one convolution", "deletion", 224, 1), ("one convolution", "deletion", 32, 32),
            ("one convolution", "deletion", 32, 64)]  # fmt: skip


@dataclass(frozen=True)
class Peak:
    """MB at the peak: torch's, and NumPy's and Python's."""

    torch: float
    python: float


def small_classifier(device: str) -> Classifier:
    """One convolution: its activations are 0.8 MB a batch."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)
    )
    head = Head("finding", tuple(f"class {i}" for i in range(CLASSES)))
    return Classifier(model, (head,), reader=Input(Resize(SIDE, SIDE))).to(device).eval()


def work_of(method: str, budget: int) -> Work:
    """The method with its budget; `forward` is the model alone on that many pictures, made within."""
    if method == "forward":

        def forward(classifier: Classifier, batch: Batch) -> Any:
            with torch.inference_mode():
                return classifier(torch.rand(budget, 3, SIDE, SIDE, device=batch.images.device))

        return forward
    spec = {"name": method, BUDGET[method]: budget}
    return metric_task(method, spec).ours if method == "deletion" else build("explainer", spec)


def counted(work: Callable[[], Any], device: str) -> Peak:
    """What the work needs at its peak beyond what was there before."""
    gc.collect()
    tracemalloc.start()
    try:
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work()
            return Peak((torch.cuda.max_memory_allocated() - before) / 1e6, tracemalloc.get_traced_memory()[1] / 1e6)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            work()
            python = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    events = profiled.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return Peak(max(accumulate((size for _, size in memory), initial=0)) / 1e6, python / 1e6)


def peak(model: str, method: str, budget: int, pictures: int, device: str) -> Peak:
    """One setting; libraries were loaded before, what a method remembers from call to call was not."""
    classifier = make_classifier(model, device) if model == "resnet18" else small_classifier(device)
    classifier.engine, work, batch = Engine(batch_size=BATCH), work_of(method, budget), make_batch(device, pictures)
    few = work_of(method, 4)
    counted(lambda: few(small_classifier(device), make_batch(device)), device)
    _segmented.cache_clear()
    halving.cache_clear()
    return counted(lambda: work(classifier, batch), device)


def rows(device: str) -> Iterator[str]:
    """Markdown lines."""
    yield "| model | method | budget | pictures | torch | NumPy and Python | MB |"
    yield "|---|---|---|---|---|---|---|"
    for model, method, budget, pictures in SETTINGS:
        found = peak(model, method, budget, pictures, device)
        yield (
            f"| {model} | {method} | {budget:,} | {pictures} | {found.torch:.1f} | {found.python:.1f} | "
            f"{found.torch + found.python:.0f} |"
        )


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    device = parser.parse_args().device
    warnings.simplefilter("ignore")
    print(machine(device), flush=True)
    for text in rows(device):
        print(text, flush=True)


if __name__ == "__main__":
    main()
