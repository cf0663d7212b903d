"""Every registered explainer keeps the contract, on a small CNN, on a small transformer or on a CNN with gates."""

import dataclasses
import re
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.registry import CLASSIFIERS, EXPLAINERS
from xai_bench.samples import Head
from xai_bench.spec import build
from xai_bench.testing import check_explainer, tiny_classifier


def cheap(name):
    """With the default fields, but a small budget of model evaluations."""
    made = EXPLAINERS[name].factory()
    budgets = {f.name for f in dataclasses.fields(made)} & {"samples", "evaluations"}
    return dataclasses.replace(made, **dict.fromkeys(budgets, 40))


@pytest.fixture(scope="module")
def transformer():
    design = CLASSIFIERS["small_attention"].factory(width=4, attention_heads=2)
    return design.build((Head("finding", ("a", "b", "c")),), Input(Resize(32, 48)), seed=0).eval()


class Gate(nn.Module):
    """Spatial attention of one value a place."""

    def forward(self, x):
        return x * torch.sigmoid(5 * x.mean(1, keepdim=True))


@pytest.fixture(scope="module")
def gated():
    made = tiny_classifier()
    made.model.insert(5, Gate())  # after the last convolution's ReLU
    return made.eval()


@pytest.mark.parametrize("name", EXPLAINERS)
def test_contract(name, transformer, gated):
    explainer, fits = cheap(name), 0
    for classifier in (tiny_classifier(), transformer, gated):
        try:
            check_explainer(explainer, classifier)
            fits += 1
        except Unfit as error:
            assert str(error).endswith("."), "say in a sentence why, and what to use instead"
    fits = fits or getattr(explainer, "needs_files", False)  # one that reads maps has none here
    assert fits, f"{name} fits no CNN, no transformer and no CNN with spatial gates"


@pytest.mark.parametrize("name", EXPLAINERS)
def test_name_and_default_fields_are_enough_to_build_it(name):
    assert build("explainer", name) == EXPLAINERS[name].factory()
    assert EXPLAINERS[name].summary, "its docstring's first line is what `xai-bench list` shows"
    assert build("explainer", name).family in {"cam", "gradient", "perturbation", "attention", "control", "other"}


def test_the_example_of_the_readme_works():
    text = (Path(__file__).parents[1] / "explainers" / "README.md").read_text(encoding="utf-8")
    code = textwrap.dedent(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1))
    space = {"__name__": "readme_of_explainers"}
    try:
        exec(compile(code, "README.md", "exec", dont_inherit=True), space)
        check_explainer(space["PlainGradient"]())
    finally:
        EXPLAINERS.forget("readme_of_explainers")
