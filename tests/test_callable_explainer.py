"""A function of one's own as an explainer."""

import json
import math

import numpy as np
import pytest
import torch
from xai_bench_explainers import callable_explainer
from xai_bench_explainers.callable_explainer import CallableExplainer, gradient

from xai_bench.errors import BadInput
from xai_bench.registry import EXPLAINERS
from xai_bench.spec import build, make, spec_of
from xai_bench.study import Study
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier

HERE = __name__
CLASSIFIERS = [{"name": "c", "architecture": "small_cnn"}]


def brightness(model, images, targets):
    """An array with channels."""
    return images.numpy() * targets[:, None, None, None].numpy()


def halves(model, images, targets):
    """A tensor of whole numbers without channels."""
    return (images > 0.5).long()[:, 0]


class Tool:
    """A function inside a class has a name too."""

    @staticmethod
    def use(model, images, targets):
        """A map."""
        return images[:, 0]


def test_arrays_and_tensors_with_and_without_channels_become_maps() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    found = CallableExplainer(brightness)(classifier, batch)
    assert torch.allclose(found, batch.images[:, 0] * batch.targets[:, None, None])
    whole = CallableExplainer(halves)(classifier, batch)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, (batch.images[:, 0] > 0.5).float())


def test_the_function_finds_a_model_in_eval_mode_with_gradients_switched_on_and_leaves_the_pictures() -> None:
    check_explainer(CallableExplainer(gradient))
    classifier, batch = tiny_classifier().train(), tiny_batch(tiny_classifier())

    def spoil(model, images, targets):
        assert not model.training
        assert torch.is_grad_enabled()
        return images.zero_()

    before = batch.images.clone()
    with torch.no_grad():
        assert not CallableExplainer(spoil)(classifier, batch).any()
    assert torch.equal(batch.images, before)
    assert classifier.training


@pytest.mark.parametrize("name", ["brightness", "Tool.use"])
def test_name_function_and_spec_make_the_same_explainer(name: str) -> None:
    path = f"{HERE}:{name}"
    given = CallableExplainer(Tool.use if "." in name else brightness)
    spec = spec_of(given)
    assert spec["fields"]["function"]["name"] == path
    for made in (build("explainer", f"callable:{path}"), build("explainer", json.loads(json.dumps(spec)))):
        assert made == given
        assert spec_of(made) == spec
    assert make(CallableExplainer, spec["fields"], where="") == given


def test_a_plain_function_stands_in_a_study_under_its_own_name() -> None:
    study = Study("s", "phantom", CLASSIFIERS, [brightness, {"plugin": halves, "label": "mine"}, "callable"])
    assert [c.label for c in study.explainers] == ["brightness", "mine", "gradient"]
    assert Study.of(study.spec()).key == study.key


def test_the_key_follows_the_function_s_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before = spec_of(CallableExplainer(brightness))
    assert before != spec_of(CallableExplainer(halves))
    monkeypatch.setattr("inspect.getsource", lambda _: "def brightness(...): other")
    after = spec_of(CallableExplainer(brightness))
    assert after["fields"]["function"]["name"] == before["fields"]["function"]["name"]
    assert after["fields"]["function"]["source"] != before["fields"]["function"]["source"]


def test_a_lambda_works_here_and_in_a_study_is_one_clear_error() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    inline = CallableExplainer(lambda model, images, targets: images[:, 0])
    assert torch.equal(inline(classifier, batch), batch.images[:, 0])
    with pytest.raises(BadInput, match="is a lambda or a local function; define it at the top of a module"):
        _ = Study("s", "phantom", CLASSIFIERS, [lambda model, images, targets: images[:, 0]]).key
    with pytest.raises(BadInput, match="the source of math:sqrt cannot be read"):
        spec_of(CallableExplainer(math.sqrt))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("no colon", r"function is 'no colon'; expected `module:function`"),
        (3, r"function is 3; expected"),
        ("no_such_module_here:f", r"module 'no_such_module_here' .* cannot be imported"),
        (f"{callable_explainer.__name__}:gradients", r"has no 'gradients'. Did you mean 'gradient'"),
        (f"{callable_explainer.__name__}:EXAMPLE", r"is a str; name a function"),
    ],
)
def test_a_function_that_cannot_be_found_is_one_sentence(function: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        CallableExplainer(function)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (np.zeros((4, 32)), r"of shape \(4, 32\) for 4 pictures; return one map a picture"),
        (np.zeros((3, 32, 48)), r"of shape \(3, 32, 48\)"),
        (np.zeros((4, 2, 2), complex), r"complex"),
        ("maps", r"returned a str; return an array or tensor"),
        (None, r"returned a NoneType"),
    ],
)
def test_what_is_no_map_is_one_sentence(returned: object, said: str) -> None:
    classifier = tiny_classifier()
    with pytest.raises(BadInput, match=said):
        CallableExplainer(lambda model, images, targets: returned)(classifier, tiny_batch(classifier))


def test_it_is_registered_and_its_default_is_an_example_that_works() -> None:
    classifier, batch = tiny_classifier(), tiny_batch(tiny_classifier())
    made = EXPLAINERS["callable"].factory()
    images = batch.images.clone().requires_grad_()
    score = classifier(images)[torch.arange(4), batch.targets].sum()
    assert torch.allclose(made(classifier, batch), torch.autograd.grad(score, images)[0].sum(1))
