"""What a plugin must leave as it was: the classifier, the pictures, and everybody's random state."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch
from xai_bench.spec import make, spec_of


def expect(ok: bool, sentence: str) -> None:
    """Raise AssertionError with the sentence unless ok; unlike `assert`, also under `python -O`."""
    if not ok:
        raise AssertionError(sentence)


def name_of(plugin: object) -> str:
    """What a plugin is called in messages: its registered name, else its class."""
    return str(getattr(plugin, "xai_bench_name", type(plugin).__qualname__))


@contextmanager
def left_alone(who: str, classifier: Classifier, batch: Batch) -> Iterator[None]:
    """Check that the block changes neither classifier nor pictures."""
    model, pictures = _classifier_state(classifier), _batch_state(batch)
    yield
    for what, before in model.items():
        now = _classifier_state(classifier)[what]
        expect(
            _equal(before, now), f"{who} changed the classifier's {what}; explain inside `with untouched(classifier):`."
        )
    expect(_equal(pictures, _batch_state(batch)), f"{who} changed the batch it was given; work on a clone.")


@contextmanager
def own_randomness(who: str) -> Iterator[None]:
    """Run the block under other global random states, check that it leaves them alone, and put the former ones back.

    Watch the second call of a plugin: some packages draw random numbers when they are first imported.
    """
    before = _random_state()
    _set_random_state(_OTHER)
    try:
        yield
        remedy = "use xai_bench.seeding.generator(seed, picture_id) or numpy_generator"
        for library, state in _random_state().items():
            if library == "python" and "beartype" in sys.modules:
                continue  # a type checker that draws from this state itself, to pick which list items it looks at
            expect(_equal(state, _OTHER[library]), f"{who} drew from {library}'s global random state; {remedy}.")
    finally:
        _set_random_state(before)


def _classifier_state(classifier: Classifier) -> dict[str, Any]:
    modules, parameters = dict(classifier.named_modules()), dict(classifier.named_parameters())
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "mode (training or eval)": {n: m.training for n, m in modules.items()},
        "hooks": {n: [list(getattr(m, kind)) for kind in kinds] for n, m in modules.items()},
        "requires_grad": {n: p.requires_grad for n, p in parameters.items()},
        "gradients (.grad)": {n: None if p.grad is None else p.grad.clone() for n, p in parameters.items()},
        "weights or buffers": {n: t.detach().clone() for n, t in classifier.state_dict().items()},
    }


def _batch_state(batch: Batch) -> dict[str, Any]:
    found = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.name != "players"}
    return {n: v.clone() if isinstance(v, Tensor) else v for n, v in found.items()}


def _random_state() -> dict[str, Any]:
    # Global states are watched here, not used.
    return {"torch": torch.get_rng_state(), "numpy": np.random.get_state(legacy=False), "python": random.getstate()}  # noqa: NPY002


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])  # noqa: NPY002  # the same
    random.setstate(state["python"])


_OTHER: dict[str, Any] = {
    "torch": torch.Generator().manual_seed(12345).get_state(),
    "numpy": np.random.RandomState(12345).get_state(legacy=False),
    "python": random.Random(12345).getstate(),
}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=0, atol=0, equal_nan=True)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    return bool(a == b)


def check_spec(plugin: Any) -> None:
    """A plugin is a frozen dataclass that its spec, as JSON, makes again."""
    who = name_of(plugin)
    frozen = getattr(getattr(plugin, "__dataclass_params__", None), "frozen", False)
    expect(
        frozen,
        f"{who} must be a frozen dataclass whose fields are its parameters: put @dataclass(frozen=True) above it.",
    )
    spec = spec_of(plugin)
    made = make(type(plugin), json.loads(json.dumps(spec))["fields"], where=who)
    expect(
        spec_of(made) == spec,
        f"{who}: its spec {spec} makes another plugin, {spec_of(made)}; fields must be JSON values or plugins.",
    )
