"""Specs: plugin -> JSON -> the same plugin, clear errors for everything else, fitted state apart."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xai_bench.errors import BadInput, UnknownName
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.protocols import Imputer
from xai_bench.registry import EXPLAINERS, IMPUTERS, METRICS
from xai_bench.spec import build, digest, make, spec_of, state_of, with_state

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@dataclass(frozen=True)
class Size:
    height: int = 4
    width: int = 4


@dataclass(frozen=True)
class Method:
    samples: int
    share: float = 0.5
    mode: Literal["a", "b"] = "a"
    layer: str | None = None
    sizes: tuple[int, ...] = (1, 2)
    size: Size = Size()
    imputer: Imputer = field(default_factory=Zero)
    more: tuple[Imputer, ...] = ()
    state: Mapping[str, Tensor] | None = None


def a_function():
    """Named, at the top of a module."""


FULL = Method(3, 0.25, "b", "layer4", (7,), Size(2, 3), Blur(2.0), (Zero(), TrainingMean()))


@pytest.mark.parametrize("method", [Method(1), FULL])
def test_round_trip_through_json(method):
    spec = spec_of(method)
    assert make(Method, json.loads(json.dumps(spec))["fields"], where="here") == method


def test_a_spec_is_the_name_and_the_fields_without_what_was_learned():
    assert spec_of(Blur(2.0)) == {"name": "blur", "fields": {"sigma": 2.0}}
    assert spec_of(Method(1, state={"w": torch.ones(1)})) == spec_of(Method(1))
    assert spec_of(Size())["name"] == "Size"


@pytest.mark.parametrize(("kind", "known"), [("explainer", EXPLAINERS), ("metric", METRICS), ("imputer", IMPUTERS)])
def test_every_plugin_is_built_from_its_name_its_table_and_its_spec(kind, known):
    assert len(known) > 2
    for name, entry in known.items():
        plain = entry.factory()
        assert build(kind, name) == build(kind, {"name": name}) == build(kind, spec_of(plain)) == plain
        assert build(kind, plain) is plain


def test_fields_beside_the_name_and_the_short_form():
    assert build("imputer", {"name": "blur", "sigma": 3}) == Blur(3.0)
    assert build("imputer", "blur:3") == Blur(3.0)
    assert make(Method, {"samples": 1, "imputer": {"name": "blur", "sigma": 3}}, where="").imputer == Blur(3.0)
    assert make(Method, {"samples": 1, "more": ["zero", "blur"]}, where="").more == (Zero(), Blur())
    assert make(Method, {"samples": 1, "size": {"height": 9}}, where="").size == Size(9, 4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"samples": 1, "smaples": 2}, r"here: unknown field 'smaples'.*Did you mean 'samples'"),
        ({}, r"here: field 'samples' is required"),
        ({"samples": "many"}, r"here, field 'samples': 'many' is not valid"),
        ({"samples": 1, "mode": "c"}, r"field 'mode': 'c' is not valid"),
        ({"samples": 1, "sizes": [1, "x"]}, r"field 'sizes'"),
        ({"samples": 1, "size": {"hieght": 2}}, r"field 'size': unknown field 'hieght'.*Did you mean 'height'"),
        ({"samples": 1, "imputer": {"sigma": 2}}, r"field 'imputer': .* has no `name`"),
        ({"samples": 1, "state": None}, r"unknown field 'state'"),
    ],
)
def test_a_wrong_field_is_one_sentence_that_names_the_place(fields, said):
    with pytest.raises(BadInput, match=said):
        make(Method, fields, where="here")


def test_an_unknown_inner_plugin_suggests():
    with pytest.raises(UnknownName, match="Did you mean 'blur'"):
        make(Method, {"samples": 1, "imputer": "blurr"}, where="here")


def test_a_named_function_enters_with_its_source_and_a_lambda_does_not():
    found = spec_of(a_function)
    assert found["name"].endswith("test_spec:a_function")
    assert len(found["source"]) == 16
    with pytest.raises(BadInput, match="is a lambda or a local function"):
        spec_of(lambda: 0)
    with pytest.raises(BadInput, match="cannot be written into a study"):
        spec_of(object())
    with pytest.raises(BadInput, match=r"the source of math:sqrt cannot be read"):
        spec_of(math.sqrt)


def test_a_plain_function_is_an_explainer_by_its_adapter_and_no_other_plugin():
    made = build("explainer", a_function)
    assert (made.xai_bench_name, made.function) == ("callable", a_function)
    assert build("explainer", spec_of(made)) == made
    assert build("metric", a_function) is a_function


@given(st.dictionaries(st.text(), JSON, min_size=1))
def test_digest_ignores_the_order_of_keys_and_nothing_else(value):
    turned = dict(reversed(value.items()))
    assert digest(value) == digest(turned)
    key = next(iter(value))
    assert digest(value) != digest({**value, key: [value[key]]})


def test_fitted_state_goes_out_and_comes_back_through_nested_plugins():
    mean, weight = torch.rand(1, 2, 2), torch.rand(3)
    fitted = Method(1, imputer=TrainingMean(state={"mean": mean}), state={"weight": weight})
    state = state_of(fitted)
    assert set(state) == {"imputer.mean", "weight"}
    again = with_state(Method(1, imputer=TrainingMean()), state)
    assert torch.equal(again.imputer.state["mean"], mean)
    assert torch.equal(again.state["weight"], weight)
    assert with_state(Method(1), {}) == Method(1)


@pytest.mark.parametrize("value", [None, 3, 0.5, True, ["lime"]])
def test_what_is_no_plugin_is_refused_where_it_stands(value):
    with pytest.raises(BadInput, match=r"explainers: .* is no explainer; give its name"):
        build("explainer", value, where="explainers")
