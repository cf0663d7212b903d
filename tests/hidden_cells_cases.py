"""Cases for metrics that hide cells of a grid: films, maps, and a classifier whose exact contributions are known."""

from dataclasses import replace

import torch
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Case
from xai_bench.testing import box_classifier, tiny_batch

ROWS, COLUMNS = slice(4, 20), slice(8, 32)


def noise(batch: Batch, seed: int = 0) -> Tensor:
    """Maps without any order."""
    return torch.randn(batch.content.shape, generator=torch.Generator().manual_seed(seed))


def make_case(classifier: Classifier, batch: Batch, saliency: Tensor) -> Case:
    """A case without regions."""
    return Case(classifier, batch, None, saliency, None, ("not_read",) * len(batch))


def box_case(count: int = 3) -> Case:
    """A classifier that is linear in the picture, and each pixel's exact share of the logit of `bright` over black."""
    classifier = box_classifier(ROWS, COLUMNS)
    batch = tiny_batch(classifier, count)
    batch = replace(batch, targets=torch.ones(count, dtype=torch.long))
    exact = torch.zeros_like(batch.images[:, 0])
    exact[:, ROWS, COLUMNS] = 4 * batch.images[:, 0, ROWS, COLUMNS] / (16 * 24)
    return make_case(classifier, batch, exact)
