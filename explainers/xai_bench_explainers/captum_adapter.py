"""Any attribution method of captum by its class name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, Unfit, did_you_mean
from xai_bench.perturbation import grid
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM, channels_at, layer_output, picture_size, to_grid
from xai_bench_explainers._gradients import check_differentiable
from xai_bench_explainers._padding import each_picture
from xai_bench_explainers._peer import peer

OURS = {"self", "inputs", "target", "additional_forward_args", "feature_mask", "return_convergence_delta",
        "show_progress", "verbose", "custom_attribution_func", "perm_func", "grad_kwargs", "kwargs", "model",
        "forward_func", "layer", "device_ids", "return_input_shape", "layer_mask"}  # fmt: skip
"""Parameters of captum's that the adapter fills in, that are no plain values, or that change what is returned."""
KNOWN = {"self", "inputs", "model", "forward_func", "layer", "baselines", "sliding_window_shapes"}
"""Parameters without a default that the adapter has a value for."""
MOST = 1_000_000  # evaluations a picture: a mistake rather than a wish


@explainer("captum", cite="Kokhlikyan et al. 2020")
@dataclass(frozen=True)
class Captum:
    """A method of captum by its class name (`captum:Saliency`); attributions to the target's logit, channels summed.

    `arguments` go to the class or to its `attribute`, lists as tuples; a number for `baselines` fills a picture, black
    where none is given and one is needed. `layer` is what Layer methods look at: a dotted name inside the wrapped
    model, by default the one that CAM methods look at; their map is on its grid. Methods with a `feature_mask` see
    `cells` x `cells` squares, and Occlusion slides one such square by its own size, as the number of pixels is that of
    their model evaluations. Pictures are explained one by one, with at most `batch_size` variants of one in a model
    call where the method can divide them. Random methods draw by (seed, picture id). Neuron methods, NoiseTunnel and
    those that compare the pictures of a batch or explain text are not offered: `smooth_grad` has the second's place.
    Raises BadInput for an unknown method or argument, Unfit, with captum's words, where captum fails.
    """

    method: str = "Saliency"
    layer: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    cells: int = 14
    batch_size: int = 16
    seed: int = 0
    works_with: ClassVar[str] = "what captum's method can explain"

    def __post_init__(self) -> None:
        if self.method not in methods():
            raise BadInput(
                f"captum: method {self.method!r} is not offered; choose {', '.join(methods())}."
                f"{did_you_mean(self.method, list(methods()))}"
            )
        known = [name for name in self._parameters if name not in OURS]
        for name in self.arguments:
            if name not in known:
                raise BadInput(
                    f"captum: {self.method} has no argument {name!r} here; it has {', '.join(known) or 'none'}."
                    f"{did_you_mean(name, known)}"
                )
        if self.cells < 1 or self.batch_size < 1:
            raise BadInput(f"captum(cells={self.cells}, batch_size={self.batch_size}): expected 1 or more of each.")
        if self.evaluations > MOST:
            raise BadInput(f"captum: {self.method} with {self.cells} x {self.cells} cells never ends; use fewer cells.")

    @property
    def label(self) -> str:
        """What a study calls it."""
        return f"captum:{self.method}"

    @property
    def family(self) -> str:
        """By captum's own class: gradient or perturbation, else other."""
        from captum.attr import GradientAttribution, PerturbationAttribution

        if issubclass(self._class, GradientAttribution):
            return "gradient"
        return "perturbation" if issubclass(self._class, PerturbationAttribution) else "other"

    @property
    def needs_gradients(self) -> bool:
        """Those of the family gradient do."""
        return self.family == "gradient"

    @property
    def class_specific(self) -> bool:
        """Whether the method takes a target."""
        return "target" in self._parameters

    @property
    def signed(self) -> bool:
        """Not where captum takes absolute values."""
        return not ("abs" in self._parameters and self._options.get("abs"))

    @property
    def evaluations(self) -> int:
        """About how many pictures the model sees for one of ours, for estimates."""
        taken, squares = set(self._parameters), self.cells**2
        sampled = next((int(self._options[n]) for n in ("n_steps", "n_samples") if n in taken), 1)
        if self.method == "ShapleyValues":  # every order of the squares
            return math.factorial(min(squares, 20)) * squares
        hides = bool({"feature_mask", "sliding_window_shapes"} & taken) and not issubclass(self._class, _fitted())
        return sampled * (squares if hides else 1)

    @property
    def _class(self) -> Any:
        return methods()[self.method]

    @property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        return {**_signature(self._class.__init__), **_signature(self._class.attribute)}

    @property
    def _options(self) -> dict[str, Any]:
        """Arguments that are given, and the defaults of the others."""
        defaults = {n: p.default for n, p in self._parameters.items() if p.default is not inspect.Parameter.empty}
        return {**defaults, **self.arguments}

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        if self.needs_gradients:
            check_differentiable(self.label, classifier)
        return each_picture(batch, lambda i: self._explain(classifier, batch, i))

    def _explain(self, classifier: Classifier, batch: Batch, i: int) -> Float[Tensor, "h w"]:
        cls, taken, image = self._class, self._parameters, batch.images[i : i + 1].detach()
        given = {name: _tuples(value) for name, value in (self._filled(image) | dict(self.arguments)).items()}
        if "baselines" in given:
            given["baselines"] = self._baseline(image, float(given["baselines"]))
        made = {name: given.pop(name) for name in list(given) if name in _signature(cls.__init__)}
        asked = {"target": int(batch.targets[i])} if "target" in taken else {}
        layer = [CAM(self.layer).target_layer(classifier)] if "layer" in taken else []
        if layer:
            self._check_channels(classifier, layer[0], batch)
        with peer(self.label, classifier, self.seed, batch.ids[i]):
            method = cls(classifier, *layer, **made)
            found = method.attribute(image.clone().requires_grad_(), **asked, **given)
        return self._to_map(found, classifier, picture_size(batch))

    def _filled(self, image: Float[Tensor, "1 c h w"]) -> dict[str, Any]:
        """The adapter's own values for what the method takes."""
        h, w = image.shape[2:]
        window = (image.shape[1], -(-h // self.cells), -(-w // self.cells))
        values = {
            "feature_mask": grid(h, w, self.cells)[None, None].to(image.device),
            "sliding_window_shapes": window, "strides": window,
            "internal_batch_size": self.batch_size, "perturbations_per_eval": self.batch_size,
        }  # fmt: skip
        needed = self._parameters.get("baselines")
        if needed is not None and needed.default is inspect.Parameter.empty:
            values["baselines"] = 0
        return {name: value for name, value in values.items() if name in self._parameters}

    def _baseline(self, image: Float[Tensor, "1 c h w"], level: float) -> Float[Tensor, "n c h w"]:
        """Pictures of one gray: two where captum wants a distribution of them, which must be more than one."""
        needed = self._parameters["baselines"].default is inspect.Parameter.empty
        return torch.full_like(image, level).expand(2 if needed else 1, -1, -1, -1).clone()

    def _check_channels(self, classifier: Classifier, layer: nn.Module, batch: Batch) -> None:
        """These two average a layer's gradient over all axes after the first two, whatever they are."""
        if self.method not in ("LayerGradCam", "GuidedGradCam"):
            return
        if channels_at(layer_output(classifier, layer, batch), picture_size(batch)) != 1:
            raise Unfit(
                f"{self.label} takes the second axis of a layer's output as channels, which the layer of "
                f"{classifier.architecture} has last; use 'grad_cam'."
            )

    def _to_map(self, found: Any, classifier: Classifier, size: tuple[int, int]) -> Float[Tensor, "h w"]:
        values = found[0] if isinstance(found, tuple) and len(found) == 1 else found
        try:
            if not isinstance(values, Tensor):
                raise BadInput(f"it returns a {type(values).__name__}")
            values = values.detach()
            return (values if values.shape[2:] == size else to_grid(values, size)).float().sum(1)[0]
        except BadInput as error:
            raise Unfit(f"{self.label} gives no map of {classifier.architecture}: {str(error).rstrip('.')}.") from None


@cache
def methods() -> dict[str, Any]:
    """captum's classes that explain a picture by themselves, by name."""
    from captum import attr

    found = {}
    for name in sorted(attr.__all__):
        cls: Any = getattr(attr, name)
        if not (isinstance(cls, type) and issubclass(cls, attr.Attribution) and hasattr(cls, "attribute")):
            continue
        needed = [
            p.name
            for function in ("__init__", "attribute")
            for p in _signature(getattr(cls, function)).values()
            if p.default is inspect.Parameter.empty and p.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        # FeaturePermutation exchanges parts between the pictures of a batch.
        if set(needed) <= KNOWN and "inputs" in needed and not issubclass(cls, attr.FeaturePermutation):
            found[name] = cls
    return found


def _fitted() -> Any:
    """What fits a surrogate to samples: the number of squares does not change that of its model evaluations."""
    from captum.attr import LimeBase

    return LimeBase


@cache
def _signature(function: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _tuples(value: Any) -> Any:
    """JSON has lists where captum wants tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
