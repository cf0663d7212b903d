"""DeepLIFT: captum's numbers where captum is right, complete where it is not, exact on linear and saturated models."""

import warnings

import pytest
import torch
from cam_cases import BELOW, LEFT, RIGHT, both, tiny_vit
from gradient_cases import Apart, Shared, bright, colored, dim, either, linear, network, sequential, target_logits
from torch import nn
from xai_bench_explainers.deep_lift import DeepLift, pooled

from xai_bench.classifiers.small_cnn import SmallCNN
from xai_bench.errors import Unfit
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.inputs import Input, Resize
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier


def captum_map(classifier, batch, method):
    from captum.attr import DeepLift as Captum

    (start,) = method.baselines(batch)
    images = batch.images.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that it sets hooks
        found = Captum(classifier).attribute(images, start, target=batch.targets, return_convergence_delta=True)
    return found[0].detach().sum(1), found[1].abs().max().item()


@pytest.mark.parametrize("imputer", [Zero(), Blur()])
@pytest.mark.parametrize("model", [sequential, Apart])
def test_equals_captum_where_every_nonlinearity_is_a_module_of_its_own(model, imputer):
    classifier, method = network(model()), DeepLift(imputer)
    batch = tiny_batch(classifier)
    theirs, gap = captum_map(classifier, batch, method)
    scale = float(theirs.abs().max())
    assert gap < 1e-4 and scale > 0
    assert torch.allclose(method(classifier, batch), theirs, rtol=0, atol=1e-4 * scale)


def test_shared_modules_and_functions_are_no_other_network_and_captum_does_not_follow_them():
    shared, apart, method = network(Shared()), network(Apart()), DeepLift()
    batch = tiny_batch(shared)
    ours = method(shared, batch)
    assert torch.allclose(ours, method(apart, batch), rtol=0, atol=1e-5 * float(ours.abs().max()))
    try:
        _, gap = captum_map(shared, batch, method)
    except (AssertionError, RuntimeError):
        return  # it stops where a module was used twice or its output overwritten
    assert gap > 0.01 * float(target_logits(shared, batch.images, batch.targets).abs().max())


@pytest.mark.parametrize(
    "nonlinear", [nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.Tanh(), nn.Hardswish(), nn.ReLU6(), nn.ELU()]
)
def test_a_map_sums_to_the_rise_through_any_function_of_one_number(nonlinear):
    parts = [nn.Conv2d(1, 5, 3, stride=2), nonlinear, nn.MaxPool2d(3, 2, 1), nn.Conv2d(5, 6, 3), nonlinear]
    classifier = network(nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)))
    batch, method = tiny_batch(classifier), DeepLift(Blur())
    _complete(classifier, batch, method)


def test_a_map_sums_to_the_rise_through_powers():
    classifier = SmallCNN(4).build(tiny_classifier().heads, Input(Resize(32, 48)), 0).eval()
    _complete(classifier, tiny_batch(classifier), DeepLift())


def _complete(classifier, batch, method):
    (start,) = method.baselines(batch)
    rise = target_logits(classifier, batch.images, batch.targets) - target_logits(classifier, start, batch.targets)
    maps = method(classifier, batch)
    assert torch.allclose(maps.sum((1, 2)), rise, rtol=0, atol=1e-4 * float(maps.abs().sum((1, 2)).max()))


def test_exact_on_a_linear_model():
    classifier = linear(3)
    batch = colored(dim(classifier))
    weights = classifier.model.weight.detach()[batch.targets]
    maps = DeepLift(Blur())(classifier, batch)
    assert torch.allclose(maps, (weights * (batch.images - Blur()(batch))).sum(1), atol=1e-6)


def test_and_or_and_saturation():
    together = DeepLift()(both(), bright(LEFT, RIGHT, BELOW))[0]
    assert together[LEFT].sum().item() == pytest.approx(0.4, abs=1e-4)
    assert together[RIGHT].sum().item() == pytest.approx(0.4, abs=1e-4) and not together[BELOW].any()
    saturated = DeepLift()(either(), bright(LEFT, RIGHT))[0]
    assert saturated[LEFT].sum().item() == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("parts", [[nn.ReLU(), nn.MaxPool2d(2)], [nn.MaxPool2d(2), nn.ReLU()], [nn.MaxPool2d(3, 2)]])
def test_captum_is_incomplete_where_nonlinearities_follow_each_other_or_poolings_overlap_and_ours_is_not(parts):
    """Its hook on a module's output runs before that on the next one's input, which is the same tensor."""
    layers = [nn.Conv2d(1, 6, 3), *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)]
    classifier, method = network(nn.Sequential(*layers)), DeepLift(Blur())
    batch = tiny_batch(classifier)
    theirs, gap = captum_map(classifier, batch, method)
    assert gap > 0.01 * float(theirs.abs().sum((1, 2)).min())
    _complete(classifier, batch, method)


def test_max_pooling_gives_the_difference_to_the_place_of_the_larger_maximum():
    picture, start = torch.tensor([[1.0, 5.0, 2.0, 0.0]]), torch.tensor([[3.0, 1.0, 4.0, 1.0]])
    z = torch.stack([picture, start])[:, None].requires_grad_()
    found = pooled(z, (1, 2))
    assert found.flatten().tolist() == [5, 2, 3, 4]
    found[0].sum().backward()
    # 5 - 3 at the picture's maximum, where it rose by 4; 2 - 4 at the baseline's, where it fell by 2
    assert z.grad[0].flatten().tolist() == [0, 0.5, 1, 0] and not z.grad[1].any()


def test_a_picture_that_is_its_baseline_has_a_map_of_zeros():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    batch.images[:] = 0
    assert not DeepLift()(classifier, batch).any()


def test_a_learned_baseline_keeps_the_contract():
    check_explainer(DeepLift(TrainingMean()))


class Gated(nn.Module):
    """Activations that multiply each other."""

    def forward(self, x):
        return x * torch.sigmoid(4 * x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("gated", [True, False])
def test_products_and_attention_are_unfit(gated):
    parts = [nn.Conv2d(1, 5, 3), Gated(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]
    classifier = network(nn.Sequential(*parts)) if gated else tiny_vit()
    with pytest.raises(Unfit, match=r"has no rule for a part of .*: a map sums to"):
        DeepLift()(classifier, tiny_batch(classifier))
