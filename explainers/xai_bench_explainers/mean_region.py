"""A control: what always pointing where the finding usually lies scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.protocols import Batch, Saliency, TrainingData
from xai_bench.registry import explainer


@explainer("mean_region")
@dataclass(frozen=True)
class MeanRegion:
    """The share of training films whose region covers the pixel, in [0, 1]: one map for all pictures.

    `region` names the region; by default the dataset's first main region. Films without it (an empty mask) do not
    count. Raises BadInput where it was not fitted, or fitted on no region.
    """

    region: str | None = None
    state: Mapping[str, Tensor] | None = field(default=None, repr=False)
    family: ClassVar[str] = "control"
    signed: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False

    def fit(self, classifier: Classifier, training: TrainingData) -> MeanRegion:
        """Average the region over the training films that have it."""
        total: Tensor | None = None
        count = 0
        for _, regions in training:
            masks = self._pick(regions)
            if masks is not None:
                part = masks.double().sum(0)
                total = part if total is None else total + part
                count += int(masks.flatten(1).any(1).sum())
        if total is None or count == 0:
            raise BadInput(
                f"mean_region: no training film has region {self.region or 'of any name'!r}; leave this control out."
            )
        return replace(self, state={"mean": (total / count).float()})

    def _pick(self, regions: Mapping[str, Tensor]) -> Tensor | None:
        if self.region is None:
            return next(iter(regions.values()), None)
        if self.region not in regions:
            names = list(regions)
            raise BadInput(
                f"mean_region: region {self.region!r} is none of the dataset's main regions "
                f"({', '.join(names) or 'it has none'}).{did_you_mean(self.region, names)}"
            )
        return regions[self.region]

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        if self.state is None:
            raise BadInput("mean_region was not fitted; run it in a study, or call fit(classifier, training) first.")
        mean, size = self.state["mean"], tuple(batch.images.shape[2:])
        if tuple(mean.shape) != size:
            raise BadInput(
                f"mean_region was fitted on pictures of {tuple(mean.shape)}, these are {size}; fit it at this size."
            )
        return mean.to(batch.images.device).expand(len(batch), *size).clone()
