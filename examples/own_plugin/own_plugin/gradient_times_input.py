"""Gradient times input: an explainer in one file."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("gradient_times_input", cite="Shrikumar et al. 2016")
@dataclass(frozen=True)
class GradientTimesInput:
    """The gradient of the target's logit times the picture, summed over channels; signed, at the picture's size."""

    family: ClassVar[str] = "gradient"

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        images = batch.images.clone().requires_grad_()
        with untouched(classifier), torch.enable_grad():
            score = classifier(images).gather(1, batch.targets[:, None]).sum()
            gradient = torch.autograd.grad(score, images)[0]
        return (gradient * batch.images).sum(1)
