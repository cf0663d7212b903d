"""The package shap as an explainer: equal to itself, complete, and free of its own state."""

import dataclasses

import numpy as np
import pytest
import torch
from box_cases import bright_box
from torch import nn
from xai_bench_explainers.shap_package import BATCH, ShapPackage, numpy_seeded
from xai_bench_explainers.shap_partition import ShapPartition

from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch
from xai_bench.samples import Head
from xai_bench.seeding import derive
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier

MASKERS = ["blur(16,16)", "inpaint_telea", "inpaint_ns"]


def scores(classifier, pictures, target):
    with torch.no_grad(), untouched(classifier):
        images = torch.from_numpy(pictures / 255).float().permute(0, 3, 1, 2)
        images = images.clone(memory_format=torch.contiguous_format)
        return classifier.probabilities(classifier(images)).double().numpy()[:, target]


@pytest.mark.parametrize("masker", MASKERS)
def test_equals_the_package(masker):
    import shap

    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=1)
    ours = ShapPackage(evaluations=100, masker=masker)(classifier, batch)[0]
    picture = (
        (batch.images[0].permute(1, 2, 0).double().numpy() * 255).round()
        if "paint" in masker
        else batch.images[0].permute(1, 2, 0).double().numpy() * 255
    )
    explainer = shap.PartitionExplainer(
        lambda p: scores(classifier, p, [0, 1, 2]), shap.maskers.Image(masker, picture.shape)
    )
    with numpy_seeded(derive(0, batch.ids[0]) % 2**32):  # it draws between equally important nodes
        found = explainer(picture[None], max_evals=100, batch_size=BATCH, outputs=[0], silent=True)
    assert ours.abs().max() > 0
    assert torch.allclose(ours, torch.from_numpy(found.values[0, ..., 0].sum(-1)).float(), atol=1e-6)


@pytest.mark.parametrize("masker", MASKERS)
def test_values_sum_to_the_fall_when_all_is_masked(masker):
    """Completeness (efficiency): the sum is f(x) - f(all masked)."""
    from shap.maskers import Image

    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=3)
    maps = ShapPackage(evaluations=60, masker=masker)(classifier, batch)
    for i in range(3):
        picture = batch.images[i].permute(1, 2, 0).double().numpy() * 255
        picture = picture.round() if "paint" in masker else picture
        hidden = Image(masker, picture.shape)(np.zeros(picture.size, bool), picture)[0]
        both = scores(
            classifier, np.concatenate([picture[None], hidden.reshape(1, *picture.shape)]), int(batch.targets[i])
        )
        assert maps[i].sum().item() == pytest.approx(both[0] - both[1], abs=1e-5)


def test_f13_the_package_casts_to_whole_numbers_and_our_pictures_in_0_1_are_not_cut_to_black():
    """Its inpainting knows whole numbers only; the wrapper gives it 0..255."""
    image = pytest.importorskip("shap.maskers", reason="the peer shap is not installed").Image
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=1)
    picture = batch.images[0].permute(1, 2, 0).double().numpy() * 0.99
    half = np.arange(picture.size) < picture.size // 2
    assert picture.any() and not image("inpaint_telea", picture.shape)(half, picture)[0].any()
    assert ShapPackage(evaluations=40, masker="inpaint_telea")(classifier, batch).count_nonzero() > picture.size // 2


class Red(nn.Module):
    """The mean of a box of the first channel; the others mean nothing."""

    def forward(self, x):
        z = 4 * x[:, 0, 8:16, 24:36].mean((1, 2))
        return torch.stack([-z, z], 1)


