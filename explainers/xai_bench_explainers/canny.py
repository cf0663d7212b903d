"""A control: what thin edges of the film score, which know nothing of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer


@explainer("canny", cite="Canny 1986; Adebayo et al. 2018")
@dataclass(frozen=True)
class Canny:
    """Canny's edges of the gray picture: 1 on an edge one pixel wide, else 0; padding and its border have none.

    `sigma` of the smoothing is in pixels at 224 px, scaled with the picture. `low` and `high` are quantiles of the edge
    strength inside the content, as films differ in contrast: an edge is where the strength is above `low`, connected to
    a place where it is above `high`. `edge_map` shows the strength itself.
    """

    sigma: float = 1.5
    low: float = 0.8
    high: float = 0.95
    family: ClassVar[str] = "control"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.sigma > 0 or not 0 <= self.low <= self.high <= 1:
            raise BadInput(
                f"canny(sigma={self.sigma}, low={self.low}, high={self.high}): expected a positive sigma and quantiles "
                "0 <= low <= high <= 1, such as 1.5, 0.8 and 0.95."
            )

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        sigma = self.sigma * batch.images.shape[-1] / 224
        films, content = batch.images.mean(1).double().cpu().numpy(), batch.content.cpu().numpy()
        found = [self._edges(film, seen, sigma) for film, seen in zip(films, content, strict=True)]
        return torch.from_numpy(np.stack(found)).to(batch.images)

    def _edges(
        self, film: Float[NDArray[np.float64], "h w"], content: Bool[NDArray[np.bool_], "h w"], sigma: float
    ) -> Bool[NDArray[np.bool_], "h w"]:
        from skimage.feature import canny

        edges = np.zeros_like(content)
        rows, columns = np.flatnonzero(content.any(1)), np.flatnonzero(content.any(0))
        if rows.size and np.isfinite(film).all():
            # Only the content's box: quantiles over the padding would be those of the letterbox.
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            thresholds = {"low_threshold": self.low, "high_threshold": self.high, "use_quantiles": True}
            edges[box] = canny(film[box], sigma, mask=content[box], **thresholds)
        return edges
