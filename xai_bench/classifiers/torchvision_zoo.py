"""Every classification model of torchvision, by name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from xai_bench.classifiers._weights import IMAGENET_MEAN, IMAGENET_STD, drawn_by, load_weights, read_weights
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.layers import last_layers, replace_last_layer
from xai_bench.errors import BadInput, UnknownName, did_you_mean
from xai_bench.inputs import Input
from xai_bench.registry import classifier
from xai_bench.samples import Head


@classifier("torchvision")
@dataclass(frozen=True)
class TorchvisionModel:
    """A torchvision model; `weights` is none, default (ImageNet's, downloaded) or the path of a .pth or .safetensors.

    `mean` and `std` are what the weights expect, ImageNet's by default. The last layer is replaced by one for the
    heads.
    """

    model: str
    weights: str = "none"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    cam_layer: str | None = None

    def __post_init__(self) -> None:
        from torchvision import models

        known = models.list_models(module=models)
        if self.model not in known:
            raise UnknownName(
                f"torchvision has no classification model {self.model!r}.{did_you_mean(self.model, known)}"
            )

    def bare(self) -> TorchvisionModel:
        """The same structure without trained weights."""
        return replace(self, weights="none")

    def build(self, heads: Sequence[Head], reader: Input, seed: int) -> Classifier:
        """With the trained weights, if any; all else drawn by `seed`. Raises BadInput for weights that do not fit."""
        with drawn_by(seed):
            model = self._make(reader)
            _drop_auxiliary(model)
            if self.weights not in ("none", "default"):
                load_weights(model, read_weights(self.weights), self.weights, skip=last_layers(model))
            replace_last_layer(model, sum(len(h.classes) for h in heads))
        mean, std = self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD
        built = Classifier(model, heads, reader=reader, mean=mean, std=std, cam_layer=self.cam_layer)
        built.architecture = self.model
        return built

    def _make(self, reader: Input) -> nn.Module:
        from torchvision import models

        options: dict[str, Any] = {}
        if models.get_model_builder(self.model).__module__.endswith(
            "vision_transformer"
        ):  # its positions are of one size
            if reader.resize.height != reader.resize.width:
                raise BadInput(
                    f"{self.model} takes square pictures, not {reader.resize.height} x {reader.resize.width}; "
                    "change the reader's Resize."
                )
            options["image_size"] = reader.resize.height
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # Inception and GoogLeNet warn that their default may change
                made: nn.Module = models.get_model(
                    self.model, weights="DEFAULT" if self.weights == "default" else None, **options
                )
        except OSError as error:
            raise BadInput(
                f"the weights of {self.model} cannot be downloaded ({error}); name a local file in `weights`."
            ) from error
        except (ValueError, AssertionError) as error:
            raise BadInput(
                f"{self.model} cannot be made for {reader.resize.height} x {reader.resize.width} px: {error}."
            ) from error
        return made


def _drop_auxiliary(model: Any) -> None:
    """Remove Inception's and GoogLeNet's second classifiers, which would be returned beside the logits in training."""
    for name in ("AuxLogits", "aux1", "aux2"):
        if hasattr(model, name):
            setattr(model, name, None)
    if hasattr(model, "aux_logits"):
        model.aux_logits = False
