"""Colors and scale of a map over a film: zero relevance stays zero."""

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from xai_bench.reporting import overlay

SIGNED = [np.array([[-1.0, 0.0, 3.0]]), np.array([[-3.0, 0.0, 1.0]]), np.array([[0.0, 2.0, 5.0]])]


def opacity(uri: str) -> NDArray[np.uint8]:
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA")
    return np.asarray(picture)[..., 3]


def test_f12_min_max_scaling_moves_zero_and_ours_leaves_it_where_it_is() -> None:
    peer = pytest.importorskip("pytorch_grad_cam.utils.image", reason="the peer grad-cam is not installed")
    for saliency, moved in zip(SIGNED, (0.25, 0.75, 0.0), strict=True):
        zero = saliency == 0
        assert peer.scale_cam_image(saliency[None])[0][zero] == pytest.approx(moved)
        scaled = overlay.normalized(saliency, signed=True)
        assert (scaled[zero] == 0).all()
        assert (np.sign(scaled) == np.sign(saliency)).all()


@pytest.mark.parametrize("signed", [True, False])
def test_where_nothing_is_relevant_the_film_shows(signed: bool) -> None:
    for saliency in SIGNED:
        film, zero = np.full(saliency.shape, 0.3), saliency == 0
        assert (opacity(overlay.heatmap(saliency, signed=signed))[zero] == 0).all()
        assert np.allclose(overlay.blend(film, saliency, signed=signed)[zero], 0.3)
        relevant = saliency > 0
        assert (opacity(overlay.heatmap(saliency, signed=signed))[relevant] > 0).all()
