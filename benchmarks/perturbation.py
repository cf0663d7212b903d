"""The perturbation engine against the packages that users would pick instead: seconds, ratios, overhead.

    python benchmarks/perturbation.py                     # everything, some 50 minutes on two cores
    python benchmarks/perturbation.py --models resnet18 --methods lime,road --repeats 2
    python benchmarks/perturbation.py --device cuda

Ours and the peer run in turns in one process, on one picture of 224 px (ROAD: four) and models with random weights.
`overhead` is total / (counted evaluations x forward time), the forward time being the best of a few passes just before
and after in the same mode and batch size. The fast mode is the fastest that passes the fidelity check; where none
passes it is still measured and marked. The last output stands in docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from _perturbation_peers import (
    SIDE,
    PeerWork,
    Plain,
    infidelity_peer,
    lime_peer,
    occlusion_peer,
    pixel_flipping,
    region_perturbation,
    rise_reference,
    road_peer,
    saliency,
    shap_peer,
)
from xai_bench_explainers._players import _segmented, superpixels

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.classifiers.torchvision_zoo import TorchvisionModel
from xai_bench.engine import Engine, Mode
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch, Case
from xai_bench.running.fidelity import best_mode, candidates
from xai_bench.running.tuning import forward_seconds
from xai_bench.running.workbench import Counter
from xai_bench.samples import Head
from xai_bench.spec import build

CLASSES = 10
SAMPLES = {"resnet18": 500, "resnet50": 112}
EVALUATIONS = {"resnet18": 300, "resnet50": 112}


def make_classifier(name: str, device: str) -> Classifier:
    """A torchvision model with random weights and ten classes; it normalizes by itself."""
    head = Head("finding", tuple(f"class {i}" for i in range(CLASSES)))
    return TorchvisionModel(name).build((head,), Input(Resize(SIDE, SIDE)), 0).to(device).eval()


def make_batch(device: str, count: int = 1) -> Batch:
    """Smooth pictures in color, whole numbers of 0..255 divided by 255, as a film read from a PNG."""
    noise = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    images = (F.interpolate(noise, (SIDE, SIDE), mode="bicubic").clamp(0, 1) * 255).round() / 255
    content = torch.ones(count, SIDE, SIDE, dtype=torch.bool)
    ids = tuple(f"picture {i}" for i in range(count))
    return Batch(images, torch.zeros(count, dtype=torch.long), ids, content, None, torch.ones(count, 2)).to(device)


Work = Callable[[Classifier, Batch], Any]


@dataclass(frozen=True)
class Task:
    """A method of ours, the peer that does the same job, and seconds of ours that are not the engine's."""

    name: str
    ours: Work
    peer: PeerWork | None = None
    peer_name: str = ""
    apart: Work | None = None
    pictures: int = 1


def explainer_task(
    name: str, spec: dict[str, Any], peer: PeerWork | None, peer_name: str, apart: Work | None = None
) -> Task:
    """An explainer by name and fields."""
    made = build("explainer", spec)

    def ours(classifier: Classifier, batch: Batch) -> Any:
        _segmented.cache_clear()  # else only the first repeat would pay for the superpixels
        return made(classifier, batch)

    return Task(name, ours, peer, peer_name, apart)


def metric_task(name: str, spec: dict[str, Any], peer: PeerWork | None = None, peer_name: str = "") -> Task:
    """A metric on one smooth map."""
    made = build("metric", spec)

    def ours(classifier: Classifier, batch: Batch) -> Any:
        states = ("not_read",) * len(batch)
        return made(Case(classifier, batch, made, saliency(batch), None, states))

    return Task(name, ours, peer, peer_name)


def segmentation_alone(_: Classifier, batch: Batch) -> Any:
    """Quickshift, which both need."""
    _segmented.cache_clear()
    return superpixels(batch.images[0], "quickshift")


