"""Any method of pytorch-grad-cam by its class name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.protocols import Batch, Saliency
from xai_bench.registry import explainer
from xai_bench_explainers._cam import CAM, picture_size, to_grid
from xai_bench_explainers._gradients import check_differentiable
from xai_bench_explainers._padding import each_picture
from xai_bench_explainers._peer import peer

NO_TARGET = {"EigenCAM", "KPCA_CAM", "FEM", "RandomCAM"}
NO_GRADIENT = {"EigenCAM", "KPCA_CAM", "FEM", "ScoreCAM", "AblationCAM"}
SECOND_ORDER = "ShapleyCAM"  # differentiates the layer's gradient, which depends on weights only in a ReLU network


@explainer("gradcam", cite="Gildenblat et al. 2021")
@dataclass(frozen=True)
class PytorchGradCAM:
    """A method of the package pytorch-grad-cam by its class name (`gradcam:LayerCAM`), positive part.

    The map is that of one layer on its own grid, before the package scales it to 0..1; FullGrad alone, which has no
    such layer, is the package's scaled sum at the picture's size. `layer` is a dotted name inside the wrapped model; by
    default the one that the classifier knows. Pictures are explained one by one; RandomCAM and KPCA_CAM draw by (seed,
    picture id). Parameters keep no gradient, which the package leaves on all of them. Where the package divides by a
    score of 0 (AblationCAM: fault F11 of docs/faults.md) the map is 0, which a metric marks as constant; it is NaN
    where the model's own logits are. Our `grad_cam`, `layer_cam` and others are the same methods in batches. Raises
    BadInput for an unknown method, Unfit, with the package's words, where the package fails.
    """

    method: str = "GradCAM"
    layer: str | None = None
    seed: int = 0
    family: ClassVar[str] = "cam"
    signed: ClassVar[bool] = False
    works_with: ClassVar[str] = "CNNs; transformers with a grid of patches where the package can"

    def __post_init__(self) -> None:
        if self.method not in methods():
            raise BadInput(
                f"gradcam: method {self.method!r} is not offered; choose {', '.join(methods())}."
                f"{did_you_mean(self.method, list(methods()))}"
            )

    @property
    def label(self) -> str:
        """What a study calls it."""
        return f"gradcam:{self.method}"

    @property
    def class_specific(self) -> bool:
        """Not where the method looks at activations only."""
        return self.method not in NO_TARGET

    @property
    def needs_gradients(self) -> bool:
        """Not where the method looks at activations or scores only."""
        return self.method not in NO_GRADIENT

    def __call__(self, classifier: Classifier, batch: Batch) -> Saliency:
        if self.needs_gradients:
            check_differentiable(self.label, classifier)
        return each_picture(batch, lambda i: self._explain(classifier, batch, i))

    def _explain(self, classifier: Classifier, batch: Batch, i: int) -> Float[Tensor, "h w"]:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        layer, size = CAM(self.layer).target_layer(classifier), picture_size(batch)
        image, wanted = batch.images[i : i + 1].detach().clone(), [ClassifierOutputTarget(int(batch.targets[i]))]
        places = [(m, n) for m in classifier.modules() for n, child in m.named_children() if child is layer]
        with peer(self.label, classifier, self.seed, batch.ids[i]):
            classifier.requires_grad_(self.method == SECOND_ORDER)
            method = methods()[self.method](classifier, [layer], reshape_transform=lambda values: to_grid(values, size))
            try:
                scaled = method(image.requires_grad_(), wanted)
            finally:
                _released(method)
                _put_back(layer, places)
            found = torch.from_numpy(np.array(getattr(method, "unscaled", scaled), np.float32))[0].relu()
            usable = bool(classifier(image.detach()).isfinite().all())
        return (found.nan_to_num(0, 0, 0) if usable else torch.full_like(found, torch.nan)).to(image.device)


def _released(method: Any) -> None:
    """Its hooks removed; emptied before, as `release` cannot detach a gradient that is a view, and fails once more when
    the object goes."""
    method.activations_and_grads.activations = []
    method.activations_and_grads.gradients = []
    method.activations_and_grads.release()


def _put_back(layer: nn.Module, places: list[tuple[nn.Module, str]]) -> None:
    """AblationCAM stands another layer in the model, and leaves it there when it fails."""
    for parent, name in places:
        setattr(parent, name, layer)


@cache
def methods() -> dict[str, Any]:
    """The package's classes that need a model and its layer only, by name; each keeps its map from before scaling."""
    import pytorch_grad_cam
    from pytorch_grad_cam.base_cam import BaseCAM

    found = {}
    for name, cls in sorted(vars(pytorch_grad_cam).items()):
        if isinstance(cls, type) and issubclass(cls, BaseCAM):
            taken = inspect.signature(cls).parameters.values()
            if [p.name for p in taken if p.default is inspect.Parameter.empty] == ["model", "target_layers"]:
                found[name] = _keeping(cls)
    return found


def _keeping(cls: Any) -> Any:
    def get_cam_image(self: Any, *args: Any, **options: Any) -> Any:
        self.unscaled = cls.get_cam_image(self, *args, **options)
        return self.unscaled

    return type(cls.__name__, (cls,), {"get_cam_image": get_cam_image})
