"""Every model of timm, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from xai_bench.classifiers._weights import IMAGENET_MEAN, IMAGENET_STD, drawn_by, load_weights, read_weights
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.layers import last_layers
from xai_bench.errors import BadInput, UnknownName, did_you_mean
from xai_bench.inputs import Input
from xai_bench.registry import classifier
from xai_bench.samples import Head

OURS = {"pretrained", "num_classes", "in_chans", "img_size", "checkpoint_path"}
"""What the classifier itself tells timm."""


@classifier("timm")
@dataclass(frozen=True)
class TimmModel:
    """A timm model; `weights` is none, default (timm's own, downloaded) or a path to a .pth or .safetensors file.

    `mean` and `std` are what the weights expect: by default what timm says of the model, else ImageNet's. `options` go
    to timm's `create_model`: `{block_args = {attn_layer = "cbam"}}` puts CBAM into a ResNet.
    """

    model: str
    weights: str = "none"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    cam_layer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import timm

        if not timm.is_model(self.model):
            raise UnknownName(f"timm has no model {self.model!r}.{did_you_mean(self.model, timm.list_models())}")
        for name in OURS & set(self.options):
            raise BadInput(f"timm: option {name!r} is set by the study's dataset, reader or weights; leave it out.")

    def bare(self) -> TimmModel:
        """The same structure without trained weights."""
        return replace(self, weights="none")

    def build(self, heads: Sequence[Head], reader: Input, seed: int) -> Classifier:
        """With the trained weights, if any; all else drawn by `seed`. Raises BadInput for weights that do not fit."""
        import timm

        config = timm.get_pretrained_cfg(self.model)
        with drawn_by(seed):
            model = self._make(sum(len(h.classes) for h in heads), bool(config and config.fixed_input_size), reader)
        if self.weights not in ("none", "default"):
            load_weights(model, read_weights(self.weights), self.weights, skip=last_layers(model))
        mean = self.mean or (tuple(config.mean) if config else IMAGENET_MEAN)
        std = self.std or (tuple(config.std) if config else IMAGENET_STD)
        built = Classifier(model, heads, reader=reader, mean=mean, std=std, cam_layer=self.cam_layer)
        built.architecture = self.model
        return built

    def _make(self, outputs: int, fixed_size: bool, reader: Input) -> nn.Module:
        import timm

        size = (reader.resize.height, reader.resize.width)
        options = {**({"img_size": size} if fixed_size else {}), **self.options}
        try:
            made: nn.Module = timm.create_model(
                self.model, pretrained=self.weights == "default", num_classes=outputs, in_chans=3, **options
            )
        except OSError as error:
            raise BadInput(
                f"the weights of {self.model} cannot be downloaded ({type(error).__name__}); "
                "name a local file in `weights`."
            ) from error
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise BadInput(f"{self.model} cannot be made for {size[0]} x {size[1]} px: {error}.") from error
        return made
