"""VarGrad: a plain twin, never negative, 0 where the slope is the same everywhere."""

import torch
from gradient_cases import Shared, linear, network
from hypothesis import given, settings
from hypothesis import strategies as st
from xai_bench_explainers.saliency import Saliency
from xai_bench_explainers.smooth_grad import SmoothGrad
from xai_bench_explainers.var_grad import VarGrad

from xai_bench.testing import tiny_batch, tiny_classifier


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0, 0.5))
def test_equals_the_variance_of_the_maps_that_smooth_grad_averages(seed, samples, sigma):
    classifier = network(Shared(), mean=(0.5,), std=(0.25,))
    batch = tiny_batch(classifier)
    seen = []

    class Keep(Saliency):
        def __call__(self, classifier, batch):
            seen.append(super().__call__(classifier, batch))
            return seen[-1]

    mean = SmoothGrad(Keep(), samples, sigma, seed)(classifier, batch)
    maps = torch.stack(seen).double()
    ours = VarGrad(Saliency(), samples, sigma, seed)(classifier, batch)
    assert torch.allclose(mean, maps.mean(0).float(), rtol=1e-4, atol=1e-6)
    assert (ours >= 0).all()
    assert torch.allclose(ours, maps.var(0, correction=0).float(), rtol=1e-3, atol=1e-6 * float(maps.abs().max()) ** 2)


def test_a_linear_model_s_gradient_does_not_vary():
    classifier = linear()
    batch = tiny_batch(classifier)
    scale = float(Saliency()(classifier, batch).abs().max())
    assert VarGrad()(classifier, batch).max() <= (1e-6 * scale) ** 2


def test_one_copy_has_no_variance():
    classifier = tiny_classifier()
    assert not VarGrad(samples=1)(classifier, tiny_batch(classifier)).any()