def tasks(model: str) -> list[Task]:
    """Every comparison; fewer samples for the slower model, which changes no ratio."""
    samples, evaluations = SAMPLES[model], EVALUATIONS[model]
    black = {"name": "zero"}
    return [
        explainer_task(f"lime, {samples} samples", {"name": "lime", "samples": samples}, lime_peer(samples),
                       "lime 0.2", segmentation_alone),
        explainer_task(f"shap_partition, {evaluations} evaluations, blur",
                       {"name": "shap_partition", "evaluations": evaluations}, shap_peer(evaluations, "blur(16,16)"),
                       "shap, blur"),
        explainer_task(f"shap_partition, {evaluations} evaluations, Telea",
                       {"name": "shap_partition", "evaluations": evaluations, "imputer": {"name": "telea"}},
                       shap_peer(evaluations, "inpaint_telea"), "shap, inpaint_telea"),
        explainer_task(f"rise, {samples} masks", {"name": "rise", "samples": samples}, None, ""),
        explainer_task(f"kernel_shap, {samples} samples, 8 x 8 grid",
                       {"name": "kernel_shap", "samples": samples, "segmentation": "grid(8)"}, None, ""),
        explainer_task("occlusion, 14 x 14", {"name": "occlusion"}, occlusion_peer, "captum Occlusion"),
        metric_task("deletion, 224 steps", {"name": "deletion", "steps": SIDE, "imputer": black}, pixel_flipping,
                    "Quantus PixelFlipping"),
        metric_task("deletion, 224 steps (loop)", {"name": "deletion", "steps": SIDE, "imputer": black},
                    rise_reference(SIDE), "RISE-style loop"),
        metric_task("insertion, 224 steps", {"name": "insertion", "steps": SIDE}),
        metric_task("srg, 32 steps", {"name": "srg", "imputer": black}),
        replace(
            metric_task("road, 10..90 %, 4 pictures", {"name": "road"}, road_peer, "pytorch-grad-cam ROADCombined"),
            pictures=4,
        ),
        metric_task("region_perturbation", {"name": "region_perturbation"}, region_perturbation,
                    "Quantus RegionPerturbation"),
        metric_task("infidelity, 100 samples", {"name": "infidelity", "samples": 100}, infidelity_peer,
                    "captum infidelity"),
    ]  # fmt: skip


# --- measuring ------------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """Seconds, counted evaluations and overhead of each repeat."""

    seconds: list[float] = field(default_factory=list)
    evaluations: int = 0
    overhead: list[float] = field(default_factory=list)


def timed(work: Callable[[], Any]) -> float:
    """Seconds, the device waited for."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def one_run(found: Found, work: Work, classifier: Classifier, batch: Batch, engine: Engine, apart: float = 0.0) -> None:
    """One repeat: the forward pass is measured just before and just after."""
    classifier.engine, shape = engine, tuple(batch.images.shape[1:])
    before = forward_seconds(classifier, engine, shape)
    with Counter().on(classifier) as counter:
        seconds = timed(lambda: work(classifier, batch))
    forward = min(before, forward_seconds(classifier, engine, shape))
    found.seconds.append(seconds)
    found.evaluations = counter.evaluations
    found.overhead.append((seconds - apart) / (counter.evaluations * forward))


def one_peer(found: Found, work: PeerWork, classifier: Classifier, batch: Batch) -> None:
    """One repeat of a package; its overhead is against the same forward pass as ours in float32."""
    plain, shape = Plain(classifier).eval(), tuple(batch.images.shape[1:])
    before = forward_seconds(classifier, Engine(), shape)
    with untouched(classifier), Counter().on(plain) as counter:
        seconds = timed(lambda: work(plain, batch))
    forward = min(before, forward_seconds(classifier, Engine(), shape))
    found.seconds.append(seconds)
    found.evaluations = counter.evaluations
    found.overhead.append(seconds / (counter.evaluations * forward))


def compare(
    task: Task, classifier: Classifier, batch: Batch, modes: dict[str, Engine], repeats: int
) -> dict[str, Found]:
    """Ours in each mode and the peer, in turns, after one turn to warm up (imports, compilation)."""
    results = {name: Found() for name in (*modes, *(["peer"] if task.peer else []))}
    for engine in modes.values():
        one_run(Found(), task.ours, classifier, batch, engine)
    for _ in range(repeats):
        apart = timed(lambda: task.apart(classifier, batch)) if task.apart else 0.0
        for name, engine in modes.items():
            one_run(results[name], task.ours, classifier, batch, engine, apart)
        if task.peer:
            one_peer(results["peer"], task.peer, classifier, batch)
    return results


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def gate(classifier: Classifier, batch: Batch) -> tuple[Mode, list[str]]:
    """The fastest mode that passes the check with LIME's own maps on four pictures, and what each one tried did."""
    few = build("explainer", {"name": "lime", "samples": 200, "segmentation": "grid(8)"})
    classifier.engine = Engine()
    mode, tried = best_mode(classifier, batch, few, candidates(classifier, True))
    return mode, [f"{found}: {'passes' if found.passed else 'does not pass'}" for found in tried]


