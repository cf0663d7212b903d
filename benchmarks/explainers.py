"""Saliency methods of ours against the packages that users would pick instead: seconds a picture, ratio to the floor.

    python benchmarks/explainers.py                     # everything but the slow ones
    python benchmarks/explainers.py --models resnet18 --methods grad_cam,layer_cam --batch 4 --repeats 1

Ours, the floor and the peers take turns in one process, on pictures of 224 px and models with random weights. The floor
of a method is the least that any implementation has to compute, written by hand for a ResNet: for the CAM methods one
forward pass of the trunk without gradients, and the head with the gradient down to the map between them; for gradient
methods one pass forward and back to the picture for each step or sample, with frozen parameters. A peer gets
the bare model and normalized pictures, ours the classifier that normalizes by itself. Goal: `grad_cam` at most 1.3
times its floor. Its last output stands in docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.torchvision_zoo import TorchvisionModel
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch
from xai_bench.samples import Head
from xai_bench.spec import build

SIDE, CLASSES = 224, 10


@dataclass(frozen=True)
class Setting:
    """A model with random weights and pictures for it; `pictures` are normalized, for those who take a bare model."""

    classifier: Classifier
    batch: Batch
    pictures: Tensor

    @property
    def model(self) -> nn.Module:
        """The bare torchvision model."""
        return self.classifier.model


Run = Callable[[], Any]
"""Explains all pictures once."""
Prepare = Callable[[Setting], Run]


@dataclass(frozen=True)
class Entry:
    """A registered method of ours, with its floor and the peers that compute the same, by name.

    `slow`: runs only where it is named, as it asks the model once for each channel, step or sample.
    """

    name: str
    floor: Prepare | None = None
    peers: dict[str, Prepare] = field(default_factory=dict)
    slow: bool = False


def ours(name: str, setting: Setting) -> Run:
    """The registered explainer with its defaults."""
    explainer = build("explainer", name)
    return lambda: explainer(setting.classifier, setting.batch)


def trunk_and_head(setting: Setting) -> Run:
    """The floor of a CAM that needs a gradient: all up to the last map, then pooling and the last layer, and back."""
    parts = list(setting.model.children())
    trunk, last = nn.Sequential(*parts[:-2]), parts[-1]
    pictures = setting.pictures.contiguous(memory_format=torch.channels_last)

    def run() -> Tensor:
        with torch.no_grad():
            maps = trunk(pictures)
        maps.requires_grad_()
        score = F.linear(maps.mean((2, 3)), last.weight.detach(), last.bias.detach())
        return torch.autograd.grad(score.gather(1, setting.batch.targets[:, None]).sum(), maps)[0]

    return run


def forward_only(setting: Setting) -> Run:
    """The floor of a CAM that needs no gradient."""
    pictures = setting.pictures.contiguous(memory_format=torch.channels_last)

    def run() -> Tensor:
        with torch.no_grad():
            return setting.model(pictures)  # type: ignore[no-any-return]  # modules return Any

    return run


def pytorch_grad_cam(name: str, setting: Setting) -> Run:
    """The method of pytorch-grad-cam, its scaling to 0..1 and to the picture's size included: it always does that."""
    import pytorch_grad_cam as package
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = deepcopy(setting.model)  # its hooks stay on
    method = getattr(package, name)(model, [model.layer4])
    targets = [ClassifierOutputTarget(int(t)) for t in setting.batch.targets]
    return lambda: method(setting.pictures, targets)


def captum_grad_cam(setting: Setting) -> Run:
    """captum's LayerGradCam."""
    from captum.attr import LayerGradCam

    method = LayerGradCam(setting.model, setting.model.layer4)
    return lambda: method.attribute(setting.pictures, setting.batch.targets, relu_attributions=True)


def cam(name: str, peer: str, floor: Prepare = trunk_and_head, **more: Prepare) -> Entry:
    """A CAM method and its peer in pytorch-grad-cam."""
    return Entry(name, floor, {"pytorch-grad-cam": partial(pytorch_grad_cam, peer), **more})


def gradients(setting: Setting, steps: int = 1) -> Run:
    """The floor of a gradient method: forward and back to the picture, this many times."""
    model = deepcopy(setting.model).requires_grad_(False)
    pictures = setting.pictures.contiguous(memory_format=torch.channels_last)

    def run() -> Tensor:
        for _ in range(steps):
            leaf = pictures.detach().requires_grad_()
            score = model(leaf).gather(1, setting.batch.targets[:, None]).sum()
            found = torch.autograd.grad(score, leaf)[0]
        return found

    return run


