"""Numerical modes, what is prepared for them and when it is thrown away; the score cache under the engine."""

import copy
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine, Mode, out_of_memory, stamp
from xai_bench.errors import BadInput
from xai_bench.imputers.zero import Zero
from xai_bench.inputs import Input, Resize
from xai_bench.perturbation import Scene, evaluate_all
from xai_bench.running.workbench import Counter
from xai_bench.samples import Head
from xai_bench.score_cache import ScoreCache
from xai_bench.testing import tiny_batch, tiny_classifier


def question(classifier: Classifier, pictures: int = 2, seed: int = 0) -> tuple[Scene, torch.Tensor]:
    batch = tiny_batch(classifier, count=pictures)
    labels = (torch.arange(32 * 48).view(32, 48) % 6).expand(pictures, -1, -1)
    keep = torch.rand(pictures, 20, 6, generator=torch.Generator().manual_seed(seed)) < 0.5
    return Scene.of(batch, labels, Zero()), keep


def test_bfloat16_is_near_float32_and_is_counted() -> None:
    classifier = tiny_classifier()
    scene, keep = question(classifier)
    exact = evaluate_all(classifier, scene, keep)
    classifier.engine = Engine(Mode("bfloat16"))
    with Counter().on(classifier) as counter:
        found = evaluate_all(classifier, scene, keep)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.1
    assert counter.evaluations >= classifier.engine.answered > 0
    assert classifier.runner is None  # other callers get float32
    assert torch.equal(classifier(scene.images), tiny_classifier()(scene.images))


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_model_says_nearly_the_same(precision: str) -> None:
    classifier = tiny_classifier()
    scene, keep = question(classifier)
    classifier.engine = Engine(Mode(precision))  # type: ignore[arg-type]  # a parameter of the test
    exact = evaluate_all(classifier, scene, keep)
    classifier.engine = Engine(Mode(precision, compile=True))  # type: ignore[arg-type]  # the same
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its compiler
        found = evaluate_all(classifier, scene, keep)
    assert torch.allclose(found, exact, atol=1e-5 if precision == "float32" else 0.05)


@pytest.mark.parametrize("cached", [True, False])
def test_a_changed_weight_is_noticed(cached: bool) -> None:
    """Nothing that was prepared or kept for other weights is used."""
    classifier = tiny_classifier()
    scene, keep = question(classifier)
    classifier.engine = Engine(Mode("bfloat16"), cache=ScoreCache() if cached else None)
    before = evaluate_all(classifier, scene, keep)
    with torch.no_grad():
        classifier.model[-1].weight.mul_(0.5)
    after = evaluate_all(classifier, scene, keep)
    fresh = tiny_classifier()
    with torch.no_grad():
        fresh.model[-1].weight.mul_(0.5)
    fresh.engine = Engine(Mode("bfloat16"))
    assert torch.equal(after, evaluate_all(fresh, scene, keep))
    assert not torch.equal(after, before)


def test_a_copied_classifier_takes_nothing_prepared_along() -> None:
    classifier = tiny_classifier()
    scene, keep = question(classifier)
    classifier.engine = Engine(Mode("bfloat16"))
    before = evaluate_all(classifier, scene, keep)
    twin = copy.deepcopy(classifier)
    with torch.no_grad():
        twin.model[-1].weight.zero_()
    blind = evaluate_all(twin, scene, keep)
    assert torch.equal(blind, blind[:, :1].expand_as(blind))
    assert torch.equal(evaluate_all(classifier, scene, keep), before)


def test_weights_changed_behind_the_version_counter_are_noticed() -> None:
    classifier = tiny_classifier()
    before = stamp(classifier)
    assert stamp(classifier) == before
    classifier.model[0].weight.data.mul_(2)
    assert stamp(classifier) != before


def test_the_cache_changes_no_bit_and_asks_nothing_twice(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    scene, keep = question(classifier)
    plain = evaluate_all(classifier, scene, keep)
    for attempt, expected_new in enumerate((True, False)):
        classifier.engine = Engine(cache=ScoreCache(tmp_path))  # the second one reads the folder
        assert torch.equal(evaluate_all(classifier, scene, keep), plain), attempt
        assert (classifier.engine.answered > 0) == expected_new
        classifier.engine.cache.flush()  # type: ignore[union-attr]  # it has one
    more = torch.cat([keep, question(classifier, seed=1)[1]], 1)
    mixed = evaluate_all(classifier, scene, more)
    classifier.engine = None
    assert torch.equal(mixed, evaluate_all(classifier, scene, more))


def test_modes_and_batch_sizes_do_not_share_answers() -> None:
    classifier = tiny_classifier()
    scene, keep = question(classifier)
    cache = ScoreCache()
    for engine in (Engine(cache=cache), Engine(batch_size=8, cache=cache), Engine(Mode("bfloat16"), cache=cache)):
        classifier.engine = engine
        evaluate_all(classifier, scene, keep)
        assert engine.answered > 0


class Relative(nn.Module):
    """A model whose answer depends on the whole batch, as batch norm in training mode would."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = x.mean((1, 2, 3))
        return torch.stack([z - z.mean(), z], 1)


def test_a_model_whose_rows_depend_on_each_other_is_never_cached() -> None:
    classifier = Classifier(Relative(), [Head("h", ("x", "y"))], reader=Input(Resize(32, 48)))
    scene, keep = question(classifier)
    classifier.engine = Engine(cache=ScoreCache())
    evaluate_all(classifier, scene, keep)
    asked = classifier.engine.answered
    evaluate_all(classifier, scene, keep)
    assert classifier.engine.answered == 2 * asked


def test_a_failing_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    class Broken(BackendCompilerFailed):
        def __init__(self) -> None:
            Exception.__init__(self, "no compiler")

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise Broken

    monkeypatch.setattr(torch, "compile", lambda *_a, **_k: fail)
    classifier = tiny_classifier()
    classifier.engine = Engine(Mode("float32", compile=True))
    with pytest.raises(BadInput, match=r"could not be compiled \(Broken\); install a C\+\+ compiler"):
        evaluate_all(classifier, *question(classifier))


def test_out_of_memory_is_recognized() -> None:
    assert out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_modes_have_names() -> None:
    assert [str(Mode()), str(Mode("bfloat16", True))] == ["float32", "bfloat16 compiled"]
