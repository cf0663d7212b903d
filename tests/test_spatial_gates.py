"""Spatial gates: the maps that CBAM and gather-excite put on their features, and no other sigmoid."""

import pytest
import timm
import torch
from timm.layers.gather_excite import GatherExcite
from torch import Tensor, nn
from xai_bench_explainers.spatial_gates import SpatialGates, read_gates

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier

HEADS = (Head("finding", ("a", "b", "c")),)


class Gate(nn.Module):
    """Opens where the picture is bright: gate = sigmoid(gain x (mean over channels - 0.5))."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gain * (x.mean(1, keepdim=True) - 0.5))


def gated(*layers: nn.Module) -> Classifier:
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))
    with torch.no_grad():
        model(torch.zeros(1, 1, 32, 48))
    return Classifier(model, HEADS, reader=Input(Resize(32, 48))).eval()


def test_map_is_the_gate() -> None:
    classifier = gated(nn.AvgPool2d(8), Gate(10))
    batch = tiny_batch(classifier)
    expected = torch.sigmoid(10 * (nn.functional.avg_pool2d(batch.images, 8) - 0.5))[:, 0]
    torch.testing.assert_close(SpatialGates()(classifier, batch), expected)


def test_mean_is_over_the_gates_of_the_last_grid() -> None:
    classifier = gated(nn.AvgPool2d(4), Gate(7), nn.AvgPool2d(2), Gate(10), Gate(3))
    batch = tiny_batch(classifier)
    gates = read_gates(classifier, batch)
    assert [tuple(g.shape) for g in gates] == [(4, 8, 12), (4, 4, 6), (4, 4, 6)]
    torch.testing.assert_close(SpatialGates()(classifier, batch), (gates[1] + gates[2]) / 2)


def resnet(attention: str) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("resnet18", block_args={"attn_layer": attention}, num_classes=3)
    return Classifier(model, HEADS, reader=Input(Resize(64, 96))).eval()


@pytest.mark.parametrize("attention", ["cbam", "lcbam"])
def test_cbam_of_timm(attention: str) -> None:
    classifier = resnet(attention)
    batch = tiny_batch(classifier, count=2)
    gates, seen = read_gates(classifier, batch), []
    for module in classifier.modules():
        if type(module).__name__ in ("SpatialAttn", "LightSpatialAttn"):
            module.gate.register_forward_hook(lambda _m, _args, gate: seen.append(gate[:, 0]))
    with torch.no_grad():
        classifier(batch.images)
    assert len(gates) == len(seen) == 8
    for gate, expected in zip(gates, seen, strict=True):
        torch.testing.assert_close(gate, expected)
    torch.testing.assert_close(SpatialGates()(classifier, batch), (seen[-1] + seen[-2]) / 2)


def test_gather_excite_is_the_mean_over_channels() -> None:
    classifier = gated(nn.AvgPool2d(4), nn.Conv2d(1, 6, 1), GatherExcite(6, extent=2, use_mlp=False))
    batch = tiny_batch(classifier)
    features = classifier.model[1](nn.functional.avg_pool2d(batch.images, 4))
    expected = (classifier.model[2](features) / features).mean(1)
    torch.testing.assert_close(SpatialGates()(classifier, batch), expected.detach(), atol=1e-4, rtol=1e-3)


def test_keeps_the_contract() -> None:
    check_explainer(SpatialGates(), gated(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), Gate(5)))


def test_gates_of_channels_are_unfit() -> None:
    squeeze = resnet("se")
    whole = gated(nn.AvgPool2d(4), nn.Conv2d(1, 6, 1), GatherExcite(6, use_mlp=False))  # it gathers the whole map
    for classifier in (squeeze, whole):
        with pytest.raises(Unfit, match="no gates over places"):
            SpatialGates()(classifier, tiny_batch(classifier, count=2))


def test_a_plain_cnn_is_unfit() -> None:
    classifier = tiny_classifier()
    with pytest.raises(Unfit, match="CBAM"):
        SpatialGates()(classifier, tiny_batch(classifier))
