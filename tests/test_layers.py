"""Layers found by running the model: where CAM methods look, and the last layer."""

from typing import Any

import pytest
import torch
from torch import nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.layers import channel_axis, find_cam_layer, last_layers, replace_last_layer
from xai_bench.classifiers.timm_zoo import TimmModel
from xai_bench.classifiers.torchvision_zoo import TorchvisionModel
from xai_bench.errors import BadInput
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head

HEADS = (Head("finding", ("no", "yes", "unsure")),)
READER = Input(Resize(64, 64))


@pytest.mark.parametrize(
    ("architecture", "layer", "last"),
    [
        (TorchvisionModel("resnet18"), "layer4", "fc"),
        (TorchvisionModel("mobilenet_v2"), "features", "classifier.1"),
        (TorchvisionModel("squeezenet1_0"), "features", "classifier.1"),
        (TorchvisionModel("densenet121"), "features", "classifier"),
        (TorchvisionModel("shufflenet_v2_x0_5"), "conv5", "fc"),
        (TimmModel("mobilevit_xxs"), "final_conv", "head.fc"),  # attention inside, maps at the end
        (TimmModel("vit_tiny_patch16_224"), "blocks.11.norm1", "head"),
        (TimmModel("mixer_s32_224"), None, "head"),  # tokens and no attention: nothing is a map of the picture
    ],
)
def test_cam_layer_and_last_layer_of_known_architectures(architecture: object, layer: str | None, last: str) -> None:
    built = architecture.build(HEADS, READER, seed=0)
    assert find_cam_layer(built.model, 3, (64, 64)) == layer
    assert list(last_layers(built.model)) == [last]


def test_a_distilled_transformer_has_two_last_layers() -> None:
    built = TimmModel("deit_tiny_distilled_patch16_224").build(HEADS, READER, seed=0)
    assert list(last_layers(built.model)) == ["head", "head_dist"]
    with pytest.raises(BadInput, match="2 last layers"):
        replace_last_layer(built.model, 2)


def test_search_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 2)).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    assert find_cam_layer(model, 1, (8, 8)) == "2"
    assert all(m.training for m in model.modules())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_maps_may_have_their_channels_last() -> None:
    class ChannelsLast(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 2, 3, 1)

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2))

    model = nn.Sequential(nn.Conv2d(1, 5, 3, stride=4), ChannelsLast(), Mean(), nn.Linear(5, 2))
    assert find_cam_layer(model, 1, (16, 32)) == "1"
    assert channel_axis((1, 5, 4, 8), (16, 32)) == 1
    assert channel_axis((1, 4, 8, 5), (16, 32)) == 3


def test_attention_weights_are_no_maps() -> None:
    class Weights(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = x.flatten(2)
            return (tokens.mT @ tokens)[:, None]

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2))[:, :5]

    model = nn.Sequential(nn.Conv2d(1, 5, 3, stride=4), Weights(), Mean(), nn.Linear(5, 2))
    assert find_cam_layer(model, 1, (16, 32)) == "0"
    assert channel_axis((1, 1, 32, 32), (16, 32)) is None


SMALL = {"window_size": 2, "depths": (1, 1), "embed_dim": 8, "num_heads": (1, 1)}


@pytest.mark.parametrize(
    ("architecture", "options", "size", "layer"),
    [
        ("swin_tiny_patch4_window7_224", SMALL | {"img_size": (64, 96)}, (64, 96), "norm"),
        ("swinv2_tiny_window8_256", SMALL | {"img_size": 64}, (64, 64), "norm"),
        ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}, (64, 64), "stages"),
        ("mobilevitv2_050", {}, (64, 64), "stages"),
    ],
)
def test_cam_layer_of_windows_and_hybrids(
    architecture: str, options: dict[str, Any], size: tuple[int, int], layer: str
) -> None:
    import timm

    assert find_cam_layer(timm.create_model(architecture, **options), 3, size) == layer


def test_cam_layer_of_torchvision_s_swin() -> None:
    from torchvision.models.swin_transformer import SwinTransformer

    model = SwinTransformer([4, 4], 8, [1, 1], [1, 1], [2, 2], num_classes=3)
    assert find_cam_layer(model, 3, (64, 64)) == "permute"  # the last norm's map, its channels moved to the front


def test_a_model_that_refuses_the_picture_is_named() -> None:
    with pytest.raises(BadInput, match="Linear does not take a picture of 1 x 8 x 8"):
        find_cam_layer(nn.Linear(3, 2), 1, (8, 8))


def test_replacing_the_last_layer_keeps_a_convolution_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    replace_last_layer(model, 3)
    assert isinstance(model[1], nn.Conv2d)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_ones_own_model_needs_no_layer_and_no_normalization() -> None:
    """The short way: a gray film through a three-channel model, the CAM layer found when it is asked for."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    own = Classifier(body, HEADS, reader=READER)
    before = own.weights_hash()
    assert own(torch.rand(2, 1, 64, 64)).shape == (2, 3)
    assert own.layer() is body[1]
    assert own.weights_hash() == before


def test_a_model_without_a_map_says_so() -> None:
    own = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 3)), HEADS, reader=READER)
    with pytest.raises(BadInput, match="no CAM layer is known"):
        own.layer()
