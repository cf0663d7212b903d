"""The localization metrics of Quantus as a peer: what they score, or a skip where the package is missing."""

import warnings

import numpy as np
import pytest


def quantus_scores(module: str, name: str, saliency: np.ndarray, region: np.ndarray, **options: object) -> list[float]:
    """Scores of maps (b, h, w) against regions, by the metric's own core: without its normalization and its checks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip(
            f"quantus.metrics.localisation.{module}", reason="the peer quantus is not installed"
        )
        metric = getattr(found, name)(disable_warnings=True, **options)
        blank = np.zeros((len(saliency), 1, *saliency.shape[1:]), np.float32)
        scores = metric.evaluate_batch(x_batch=blank, a_batch=saliency.copy(), s_batch=region.copy())
    return [float(score) for score in scores]
