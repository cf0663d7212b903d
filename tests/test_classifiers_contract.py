"""Every registered kind of classifier keeps the contract, with random weights."""

import dataclasses

import pytest

from xai_bench.inputs import Input, Resize
from xai_bench.registry import CLASSIFIERS
from xai_bench.samples import Head
from xai_bench.spec import build
from xai_bench.testing import check_classifier

SMALLEST = {"timm": "timm:test_resnet", "torchvision": "torchvision:squeezenet1_1"}
OURS = [name for name in CLASSIFIERS if name != "hf"]  # needs an optional package: test_huggingface_zoo.py


@pytest.mark.parametrize("name", OURS)
def test_contract(name):
    design = build("classifier", SMALLEST.get(name, name))
    heads = Head("finding", ("normal", "mild", "severe")), Head("signs", ("rib", "marker"), "sigmoid")
    classifier = design.build(heads, Input(Resize(64, 96)), seed=0).eval()
    assert classifier.n_logits == 5
    check_classifier(classifier)


@pytest.mark.parametrize("name", OURS)
def test_seed_makes_the_weights(name):
    design = build("classifier", SMALLEST.get(name, name))
    one, same, other = (design.build((Head("h", ("a", "b")),), Input(Resize(64, 64)), seed=s) for s in (0, 0, 1))
    assert one.weights_hash() == same.weights_hash() != other.weights_hash()
    assert dataclasses.is_dataclass(design)
