"""Models for the gradient methods whose evidence is known by construction, and small networks of all kinds of layer."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from cam_cases import LEFT, RIGHT, known, patches_batch
from torch import nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier

HEADS = (Head("finding", ("a", "b", "c")),)


class Weighted(nn.Module):
    """One weight a class, channel and pixel."""

    def __init__(self, channels=1):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, channels, 32, 48, generator=draw) / 10)

    def forward(self, x):
        return torch.einsum("bchw,kchw->bk", x, self.weight) + 1


def linear(channels=1):
    """Logits that are linear in the picture; the weights themselves are `classifier.model.weight`."""
    return Classifier(
        Weighted(channels), HEADS, reader=Input(Resize(32, 48)), mean=(0.0,) * channels, std=(1.0,) * channels
    ).eval()


def _brightness(maps):
    return [maps[:, k][:, *patch].mean((1, 2)) for k, patch in enumerate((LEFT, RIGHT))]


def either():
    """One of two bright patches is enough for a score of 0.8, and both give no more."""
    return known([LEFT, RIGHT], lambda maps: 0.8 - torch.relu(0.8 - sum(_brightness(maps))))


class Block(nn.Module):
    """A residual block whose one ReLU works in place and is used twice."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.norm1(self.first(x)))
        out = self.norm2(self.second(out))
        out += x
        return self.relu(out)


class Shared(nn.Module):
    """A small residual network: max pooling, a shared ReLU, one called as a function."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool = nn.Conv2d(1, 6, 5, stride=2, padding=2), nn.MaxPool2d(2)
        self.mix, self.block = nn.Conv2d(6, 6, 3), Block(6)
        self.last, self.head = nn.Conv2d(6, 8, 3), nn.Linear(8, 3)

    def forward(self, x):
        x = self.pool(self.mix(F.relu(self.stem(x), inplace=True)))
        return self.head(torch.relu(self.last(self.block(x))).mean((2, 3)))


class Apart(Shared):
    """The same network with a module of its own for each ReLU, as captum needs it."""

    def __init__(self):
        super().__init__()
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(4))

    def forward(self, x):
        x = self.pool(self.mix(self.relus[0](self.stem(x))))
        out = self.block.norm2(self.block.second(self.relus[1](self.block.norm1(self.block.first(x)))))
        return self.head(self.relus[3](self.last(self.relus[2](out + x))).mean((2, 3)))


def drawn(model, seed=0):
    """The model with random weights and running statistics; some scales of batch norms are negative."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=draw)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1, generator=draw)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=draw)
                module.running_var.uniform_(0.5, 1.5, generator=draw)
                module.weight.uniform_(-0.3, 1.5, generator=draw)
                module.bias.normal_(0, 0.1, generator=draw)
    return model


def network(model, seed=0, **options):
    """A classifier of three classes around a model with random weights."""
    return Classifier(drawn(model, seed), HEADS, reader=Input(Resize(32, 48)), **options).eval()


def sequential():
    """Convolutions, max pooling and dense layers as captum needs them: no nonlinearity follows another."""
    parts = [nn.Conv2d(1, 6, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()]
    parts += [nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 3)]
    return nn.Sequential(*parts)


def colored(batch):
    """The pictures in three channels that differ."""
    images = torch.cat([batch.images, batch.images.flip(2), batch.images**2], 1)
    return replace(batch, images=images * batch.content[:, None])


def bright(*patches, target=1):
    """A black picture without padding, with these patches at brightness 0.9."""
    batch = patches_batch(*patches, target=target)
    return replace(batch, content=torch.ones_like(batch.content))


def dim(classifier=None, count=2):
    """Smooth pictures without padding."""
    batch = tiny_batch(classifier or tiny_classifier(), count=count)
    return replace(batch, content=torch.ones_like(batch.content))


def target_logits(classifier, images, targets):
    with torch.no_grad():
        return classifier(images).gather(1, targets[:, None])[:, 0]
