"""The packages that `perturbation.py` measures against, each used as its documentation says."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch

SIDE = 224
"""Height and width of the pictures, px."""
PeerWork = Callable[["Plain", Batch], Any]


def saliency(batch: Batch) -> torch.Tensor:
    """A smooth map for each picture."""
    noise = torch.rand(len(batch), 1, 14, 14, generator=torch.Generator().manual_seed(1))
    return F.interpolate(noise, (SIDE, SIDE), mode="bicubic")[:, 0].to(batch.images.device)


class Plain(torch.nn.Module):
    """The model as a user of a package has it: normalization, then the torchvision model, nothing of ours."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.model, self.mean, self.std = classifier.model, classifier.mean, classifier.std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        found: torch.Tensor = self.model((images - self.mean) / self.std)
        return found


def probabilities(model: Plain, pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the packages' tutorials write: pictures (n, h, w, 3) in [0, 1], each to a tensor, a stack, the model."""
    images = torch.stack([torch.from_numpy(p.transpose(2, 0, 1)).float() for p in pictures])
    with torch.no_grad():
        found: np.ndarray[Any, Any] = model(images.to(model.mean.device)).softmax(1).cpu().numpy()
        return found


def as_array(batch: Batch) -> np.ndarray[Any, Any]:
    """The first picture, (h, w, 3)."""
    found: np.ndarray[Any, Any] = batch.images[0].permute(1, 2, 0).double().cpu().numpy()
    return found


def lime_peer(samples: int) -> PeerWork:
    """lime's tutorial on images."""

    def run(model: Plain, batch: Batch) -> Any:
        from lime.lime_image import LimeImageExplainer

        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            return LimeImageExplainer().explain_instance(
                as_array(batch),
                lambda p: probabilities(model, p),
                top_labels=1,
                hide_color=None,
                num_samples=samples,
            )

    return run


def shap_peer(evaluations: int, masker: str) -> PeerWork:
    """shap's tutorial on image classification: Partition explainer, one output, batches of 50."""

    def run(model: Plain, batch: Batch) -> Any:
        import shap

        picture = as_array(batch) * 255
        explainer = shap.Explainer(lambda p: probabilities(model, p / 255), shap.maskers.Image(masker, picture.shape))
        return explainer(picture[None], max_evals=evaluations, batch_size=50, outputs=[0], silent=True)

    return run


def pixel_flipping(model: Plain, batch: Batch) -> Any:
    """Quantus, 224 features a step."""
    import quantus

    metric = quantus.PixelFlipping(features_in_step=SIDE, perturb_baseline="black", disable_warnings=True)
    return _quantus(metric, model, batch)


def region_perturbation(model: Plain, batch: Batch) -> Any:
    """Quantus with its defaults."""
    import quantus

    return _quantus(quantus.RegionPerturbation(disable_warnings=True), model, batch)


def _quantus(metric: Any, model: Plain, batch: Batch) -> Any:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return metric(
            model=model, x_batch=batch.images.cpu().numpy(), y_batch=batch.targets.cpu().numpy(),
            a_batch=saliency(batch)[:, None].cpu().numpy(), device=str(batch.images.device), channel_first=True,
        )  # fmt: skip


def road_peer(model: Plain, batch: Batch) -> Any:
    """pytorch-grad-cam's ROADCombined at 10..90 %."""
    from pytorch_grad_cam.metrics.road import ROADCombined
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    metric = ROADCombined(percentiles=list(range(10, 100, 10)))
    return metric(batch.images, saliency(batch).cpu().numpy(), [ClassifierOutputSoftmaxTarget(0)] * len(batch), model)


def infidelity_peer(model: Plain, batch: Batch) -> Any:
    """captum's infidelity with masks of a 14 x 14 grid, 100 perturbations, 10 at once."""
    from captum.metrics import infidelity

    def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = (torch.rand(len(inputs), 1, 14, 14, device=inputs.device) < 0.5).float()
        mask = F.interpolate(mask, (SIDE, SIDE)).expand_as(inputs)
        return mask, inputs * (1 - mask)

    maps = saliency(batch)[:, None].expand(-1, 3, -1, -1)
    forward = lambda x: model(x).softmax(1)  # noqa: E731  # as captum's documentation writes it
    with torch.no_grad():
        return infidelity(
            forward,
            perturb,
            batch.images,
            maps,
            target=0,
            n_perturb_samples=100,
            max_examples_per_batch=10,
            normalize=True,
        )


def occlusion_peer(model: Plain, batch: Batch) -> Any:
    """captum's Occlusion: windows of 32, stride 16, 16 at once."""
    from captum.attr import Occlusion

    method = Occlusion(lambda x: model(x).softmax(1))
    with torch.no_grad():
        return method.attribute(
            batch.images, (3, 32, 32), strides=(3, 16, 16), target=0, perturbations_per_eval=16, baselines=0
        )


def rise_reference(steps: int) -> PeerWork:
    """The evaluation loop of RISE's authors: one picture changed in numpy-like steps, batches over steps."""

    def run(model: Plain, batch: Batch) -> Any:
        order = saliency(batch)[0].flatten().argsort(descending=True)
        size = -(-len(order) // steps)
        pictures, current = [batch.images[0]], batch.images[0].clone()
        for n in range(steps):
            current = current.clone()
            current.flatten(1)[:, order[n * size : (n + 1) * size]] = 0
            pictures.append(current)
        with torch.no_grad():
            return [model(part).softmax(1) for part in torch.stack(pictures).split(16)]

    return run
