"""What the CAM methods share: the layer and its grid, known evidence, and equality to pytorch-grad-cam."""

import dataclasses

import pytest
import torch
from cam_cases import (
    BELOW,
    LEFT,
    MODELS,
    RIGHT,
    both,
    bright,
    opposing,
    patches_batch,
    timm_classifier,
    tiny_swin,
)
from cam_peer import close, raw_map
from torch import nn
from xai_bench_explainers._cam import CAM, layer_output, to_grid

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput, Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.registry import EXPLAINERS
from xai_bench.samples import Head
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier

METHODS = [name for name, entry in EXPLAINERS.items() if issubclass(entry.factory, CAM)]
SIGNED = [name for name in METHODS if "signed" in {f.name for f in dataclasses.fields(EXPLAINERS[name].factory)}]
WITHOUT_GRADIENTS = {"eigen_cam", "score_cam", "ablation_cam"}
SAME_AS_PEER = {
    "grad_cam": "GradCAM",
    "hires_cam": "HiResCAM",
    "xgrad_cam": "XGradCAM",
    "respond_cam": "XGradCAM",
    "layer_cam": "LayerCAM",
}


def make(name, **fields):
    return EXPLAINERS[name].factory(**fields)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SAME_AS_PEER)
def test_equal_to_pytorch_grad_cam_before_its_scaling(name, model):
    made, reshape = MODELS[model]
    classifier = made()
    batch = tiny_batch(classifier)
    method = make(name)
    theirs = raw_map(SAME_AS_PEER[name], classifier, batch, reshape)
    assert close(method(classifier, batch), theirs if method.signed else theirs.clamp(min=0))


@pytest.mark.parametrize("name", METHODS)
def test_a_layer_of_zeros_gives_a_map_of_zeros_and_parameters_no_gradients(name):
    classifier, batch = bright(), patches_batch(count=2)
    assert not layer_output(classifier, classifier.layer(), batch).any()
    maps = make(name)(classifier, batch)
    assert maps.isfinite().all() and not maps.any()
    assert all(p.grad is None for p in classifier.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_nan_stays_in_its_picture(name):
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    whole = make(name)(classifier, batch)
    batch.images[1, 0, 4, 4] = torch.nan
    maps = make(name)(classifier, batch)
    assert maps[1].isnan().any()
    assert torch.equal(maps[[0, 2, 3]], whole[[0, 2, 3]])


@pytest.mark.parametrize("name", SIGNED)
def test_signed_leaves_out_the_last_relu_and_keeps_the_contract(name):
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    whole = make(name, signed=True)(classifier, batch)
    assert (whole < 0).any()
    assert torch.equal(make(name, signed=False)(classifier, batch), whole.relu())
    check_explainer(make(name, signed=True))
    check_explainer(make(name, signed=False))


@pytest.mark.parametrize("name", METHODS)
def test_a_bright_patch_is_found(name):
    maps = make(name)(bright(), patches_batch(LEFT))[0]
    assert (maps[LEFT] == maps.max()).all() and maps.max() > 0
    maps[LEFT] = 0
    assert not (maps > 0).any()


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("hires_cam", True, False),
        ("layer_cam", True, False),
        ("eigen_grad_cam", True, False),
        ("grad_cam", False, False),  # the gradients' mean is 0
        ("xgrad_cam", False, False),  # and so it is weighted by equal brightness
        ("ablation_cam", False, False),  # both go at once
        ("grad_cam_plus_plus", True, True),  # the negative gradients on the right do not count
        ("score_cam", True, True),  # one channel holds both
        ("eigen_cam", True, True),  # the logit does not count
    ],
)
def test_evidence_for_and_against_in_one_channel(name, left, right):
    """For on the left, against on the right, equally bright: what averages over places cannot tell, as documented."""
    maps = make(name)(opposing(), patches_batch(LEFT, RIGHT))[0]
    shown = maps > 1e-3 * make("hires_cam")(opposing(), patches_batch(LEFT, RIGHT)).max()
    assert (bool(shown[LEFT].all()), bool(shown[RIGHT].any())) == (left, right)


@pytest.mark.parametrize(
    ("name", "below"),
    [(n, n == "score_cam") for n in METHODS if not n.startswith("eigen")],  # for those see test_eigen_cam.py
)
def test_evidence_that_needs_two_patches_together(name, below):
    """Score-CAM shows one channel at a time: each alone scores as little as the patch that does not count."""
    maps = make(name)(both(), patches_batch(LEFT, RIGHT, BELOW))[0]
    assert maps[LEFT].min() > 0 and maps[RIGHT].min() > 0
    assert bool((maps[BELOW] > 1e-6 * maps.max()).any()) is below


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("score_cam", "eigen_cam")])
def test_one_of_two_needed_patches_is_no_evidence(name):
    assert not make(name)(both(), patches_batch(LEFT, BELOW)).any()


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(1, 2)


