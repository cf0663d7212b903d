"""A control: what a method's map of a network that has learned nothing scores."""

from __future__ import annotations

from dataclasses import dataclass

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.randomized import randomized_twin
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._wrapped import Remade


@explainer("randomized_twin", cite="Adebayo et al. 2018")
@dataclass(frozen=True)
class RandomizedTwin(Remade):
    """Another explainer's map of the same network with all weights drawn again; by default of `grad_cam`.

    Each module draws its weights as when it was made, or has them permuted, by (seed, module's name). What the map
    still scores comes from the architecture and the film, not from what was learned. Raises Unfit for a model that
    cannot be copied or has no weights to draw.
    """

    seed: int = 0

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        return self.explainer(randomized_twin(classifier, self.seed), batch)
