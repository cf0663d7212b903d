"""A control: what is left of a method's score when its map is blurred."""

from __future__ import annotations

from dataclasses import dataclass

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import gaussian_blur
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._wrapped import Remade


@explainer("blurred")
@dataclass(frozen=True)
class Blurred(Remade):
    """Another explainer's map, blurred by a Gaussian, on that explainer's grid; by default of `grad_cam`.

    `sigma` is a share of the map's shorter side. A method whose blurred map scores as well owes nothing to its fine
    detail.
    """

    sigma: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 1:
            raise BadInput(
                f"blurred: sigma is {self.sigma}; expected a share of the map's shorter side in (0, 1], such as 0.1."
            )

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        maps = self.explainer(classifier, batch)
        return gaussian_blur(maps[:, None], self.sigma * min(maps.shape[1:]))[:, 0]