@pytest.mark.parametrize("masker", ["blur(8,8)", "inpaint_telea"])
def test_f13_the_package_gives_all_colors_of_a_pixel_one_value_and_ours_is_the_map_of_the_color_that_counts(masker):
    """The package says that green and blue matter as much as red, and the classifier looks at red only."""
    shap = pytest.importorskip("shap", reason="the peer shap is not installed")
    head, reader = Head("finding", ("dark", "bright")), Input(Resize(32, 48))
    classifier = Classifier(Red(), [head], reader=reader, mean=(0.0,) * 3, std=(1.0,) * 3).eval()
    red = dataclasses.replace(tiny_batch(classifier, count=1), targets=torch.tensor([1]))
    others = torch.rand(1, 2, 32, 48, generator=torch.Generator().manual_seed(0))
    color = dataclasses.replace(red, images=torch.cat([red.images, others], 1))
    picture = (color.images[0].permute(1, 2, 0).double().numpy() * 255).round()
    explainer = shap.PartitionExplainer(lambda p: scores(classifier, p, [1]), shap.maskers.Image(masker, picture.shape))
    found = explainer(picture[None], max_evals=100, batch_size=BATCH, silent=True).values[0, ..., 0]
    assert np.abs(found).max() > 0
    assert np.array_equal(found[..., 0], found[..., 1]) and np.array_equal(found[..., 0], found[..., 2])
    of_color, of_red = ShapPartition(100)(classifier, color), ShapPartition(100)(classifier, red)
    assert torch.equal(of_color, of_red) and of_red.any()


def test_a_picture_does_not_inherit_the_blur_of_the_one_before(monkeypatch):
    """The package knows a picture by its address in memory, which a later one may get."""
    monkeypatch.setattr("shap.maskers._image.id", lambda _: 1, raising=False)  # all pictures at one address
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    method = ShapPackage(evaluations=40)
    together = method(classifier, batch)
    for i in range(4):
        one = slice(i, i + 1)
        alone = Batch(
            batch.images[one], batch.targets[one], batch.ids[one], batch.content[one], None, batch.spacing_mm[one]
        )
        assert torch.equal(method(classifier, alone)[0], together[i])


@pytest.mark.parametrize("masker", ["blur(32,32)", "inpaint_telea"])
def test_points_at_the_box_that_the_model_looks_at(masker):
    classifier, batch, inside = bright_box()
    found = ShapPackage(evaluations=300, masker=masker)(classifier, batch)[0]
    assert inside.flatten()[found.argmax()]
    assert found[inside].sum() > 0.95 * found.abs().sum()


def test_color_and_gray_have_one_value_a_pixel():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=1)
    color = dataclasses.replace(batch, images=batch.images.expand(-1, 3, -1, -1))
    assert ShapPackage(evaluations=20)(classifier, color).shape == (1, 32, 48)


def test_explains_the_target_only():
    """The opposite class of a two-class softmax gets the opposite values."""
    classifier = box_classifier(slice(4, 20), slice(4, 20))
    batch = tiny_batch(classifier, count=1)
    one, other = (
        ShapPackage(evaluations=40)(classifier, dataclasses.replace(batch, targets=torch.tensor([t]))) for t in (0, 1)
    )
    assert torch.allclose(one, -other, atol=1e-6)


def test_score_is_a_field():
    classifier = box_classifier(slice(4, 20), slice(4, 20))
    batch = tiny_batch(classifier, count=1)
    assert not torch.allclose(
        ShapPackage(40)(classifier, batch), ShapPackage(40, score="logit")(classifier, batch), rtol=0.1
    )


def test_a_model_that_returns_nan_gives_a_map_of_nan():
    classifier = tiny_classifier()
    with torch.no_grad():
        classifier.model[-1].bias.fill_(torch.nan)
    assert ShapPackage(evaluations=8)(classifier, tiny_batch(classifier, count=1)).isnan().all()


def test_every_model_call_has_one_shape():
    classifier, sizes = tiny_classifier(), set()
    classifier.register_forward_pre_hook(lambda _m, args: sizes.add(tuple(args[0].shape)))
    ShapPackage(evaluations=50)(classifier, tiny_batch(classifier, count=2))
    assert sizes == {(BATCH, 1, 32, 48)}


@pytest.mark.parametrize(
    "fields", [{"masker": "blur"}, {"masker": "blur(0,4)"}, {"masker": "black"}, {"evaluations": 3}]
)
def test_bad_fields(fields):
    with pytest.raises(BadInput, match=r"expected"):
        ShapPackage(**fields)


def test_contract():
    check_explainer(ShapPackage(evaluations=40))
