"""Functions under a rule: whoever calls one, by whatever name, meets the rule, and outside the block nobody does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from xai_bench_explainers._functions import Ruled, named, with_slope

CALLS = [
    nn.ReLU(), nn.ReLU(inplace=True), F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_,
    lambda x: F.relu(x, inplace=True), lambda x: x.relu(), lambda x: nn.Sequential(nn.ReLU())(x),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_every_way_to_call_a_relu_meets_the_rule_once(call):
    with Ruled(dict.fromkeys(named("relu", "relu_"), lambda x, inplace=False: x * 10)) as ruled:
        found = call(torch.tensor([-1.0, 2.0]))
        call(torch.ones(1))
    assert found.tolist() == [-10, 20] and ruled.calls == 2
    assert call(torch.tensor([-1.0, 2.0])).tolist() == [0, 2]


@pytest.mark.parametrize("call", [nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.Sigmoid(), nn.ReLU6(), lambda x: x**2])
def test_other_functions_are_found_by_their_names(call):
    names = ("gelu", "silu", "hardswish", "sigmoid", "hardtanh", "__pow__", "pow")
    with Ruled(dict.fromkeys(named(*names), lambda x, *_, **__: x * 10)) as ruled:
        assert call(torch.ones(1)).item() == 10
    assert ruled.calls == 1


def test_a_rule_may_call_the_function_that_it_stands_for():
    with Ruled({torch.relu: lambda x: torch.relu(x) + 1}):
        assert torch.relu(torch.tensor(-1.0)) == 1


def test_a_slope_is_given_and_the_value_kept_bit_by_bit():
    x = torch.tensor([0.1, -0.2], requires_grad=True)
    value = with_slope(torch.tensor([0.3, 0.7]), 3 * x, torch.tensor([2.0, -1.0]))
    value.sum().backward()
    assert value.tolist() == torch.tensor([0.3, 0.7]).tolist()
    assert x.grad.tolist() == [6, -3]
