"""The centered Gaussian: its formula, its symmetry, its center."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from xai_bench_explainers.center_gaussian import CenterGaussian

from xai_bench.errors import BadInput
from xai_bench.testing import tiny_batch, tiny_classifier


@given(st.floats(0.05, 2))
def test_formula_and_symmetry(sigma):
    classifier = tiny_classifier()
    bump = CenterGaussian(sigma)(classifier, tiny_batch(classifier, count=1))[0]
    assert torch.allclose(bump, bump.flip(0), atol=1e-6)
    assert torch.allclose(bump, bump.flip(1), atol=1e-6)
    y, x = (3 + 0.5 - 16) / (32 * sigma), (40 + 0.5 - 24) / (48 * sigma)
    assert bump[3, 40].item() == pytest.approx(math.exp(-(x * x + y * y) / 2), abs=1e-6)
    assert bump.argmax().item() in {r * 48 + c for r in (15, 16) for c in (23, 24)}


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(BadInput, match="positive fraction"):
        CenterGaussian(sigma)
