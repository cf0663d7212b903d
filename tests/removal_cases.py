"""Cases for metrics that remove pixels: a classifier that is linear in the picture, and films with random noise."""

import torch
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch, Case
from xai_bench.samples import Head

SIZE = 8


class Linear(nn.Module):
    """Two logits (-s/2, s/2), s a weighted sum of the pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        s = (x[:, 0] * self.weights).sum((1, 2))
        return torch.stack([-s / 2, s / 2], 1)


def linear(seed: int = 0, size: int = SIZE, batch_size: int = 16) -> Classifier:
    """Random weights; its engine counts what the model answers."""
    weights = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) / 4
    made = Classifier(Linear(weights), (Head("finding", ("no", "yes")),), reader=Input(Resize(size, size)))
    made.engine = Engine(batch_size=batch_size)
    return made


def make_case(
    saliency: Tensor, classifier: Classifier | None = None, content: Tensor | None = None, channels: int = 1
) -> Case:
    """Noisy films with these maps, all explained for class `yes`."""
    b, h, w = saliency.shape
    shown = torch.ones(b, h, w, dtype=torch.bool) if content is None else content
    images = torch.rand(b, channels, h, w, generator=torch.Generator().manual_seed(9)) * shown[:, None]
    ids = tuple(f"film {n}" for n in range(b))
    batch = Batch(images, torch.ones(b, dtype=torch.long), ids, shown, None, torch.ones(b, 2))
    return Case(classifier or linear(size=w), batch, None, saliency, None, ("not_read",) * b)


def contributions(case: Case) -> Tensor:
    """What each pixel adds to the linear classifier's score: the map that no other beats, over black."""
    return (case.batch.images[:, 0] * case.classifier.model.weights.detach()).detach()


def noise(b: int, seed: int) -> Tensor:
    """Maps without any order."""
    return torch.randn(b, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def score_of(case: Case, n: int, picture: Tensor, kind: str) -> float:
    """The target's score of one picture, asked by itself."""
    logits = case.classifier(picture[None]).detach()
    found = case.classifier.probabilities(logits) if kind == "probability" else logits
    return float(found[0, case.batch.targets[n]])
