"""Ablation-CAM: equal to a plain twin and to pytorch-grad-cam times the logit; what precedes the layer runs once."""

from functools import partial

import pytest
import torch
from cam_cases import bright, no_inplace, patches_batch, tiny_swin, tiny_vit
from cam_peer import close, raw_map
from torch import nn
from xai_bench_explainers._cam import CAM
from xai_bench_explainers._head import head_after
from xai_bench_explainers.ablation_cam import AblationCAM

from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier

HEADS = (Head("finding", ("a", "b", "c")),)


def with_output(classifier, layer, images, change):
    """The logits of a whole forward pass in which the layer's last call returns something else."""
    calls = []
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        classifier(images)
        handle.remove()
        last, now = len(calls), []
        handle = layer.register_forward_hook(
            lambda _m, _i, out: change(out) if now.append(1) or len(now) == last else None
        )
        found = classifier(images)
    handle.remove()
    return found


def plain_twin(classifier, batch, axis):
    """Word for word, without the division by the logit: the fall of the logit without each channel, times the map."""
    activation = CAM().activation(classifier, batch)
    target = batch.targets[:, None]
    with torch.no_grad():
        whole = classifier(batch.images).gather(1, target)
    maps = torch.zeros_like(activation[:, 0])
    for k in range(activation.shape[1]):
        keep = (torch.arange(activation.shape[1]) != k).float()
        keep = keep[:, None, None] if axis == 1 else keep
        ablated = with_output(classifier, classifier.layer(), batch.images, partial(torch.mul, keep))
        maps += (whole - ablated.gather(1, target))[:, :, None] * activation[:, k]
    return maps


@pytest.mark.parametrize(("make", "axis"), [(tiny_classifier, 1), (tiny_vit, 2), (tiny_swin, 3)])
def test_equals_the_plain_twin(make, axis):
    classifier = make()
    batch = tiny_batch(classifier)
    twin = plain_twin(classifier, batch, axis)
    assert close(AblationCAM(signed=True)(classifier, batch), twin)
    assert torch.equal(AblationCAM()(classifier, batch), AblationCAM(signed=True)(classifier, batch).clamp(min=0))


def test_equal_to_pytorch_grad_cam_times_the_logit():
    classifier = no_inplace(tiny_classifier(seed=3))
    batch = tiny_batch(classifier)
    with torch.no_grad():
        logits = classifier(batch.images).gather(1, batch.targets[:, None])
    theirs = raw_map("AblationCAM", classifier, batch)
    assert (logits < 0).any() and (logits > 0).any()
    assert close(AblationCAM(signed=True)(classifier, batch), theirs * logits[:, :, None])


def test_f11_a_logit_of_zero_makes_the_package_s_map_nan_and_ours_zeros():
    classifier, batch = bright(), patches_batch()
    with torch.no_grad():
        assert not classifier(batch.images).any()
    assert raw_map("AblationCAM", classifier, batch).isnan().all()
    ours = AblationCAM()(classifier, batch)
    assert ours.isfinite().all() and not ours.any()


def torchvision_model(name):
    from torchvision import models
    from torchvision.models.densenet import DenseNet
    from torchvision.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "densenet":
            model = DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=3)
        elif name == "vit":
            model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3)
            nn.init.normal_(model.heads.head.weight)
        else:
            model = models.resnet18(num_classes=3)
    return Classifier(model, HEADS, reader=Input(Resize(32, 32)), mean=(0.5,) * 3, std=(0.5,) * 3).eval()


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        ("resnet", "layer2.0.bn1"),  # inside a shortcut, before an in-place step
        ("resnet", "layer3.1.relu"),  # called twice, in place
        ("resnet", "layer4"),
        ("densenet", "features.denseblock2.denselayer1.conv1"),  # concatenated with what came before
        ("vit", "encoder.layers.encoder_layer_1.ln_2"),  # after an attention that returns two things
        ("vit", "encoder.layers.encoder_layer_0"),
    ],
)
def test_the_head_alone_gives_the_logits_of_a_whole_pass(model, layer):
    classifier = torchvision_model(model)
    batch, module = tiny_batch(classifier, count=2), classifier.layer(layer)
    random = torch.Generator().manual_seed(0)
    with head_after(classifier, module, batch) as (output, head):
        for _ in range(2):  # nothing that is remembered was overwritten
            changed = torch.rand(output.shape, generator=random)
            whole = with_output(classifier, module, batch.images, lambda _, new=changed: new.clone())
            assert torch.allclose(head(changed.clone()), whole, atol=1e-5)
        unchanged = head(output.clone())
        assert not torch.allclose(whole, unchanged, atol=1e-3)
        with torch.no_grad():
            assert torch.allclose(classifier(batch.images), unchanged, atol=1e-6)
    assert not any("forward" in vars(m) for m in classifier.modules())


class Counting(nn.Conv2d):
    """Counts how often it runs."""

    runs = 0

    def forward(self, x):
        self.runs += 1
        return super().forward(x)


def test_what_precedes_the_layer_runs_once_and_a_forward_of_one_s_own_comes_back():
    body = [Counting(1, 4, 4, stride=4), nn.ReLU(), Counting(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    classifier = Classifier(nn.Sequential(*body), HEADS, reader=Input(Resize(32, 48)), cam_layer="1").eval()
    first, second = classifier.model[0], classifier.model[2]
    own = classifier.model[1].forward
    vars(classifier.model[1])["forward"] = own
    AblationCAM()(classifier, tiny_batch(classifier))
    assert (first.runs, second.runs) == (1, 3 + 4)  # a pass, a trial, the logit; without each of four channels
    assert vars(classifier.model[1])["forward"] is own


def test_an_error_in_the_head_leaves_the_model_as_it_was():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    with (
        head_after(classifier, classifier.layer(), batch) as (output, head),
        pytest.raises(RuntimeError, match="shape"),
    ):
        head(output[:, :3].clone())
    assert not any("forward" in vars(m) for m in classifier.modules())