class Mean(nn.Module):
    def forward(self, x):
        return (x**2).mean(1)


def three_layouts():
    """The same maps as (b, c, h, w), (b, h, w, c) and tokens, one after the other."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = [nn.Conv2d(1, 7, 4, stride=4), nn.ReLU(), ChannelsLast(), Tokens(), Mean(), nn.Linear(7, 3)]
        model = nn.Sequential(*parts)
    return Classifier(model, (Head("finding", ("a", "b", "c")),), reader=Input(Resize(32, 48))).eval()


@pytest.mark.parametrize("name", METHODS)
def test_the_layout_of_a_layer_does_not_matter(name):
    classifier = three_layouts()
    batch = tiny_batch(classifier)
    first, last, tokens = (make(name, layer=layer)(classifier, batch) for layer in ("1", "2", "3"))
    assert first.shape == (4, 8, 12) and first.any()
    assert close(last, first, 1e-5) and close(tokens, first, 1e-5)


def test_tokens_become_a_grid_row_by_row_without_prefix():
    tokens = torch.arange(2 + 3 * 2).float().view(1, 8, 1)
    assert to_grid(tokens, (48, 32))[0, 0].tolist() == [[2, 3], [4, 5], [6, 7]]


def test_a_swin_map_adds_up_to_the_logit():
    """A linear layer on the mean follows its last norm, whose channels come last."""
    classifier = tiny_swin()
    batch = tiny_batch(classifier)
    maps = make("hires_cam", signed=True)(classifier, batch)
    bias = classifier.model.get_classifier().bias
    assert maps.shape == (4, 8, 12)
    with torch.no_grad():
        logits = classifier(batch.images).gather(1, batch.targets[:, None])[:, 0]
        assert torch.allclose(maps.sum((1, 2)), logits - bias[batch.targets], atol=1e-4)


@pytest.mark.parametrize(
    ("model", "options", "grid"),
    [
        ("swinv2_tiny_window8_256", {"img_size": 64, "window_size": 2, "depths": (1, 1), "embed_dim": 8}, (8, 8)),
        ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}, (2, 2)),
        ("mobilevitv2_050", {}, (2, 2)),
    ],
)
def test_the_layer_of_hybrids_and_windows_is_found(model, options, grid):
    heads = {"num_heads": (1, 1)} if "swin" in model else {}
    classifier = timm_classifier(model, (64, 64), **options, **heads)
    batch = tiny_batch(classifier, count=2)
    for name in ("grad_cam", "eigen_cam", "ablation_cam"):
        maps = make(name)(classifier, batch)
        assert maps.shape == (2, *grid) and maps.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("layer", "expected"), [("7", "is no grid"), ("nowhere", "does not exist")])
def test_a_layer_that_does_not_fit_is_one_clear_sentence(name, layer, expected):
    classifier = tiny_classifier()
    with pytest.raises(BadInput, match=expected):
        make(name, layer=layer)(classifier, tiny_batch(classifier))


@pytest.mark.parametrize("name", METHODS)
def test_layer_outside_the_forward_pass(name):
    classifier = tiny_classifier()
    classifier.model.unused = nn.Conv2d(1, 1, 1)
    classifier.model.forward = lambda x: nn.Sequential.forward(classifier.model[:8], x)
    with pytest.raises(BadInput, match="does not run"):
        make(name, layer="unused")(classifier, tiny_batch(classifier))


def test_a_layer_that_returns_a_tuple_is_named():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class First(nn.Module):
        def forward(self, x):
            return x[0].mean((2, 3))

    model = nn.Sequential(nn.Conv2d(1, 4, 3), Pair(), First(), nn.Linear(4, 3))
    classifier = Classifier(model, tiny_classifier().heads, reader=Input(Resize(32, 48))).eval()
    with pytest.raises(BadInput, match="returns a tuple"):
        make("grad_cam", layer="1")(classifier, tiny_batch(classifier))


@pytest.mark.parametrize("name", METHODS)
def test_unfit_classifiers(name):
    flat = tiny_classifier()
    batch = tiny_batch(flat)
    with pytest.raises(Unfit, match=f"{name} knows no layer"):
        make(name)(box_classifier(slice(0, 4), slice(0, 4)), batch)
    flat.differentiable = False
    if name in WITHOUT_GRADIENTS:
        assert make(name)(flat, batch).any()
    else:
        with pytest.raises(Unfit, match=f"{name} needs gradients"):
            make(name)(flat, batch)
