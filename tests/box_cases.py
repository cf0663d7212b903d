"""A film with one bright box, and a classifier that looks at nothing else: explanations must point there."""

import torch
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch
from xai_bench.testing import box_classifier, tiny_batch

BOX = slice(8, 16), slice(24, 36)


def bright_box() -> tuple[Classifier, Batch, Tensor]:
    """Classifier, one film explained for `bright`, and where the box is."""
    classifier = box_classifier(*BOX)
    batch = tiny_batch(classifier, count=1)
    batch.images[:] = 0.2
    batch.images[:, :, *BOX] = 1.0
    batch.targets[:] = 1
    inside = torch.zeros(batch.content.shape[1:], dtype=torch.bool)
    inside[BOX] = True
    return classifier, batch, inside
