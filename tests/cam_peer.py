"""The maps of pytorch-grad-cam as a peer, before its scaling to 0..1, or a skip where the package is missing."""

import contextlib
import io
import warnings

import numpy as np
import pytest
import torch


def raw_map(name, classifier, batch, reshape=None, **options):
    """What the peer's method `name` returns at the classifier's CAM layer, before its ReLU and scaling."""
    peer = pytest.importorskip("pytorch_grad_cam", reason="the peer grad-cam is not installed")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    wanted = [targets.ClassifierOutputTarget(int(t)) for t in batch.targets]
    layer = classifier.layer()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # progress bars
        warnings.simplefilter("ignore", RuntimeWarning)
        with getattr(peer, name)(classifier, [layer], reshape_transform=reshape, **options) as method:
            logits = method.activations_and_grads(batch.images)
            sum(target(row) for target, row in zip(wanted, logits, strict=True)).backward()
            kept = method.activations_and_grads
            activation, gradient = kept.activations[0].numpy(), kept.gradients[0].numpy()
            found = method.get_cam_image(batch.images, layer, wanted, activation, gradient, False)
    classifier.zero_grad()
    return torch.from_numpy(np.asarray(found, np.float32))


def close(ours, theirs, tolerance=1e-4):
    """Equal to a share of the largest value, and not both zero."""
    scale = float(theirs.abs().max())
    return scale > 0 and torch.allclose(ours, theirs, rtol=0, atol=tolerance * scale)
