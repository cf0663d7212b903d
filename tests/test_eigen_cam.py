"""Eigen-CAM and Eigen-Grad-CAM: equal to numpy's decomposition and, where it is meant, to pytorch-grad-cam."""

import numpy as np
import pytest
import torch
from cam_cases import LEFT, MODELS, RIGHT, both, no_inplace, patches_batch, tiny_swin, tiny_vit
from cam_peer import close, raw_map
from hypothesis import given, settings
from hypothesis import strategies as st
from xai_bench_explainers._cam import CAM
from xai_bench_explainers.eigen_cam import EigenCAM, EigenGradCAM, first_component
from xai_bench_explainers.hires_cam import HiResCAM

from xai_bench.testing import tiny_batch, tiny_classifier


def plain_twin(values):
    """Word for word: O = U S V', the map is O times the first column of V, as (rows, columns); its mean is positive."""
    matrix = values.numpy().astype(np.float64).reshape(len(values), -1).T
    _, _, vt = np.linalg.svd(matrix, full_matrices=True)
    found = (matrix @ vt[0]).reshape(values.shape[1:])
    return torch.from_numpy(found if found.mean() >= 0 else -found).float()


@pytest.mark.parametrize("make", [tiny_classifier, tiny_vit, tiny_swin])
def test_eigen_cam_equals_the_plain_twin(make):
    classifier = make()
    batch = tiny_batch(classifier)
    twin = torch.stack([plain_twin(one) for one in CAM().activation(classifier, batch)])
    assert close(EigenCAM()(classifier, batch), twin.clamp(min=0), 1e-5)


@pytest.mark.parametrize(("channels", "rows"), [(3, 5), (40, 2)])
@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_component_of_centered_values_is_the_package_s_up_to_its_sign(channels, rows, seed):
    projection = pytest.importorskip("pytorch_grad_cam.utils.svd_on_activations").get_2d_projection
    values = torch.randn(2, channels, rows, 4, generator=torch.Generator().manual_seed(seed))
    values -= values.mean((2, 3), keepdim=True)
    towards = values[:, 0]
    theirs = torch.from_numpy(projection(values.numpy()))
    ours = first_component(values, towards)
    assert ((ours * towards).sum((1, 2)) >= 0).all()
    assert close(ours, theirs * (theirs * towards).sum((1, 2), keepdim=True).sign())


@pytest.mark.parametrize(("make", "reshape"), MODELS.values(), ids=list(MODELS))
def test_eigen_grad_cam_is_the_package_s_turned_towards_the_evidence(make, reshape):
    classifier = make()
    batch = tiny_batch(classifier)
    ours = EigenGradCAM(signed=True)(classifier, batch)
    evidence = HiResCAM(signed=True)(classifier, batch)
    evidence = evidence - evidence.mean((1, 2), keepdim=True)
    theirs = raw_map("EigenGradCAM", classifier, batch, reshape)
    agreement = (theirs * evidence).sum((1, 2), keepdim=True)
    assert ((ours * evidence).sum((1, 2)) > 0).all()
    assert close(ours, theirs * agreement.sign())


def test_the_package_centers_eigen_cam_and_so_hides_what_is_active_everywhere():
    classifier = tiny_classifier(seed=3)
    batch = tiny_batch(classifier)
    ours, theirs = EigenCAM()(classifier, batch), raw_map("EigenCAM", no_inplace(classifier), batch)
    assert theirs.mean((1, 2)).abs().max() < 1e-5 * theirs.abs().max()
    assert (ours.mean((1, 2)) > 0.1 * ours.amax((1, 2))).all()


def test_activations_that_are_never_negative_give_a_map_that_is_never_negative():
    classifier = tiny_classifier()
    activation = CAM().activation(classifier, tiny_batch(classifier))
    assert (activation >= 0).all()
    assert (first_component(activation, torch.ones_like(activation[:, 0])) > -1e-6).all()


def test_of_separate_channels_only_the_strongest_is_shown():
    """Both patches are needed; the first component is one of them."""
    batch = patches_batch(LEFT, RIGHT)
    batch.images[0, 0][RIGHT] = 0.8
    maps = EigenCAM()(both(), batch)[0]
    assert maps[LEFT].min() > 0.1 and maps[RIGHT].max() < 1e-6


def test_values_that_are_not_finite_take_their_own_map_only():
    values = torch.rand(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    whole = first_component(values, values[:, 0])
    values[1, 2, 0, 0], values[2, 0, 1, 1] = torch.nan, torch.inf
    found = first_component(values, values[:, 0])
    assert torch.equal(found[0], whole[0]) and found[1:].isnan().all()