def captum(name: str, setting: Setting, **options: Any) -> Run:
    """A method of captum on the picture; its own NoiseTunnel around it where `nt_type` says which noise."""
    from captum import attr

    method = getattr(attr, name)(setting.model)
    method = attr.NoiseTunnel(method) if "nt_type" in options else method
    pictures = setting.pictures.clone().requires_grad_()
    return lambda: method.attribute(pictures, target=setting.batch.targets, **options)


def captum_integrated_gradients(setting: Setting) -> Run:
    """Divided like ours; undivided, 50 steps of 16 pictures need more memory than most machines have."""
    return captum("IntegratedGradients", setting, n_steps=50, internal_batch_size=len(setting.batch))


def captum_smooth_grad(setting: Setting) -> Run:
    """One noisy copy of each picture at a time, like ours."""
    noise = {"nt_type": "smoothgrad", "nt_samples": 50, "nt_samples_batch_size": 1, "stdevs": 0.15}
    return captum("Saliency", setting, abs=False, **noise)


ENTRIES = (
    cam("grad_cam", "GradCAM", captum=captum_grad_cam),
    cam("grad_cam_plus_plus", "GradCAMPlusPlus"),
    cam("hires_cam", "HiResCAM"),
    cam("xgrad_cam", "XGradCAM"),
    cam("layer_cam", "LayerCAM"),
    cam("eigen_cam", "EigenCAM", forward_only),
    cam("eigen_grad_cam", "EigenGradCAM"),
    replace(cam("ablation_cam", "AblationCAM", forward_only), slow=True),
    replace(cam("score_cam", "ScoreCAM", forward_only), slow=True),
    Entry("saliency", gradients, {"captum": partial(captum, "Saliency", abs=False)}),
    Entry("integrated_gradients", partial(gradients, steps=50), {"captum": captum_integrated_gradients}, slow=True),
    Entry("smooth_grad", partial(gradients, steps=50), {"captum": captum_smooth_grad}, slow=True),
)


def make_setting(model: str, count: int, device: str) -> Setting:
    """Smooth pictures in color, each explained for another class."""
    head = Head("finding", tuple(f"class {i}" for i in range(CLASSES)))
    classifier = TorchvisionModel(model).build((head,), Input(Resize(SIDE, SIDE)), 0).to(device).eval()
    noise = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(noise, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    content, ids = torch.ones(count, SIDE, SIDE, dtype=torch.bool), tuple(f"picture {i}" for i in range(count))
    batch = Batch(images, torch.arange(count) % CLASSES, ids, content, None, torch.ones(count, 2)).to(device)
    return Setting(classifier, batch, classifier.normalize(batch.images).contiguous())


def seconds(run: Run, device: str) -> float:
    """Seconds of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measured(entry: Entry, setting: Setting, repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds a picture of everybody, in turns after one call each that does not count."""
    prepare: dict[str, Prepare] = {"ours": partial(ours, entry.name)}
    prepare |= ({"floor": entry.floor} if entry.floor else {}) | entry.peers
    runs = {who: make(setting) for who, make in prepare.items()}
    for run in runs.values():
        run()
    rounds = [{who: seconds(run, device) for who, run in runs.items()} for _ in range(repeats)]
    return {who: [one[who] / len(setting.batch) for one in rounds] for who in runs}


def shown(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def lines(entry: Entry, model: str, found: dict[str, list[float]]) -> list[str]:
    """A row of Markdown for each who took part; the ratios are those of the same round."""
    rows = []
    for who, values in found.items():
        ratios = [a / b for a, b in zip(values, found.get("floor", []), strict=False)]
        milliseconds = [1000 * value for value in values]
        rows.append(f"| {model} | {entry.name} | {who} | {shown(milliseconds)} | {shown(ratios) if ratios else ''} |")
    return rows


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--models", default="resnet50", help="ResNets of torchvision, separated by commas")
    parser.add_argument("--methods", default="", help="names separated by commas; by default all but the slow ones")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads,")
    print(f"torch {torch.__version__}, {asked.device}; batches of {asked.batch} pictures of {SIDE} px, ", end="")
    print(f"{asked.repeats} repeats, median (range)\n")
    print("| model | method | by | ms a picture | times the floor |\n|---|---|---|---|---|", flush=True)
    wanted = asked.methods.split(",") if asked.methods else [entry.name for entry in ENTRIES if not entry.slow]
    unknown = set(wanted) - {entry.name for entry in ENTRIES}
    if unknown:
        parser.error(f"no entry for {', '.join(sorted(unknown))}; there are {', '.join(e.name for e in ENTRIES)}")
    for model in asked.models.split(","):
        setting = make_setting(model, asked.batch, asked.device)
        for entry in (e for e in ENTRIES if e.name in wanted):
            print("\n".join(lines(entry, model, measured(entry, setting, asked.repeats, asked.device))), flush=True)


if __name__ == "__main__":
    main()
