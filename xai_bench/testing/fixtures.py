"""A classifier of a few hundred weights, pictures and regions to try plugins on; the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch, Player, Players
from xai_bench.samples import Head
from xai_bench.seeding import generator


def tiny_classifier(seed: int = 0) -> Classifier:
    """Two convolutions with batch norm, three classes, random weights; for pictures of 32 x 48 pixels.

    >>> tiny_classifier()(torch.zeros(2, 1, 32, 48)).shape
    torch.Size([2, 3])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        last = nn.Linear(8, 3)
    head = Head("finding", ("normal", "mild", "severe"))
    reader = Input(Resize(32, 48))
    made = Classifier(model.append(last), [head], reader=reader, mean=(0.5,), std=(0.25,), cam_layer="4").eval()
    with torch.no_grad():  # else all pictures have nearly the same probabilities
        last.weight.mul_(50)
        last.bias.sub_(made(tiny_batch(made).images).mean(0))
    return made


class _Box(nn.Module):
    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.gain = nn.Parameter(torch.tensor(4.0))

    def forward(self, images: Tensor) -> Tensor:
        z = self.gain * (images[:, :, self.rows, self.columns].mean((1, 2, 3)) - 0.5)
        return torch.stack([-z, z], 1)


def box_classifier(rows: slice, columns: slice) -> Classifier:
    """Known evidence: class `bright` is the mean brightness inside one box of the 32 x 48 picture, and nothing else."""
    head = Head("finding", ("dark", "bright"))
    return Classifier(_Box(rows, columns), [head], reader=Input(Resize(32, 48))).eval()


def tiny_batch(classifier: Classifier, count: int = 4, seed: int = 0) -> Batch:
    """Smooth gray pictures at the classifier's size; the last is letterboxed, the first one's spacing is unknown."""
    h, w = classifier.reader.resize.height, classifier.reader.resize.width
    noise = torch.stack([torch.rand(1, 6, 6, generator=generator(seed, f"picture {i}")) for i in range(count)])
    images = F.interpolate(noise, (h, w), mode="bicubic", align_corners=False).clamp(0, 1)
    content = torch.ones(count, h, w, dtype=torch.bool)
    content[-1, :, : w // 6] = content[-1, :, w - w // 6 :] = False
    spacing = torch.full((count, 2), 0.8)
    spacing[0] = torch.nan
    targets = torch.arange(count) % classifier.n_logits
    ids = tuple(f"picture {i}" for i in range(count))
    return Batch(images * content[:, None], targets, ids, content, None, spacing).to(classifier.device)


def tiny_regions(batch: Batch) -> Bool[Tensor, "b h w"]:
    """One box for each picture, at different places inside the content."""
    b, h, w = batch.content.shape
    regions = torch.zeros_like(batch.content)
    for i in range(b):
        top, left = (i * h // 5) % (h // 2), w // 4 + (i * w // 7) % (w // 4)
        regions[i, top : top + h // 4, left : left + w // 5] = True
    return regions & batch.content


def with_tiny_players(batch: Batch) -> Batch:
    """The batch with anatomical players: a column of four vertebrae in the middle, each with a disc below it.

    The last picture but one is not marked: it has labels 0 and no players.
    """
    b, h, w = batch.content.shape
    labels = torch.zeros(b, h, w, dtype=torch.long)
    labels[:, :, w // 4 : w - w // 4] = 1 + torch.arange(h)[:, None] * 8 // h
    labels[b - 2] = 0
    bodies = ("T12", "L1", "L2", "L3", "L4")
    names = {
        1 + n: Player(bodies[n // 2] if n % 2 == 0 else f"{bodies[n // 2]}-{bodies[n // 2 + 1]}", bodies[n // 2], 9)
        for n in range(8)
    }
    names |= {9: Player("spine")}
    marked = [{} if i == b - 2 else names for i in range(b)]
    return replace(batch, players=Players(labels.to(batch.images.device), tuple(marked)))


def tiny_training(classifier: Classifier) -> list[tuple[Batch, Mapping[str, Bool[Tensor, "b h w"]]]]:
    """Training films in two batches, with one main region called `box`, for plugins that learn from them."""
    batches = [tiny_batch(classifier, seed=seed) for seed in (1, 2)]
    return [(batch, {"box": tiny_regions(batch)}) for batch in batches]
