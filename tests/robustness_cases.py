"""Cases for metrics that explain again: explainers of known behavior, and a small network that has learned its task."""

import copy
import functools
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from xai_bench_metrics._noisy_copies import NoisyCopies

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch, Case, Explainer
from xai_bench.samples import Head
from xai_bench.seeding import generator
from xai_bench.testing import tiny_batch
from xai_bench.testing.metrics import Slope

__all__ = ["Brightness", "Slope", "Watched", "case_of", "slow_copies", "slow_ssim", "trained", "whole_batch"]


@dataclass(frozen=True)
class Brightness:
    """The picture itself: follows every move, and ignores model and class."""

    scale: float = 1.0
    signed: ClassVar[bool] = False

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        return self.scale * batch.images.mean(1)


@dataclass(frozen=True)
class Watched:
    """Another explainer, with every batch that it was asked about."""

    inner: Explainer
    seen: list[Batch]

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        self.seen.append(batch)
        return self.inner(classifier, batch)


def case_of(classifier: Classifier, batch: Batch, explainer: Explainer) -> Case:
    """A case as a run makes it: the explainer's own map at the picture's size."""
    maps = explainer(classifier, batch)
    size = batch.images.shape[2:]
    large = torch.nn.functional.interpolate(maps[:, None], size, mode="bilinear")[:, 0]
    return Case(classifier, batch, explainer, large, None, ("not_read",) * len(batch))


def whole_batch(classifier: Classifier, count: int = 3) -> Batch:
    """Pictures without padding."""
    batch = tiny_batch(classifier, count + 1)
    index = torch.arange(count)
    return Batch(batch.images[index], batch.targets[index], batch.ids[:count], batch.content[index], None,
                 batch.spacing_mm[index])  # fmt: skip


def slow_ssim(a: Tensor, b: Tensor, span: float) -> float:
    """Word for word, one pair of maps, by scikit-image."""
    from skimage.metrics import structural_similarity

    x, y = (m.double().numpy() / m.abs().max().item() for m in (a, b))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(x, y, data_range=span, **options))


def slow_copies(metric: NoisyCopies, batch: Batch, n: int) -> Tensor:
    """The noisy copies of one picture, one after the other."""
    draw, image, content = generator(metric.seed, batch.ids[n]), batch.images[n], batch.content[n]
    copies = []
    for _ in range(metric.samples):
        noise = (torch.rand(image.shape, generator=draw) - 0.5) * 2 * metric.radius
        copies.append(torch.where(content, (image + noise).clamp(min=0).clamp(max=1), image))
    return torch.stack(copies)


@functools.cache
def _learned() -> tuple[Classifier, Batch]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 5, 2, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(16, 2),
        )  # fmt: skip
        made = Classifier(model, [Head("side", ("left", "right"))], reader=Input(Resize(32, 48)), cam_layer="4")
        images, sides = _squares(64)
        for _ in range(60):
            loss = nn.functional.cross_entropy(made(images), sides)
            weights = list(made.parameters())
            with torch.no_grad():
                for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                    weight -= 0.5 * slope
    with untouched(made):
        assert (made(images).argmax(1) == sides).float().mean() > 0.95
    shown, found = images[:6], sides[:6]
    content = torch.ones(6, 32, 48, dtype=torch.bool)
    ids = tuple(f"film {i}" for i in range(6))
    return made.eval(), Batch(shown, found, ids, content, None, torch.full((6, 2), torch.nan))


def _squares(count: int) -> tuple[Tensor, Tensor]:
    images, sides = 0.3 * torch.rand(count, 1, 32, 48), torch.arange(count) % 2
    for i, side in enumerate(sides.tolist()):
        top, left = 2 + 5 * i % 20, 2 + 24 * side + 3 * i % 12
        images[i, :, top : top + 8, left : left + 8] += 0.6
    return images, sides


def trained() -> tuple[Classifier, Batch]:
    """A network that tells on which side a square is, and six of its pictures; a copy of its own for each test."""
    classifier, batch = _learned()
    return copy.deepcopy(classifier), replace(batch)
