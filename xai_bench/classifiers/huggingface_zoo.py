"""Image classifiers of Hugging Face's transformers, by kind or by a local configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers._weights import IMAGENET_MEAN, IMAGENET_STD, drawn_by, read_weights
from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, UnknownName, did_you_mean
from xai_bench.inputs import Input
from xai_bench.registry import classifier
from xai_bench.samples import Head


class Logits(nn.Module):
    """A transformers model that returns its logits and not an object that holds them.

    `bgr` where its weights were trained on blue, green, red (MobileViT).
    """

    def __init__(self, model: nn.Module, bgr: bool = False) -> None:
        super().__init__()
        self.model = model
        self.bgr = bgr

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b logits"]:
        """Logits of normalized pictures."""
        return self.model(pixels.flip(1) if self.bgr else pixels).logits  # type: ignore[no-any-return]  # modules return Any


@classifier("hf")
@dataclass(frozen=True)
class HuggingFaceModel:
    """An image classifier of transformers: `model` is a kind (vit, deit, swin, mobilevit, ...) or a config.json.

    `weights` is none or the path of a local .safetensors file, nothing is downloaded and no pickle is read. `mean` and
    `std` are what the weights expect: by default what preprocessor_config.json beside config.json says, else
    ImageNet's. The picture's size is the reader's. The last layer is made for the heads. Needs the optional package
    transformers.
    """

    model: str = "vit"
    weights: str = "none"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    cam_layer: str | None = None

    def bare(self) -> HuggingFaceModel:
        """The same structure without trained weights."""
        return replace(self, weights="none")

    def build(self, heads: Sequence[Head], reader: Input, seed: int) -> Classifier:
        """With the trained weights, if any; all else drawn by `seed`.

        Raises BadInput without transformers, and for weights or a configuration that do not fit.
        """
        kind, config = self._config(sum(len(h.classes) for h in heads), (reader.resize.height, reader.resize.width))
        found = self._preprocessing()
        with drawn_by(seed):
            model = kind(config) if self.weights == "none" else self._load(kind, config)
        mean, std = self.mean or found["mean"], self.std or found["std"]
        inner = Logits(model, found["bgr"])
        built = Classifier(inner, heads, reader=reader, mean=mean, std=std, cam_layer=self.cam_layer)
        built.architecture = f"hf {config.model_type}"
        return built

    def _config(self, outputs: int, size: tuple[int, int]) -> tuple[Any, Any]:
        """The model's class, and its configuration for so many outputs and pictures of (height, width) `size`."""
        transformers = _transformers()
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN

        fields = _json(self.model) if self.model.endswith(".json") else {"model_type": self.model}
        name = str(fields.pop("model_type", ""))
        if name not in KNOWN:
            raise UnknownName(
                f"transformers has no image classifier of kind {name!r}.{did_you_mean(name, list(KNOWN))}"
            )
        classes = (KNOWN[name],) if isinstance(KNOWN[name], str) else KNOWN[name]
        wanted = [c for c in fields.get("architectures") or () if c in classes]  # DeiT has one with a second head
        fields = {k: v for k, v in fields.items() if k not in ("id2label", "label2id", "num_labels")}
        try:
            config = transformers.AutoConfig.for_model(name, **fields, num_labels=outputs)
            if hasattr(config, "image_size"):
                config.image_size = size[0] if size[0] == size[1] else list(size)
        except Exception as error:  # transformers checks configurations in many ways
            raise BadInput(f"{self.model!r} is no configuration of {name}: {_first_line(error)}.") from error
        return getattr(transformers, [*wanted, *classes][0]), config

    def _load(self, kind: Any, config: Any) -> Any:
        """With weights by the names that transformers gives them in files, which are not those of its modules."""
        weights = dict(read_weights(self.weights))
        try:
            model, found = kind.from_pretrained(
                None, config=config, state_dict=weights, ignore_mismatched_sizes=True, output_loading_info=True
            )
        except RuntimeError as error:
            raise BadInput(f"weights {self.weights!r} do not fit {self.model!r}: {_first_line(error)}.") from error
        heads = tuple(f"{name}." for name, m in model.named_children() if isinstance(m, nn.Linear))
        other = [n if isinstance(n, str) else n[0] for part in _MISMATCHES for n in found[part]]
        other = sorted(n for n in other if not n.startswith(heads))
        if other:
            raise BadInput(
                f"weights {self.weights!r} are of another architecture or picture size than {self.model!r}: "
                f"{len(other)} tensors do not fit, such as {other[0]!r}."
            )
        return model.float()

    def _preprocessing(self) -> dict[str, Any]:
        """Mean, std and the order of colors that the weights expect."""
        file = Path(self.model).with_name("preprocessor_config.json")
        if not (self.model.endswith(".json") and file.is_file()):
            return {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "bgr": False}
        found = _json(str(file))
        plain = "image_mean" not in found or not found.get("do_normalize", True)  # pictures in [0, 1], as MobileViT's
        mean, std = ((0.0,) * 3, (1.0,) * 3) if plain else (found["image_mean"], found["image_std"])
        return {"mean": tuple(mean), "std": tuple(std), "bgr": bool(found.get("do_flip_channel_order", False))}


_MISMATCHES = ("missing_keys", "unexpected_keys", "mismatched_keys")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise BadInput(
            "classifier 'hf' needs the package transformers, which is not installed; run `pip install 'xai-bench[hf]'`."
        ) from error
    return transformers


def _json(path: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path!r} cannot be read as JSON ({type(error).__name__}); name a model's config.json."
        ) from error
    if not isinstance(found, Mapping):
        raise BadInput(f"{path!r} holds a {type(found).__name__}; expected an object, as in a model's config.json.")
    return dict(found)