def rows(model: str, device: str, repeats: int, wanted: list[str]) -> Iterator[str]:
    """Markdown lines of one model's table."""
    classifier, batch = make_classifier(model, device), make_batch(device)
    passed, said = gate(classifier, make_batch(device, 4))
    yield f"\n### {model}\n"
    yield from (f"- {line}" for line in said)
    modes = {"float32": Engine(batch_size=16)}
    fast = [m for m in candidates(classifier, True) if m.precision != "float32"]
    for mode in dict.fromkeys([Mode("float32", compile=True), passed, *fast[:1]]):
        modes.setdefault(str(mode), Engine(mode, 16))
    for name, engine in modes.items():
        speed = 1 / forward_seconds(classifier, engine, tuple(batch.images.shape[1:]), 10)
        yield f"- forward pass in {name}, batch 16: {speed:.0f} pictures/s"
    yield ""
    yield "| method | who | mode | seconds | evaluations | overhead | peer / ours |"
    yield "|---|---|---|---|---|---|---|"
    for task in tasks(model):
        if wanted and not any(task.name.startswith(w) for w in wanted):
            continue
        found = compare(task, classifier, make_batch(device, task.pictures), modes, repeats)
        if "peer" in found:
            peer = found["peer"]
            yield line(task.name, task.peer_name, "float32", peer, "")
        for name in modes:
            ratio = ""
            if "peer" in found:
                pairs = zip(found["peer"].seconds, found[name].seconds, strict=True)
                ratio = spread([a / b for a, b in pairs], 1)
            mark = "" if name.startswith("float32") or name == str(passed) else " (fails the check)"
            yield line(task.name, "ours", name + mark, found[name], ratio)


def line(*cells: Any) -> str:
    """One row."""
    method, who, mode, found, ratio = cells
    return (
        f"| {method} | {who} | {mode} | {spread(found.seconds)} | {found.evaluations} | {spread(found.overhead)} | "
        f"{ratio} |"
    )


def machine(device: str) -> str:
    """What this ran on."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    model = next((text.split(":")[1].strip() for text in open("/proc/cpuinfo") if "model name" in text), "")  # noqa: SIM115, PTH123
    amx = ", AMX" if torch.cpu._is_amx_tile_supported() else ""
    return f"{model}{amx}, {os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}"


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--models", default="resnet18,resnet50")
    parser.add_argument("--methods", default="")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{machine(asked.device)}; {asked.repeats} repeats, median (range)", flush=True)
    for model in asked.models.split(","):
        for text in rows(model, asked.device, asked.repeats, [m for m in asked.methods.split(",") if m]):
            print(text, flush=True)


if __name__ == "__main__":
    main()
