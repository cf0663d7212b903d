import pytest
import torch
from torch import nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.randomized import (
    randomize,
    randomized_twin,
    same_weights,
    separate_copy,
    weighted_modules,
)
from xai_bench.engine import Engine, Mode
from xai_bench.errors import Unfit
from xai_bench.samples import Head
from xai_bench.score_cache import ScoreCache
from xai_bench.seeding import derive
from xai_bench.testing import box_classifier, tiny_classifier

HEAD = Head("finding", ("no", "yes"))


class Backwards(nn.Module):
    """Declares its layers in another order than it runs them, one of them never; attention reads `out_proj` itself."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 2)
        self.unused = nn.Linear(8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.first = nn.Conv2d(1, 8, 4, 4)
        self.place = nn.Parameter(torch.arange(8.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2) + self.place
        return self.last(self.attention(tokens, tokens, tokens)[0].mean(1))


class Scaling(nn.Module):
    """Draws its own weights again, and those of a layer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.inner = nn.Parameter(torch.ones(3)), nn.Linear(3, 2)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)
        self.inner.reset_parameters()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.mean((1, 2, 3))[:, None] * self.weight)


def backwards() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier(Backwards(), [HEAD]).eval()


def test_modules_come_in_the_order_in_which_they_run_and_those_inside_attention_with_it() -> None:
    names = weighted_modules(backwards(), torch.zeros(1, 1, 8, 8))
    assert names == ["", "unused", "first", "attention", "attention.out_proj", "last"]


def test_finding_the_order_leaves_modes_and_hooks() -> None:
    classifier = tiny_classifier().train()
    assert weighted_modules(classifier, torch.zeros(1, 1, 32, 48)) == ["0", "1", "3", "7"]
    assert all(module.training and not module._forward_pre_hooks for module in classifier.modules())
    assert classifier.model[1].num_batches_tracked == 0


def test_every_layer_that_quantus_randomizes_comes_in_its_order() -> None:
    pytest.importorskip("quantus", reason="the peer quantus is not installed")
    from quantus.helpers.model.pytorch_model import PyTorchModel

    classifier = tiny_classifier()
    theirs = [name for name, _ in PyTorchModel(classifier.model, False).get_random_layer_generator("top_down")]
    assert weighted_modules(classifier, torch.zeros(1, 1, 32, 48))[::-1] == theirs


def test_a_layer_draws_its_weights_as_it_did_when_it_was_made() -> None:
    classifier, reference = tiny_classifier(), nn.Linear(8, 3)
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    randomize(classifier, "7", seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(5, "7"))
        reference.reset_parameters()
    assert torch.equal(classifier.model[7].weight, reference.weight)
    assert torch.equal(classifier.model[7].bias, reference.bias)
    changed = {k for k, v in classifier.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"model.7.weight", "model.7.bias"}


def test_running_statistics_are_reset_with_the_weights() -> None:
    classifier = tiny_classifier()
    norm = classifier.model[1]
    norm.train()(torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0)) + 3)
    randomize(classifier, "1", 0)
    assert norm.running_mean.tolist() == [0] * 6
    assert norm.running_var.tolist() == [1] * 6
    assert norm.num_batches_tracked == 0


def test_weights_without_a_rule_are_permuted() -> None:
    classifier = backwards()
    attention = classifier.model.attention
    before = attention.in_proj_weight.detach().clone()
    randomize(classifier, "attention", 0)
    after = attention.in_proj_weight.detach()
    assert not torch.equal(after, before)
    assert torch.equal(after.flatten().sort().values, before.flatten().sort().values)


def test_a_module_s_rule_draws_only_its_own_weights() -> None:
    classifier = Classifier(Scaling(), [HEAD])
    inner = classifier.model.inner.weight.detach().clone()
    randomize(classifier, "", 0)
    assert not torch.equal(classifier.model.weight.detach(), torch.ones(3))
    assert torch.equal(classifier.model.inner.weight, inner)


def test_type_and_frozen_weights_stay_and_global_randomness_too() -> None:
    classifier = backwards()
    classifier.model.last.to(torch.bfloat16).requires_grad_(False)
    before, state = classifier.model.last.weight.clone(), torch.get_rng_state()
    randomize(classifier, "last", 0)
    after = classifier.model.last.weight
    assert not torch.equal(after, before)
    assert after.dtype == torch.bfloat16
    assert not after.requires_grad
    assert torch.equal(torch.get_rng_state(), state)


def test_the_seed_and_the_name_decide_the_weights() -> None:
    drawn = []
    for seed in (0, 0, 1):
        classifier = tiny_classifier()
        randomize(classifier, "0", seed)
        drawn.append(classifier.model[0].weight.detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_copy_shares_nothing_that_knows_the_weights() -> None:
    classifier = tiny_classifier()
    classifier.engine = Engine(Mode("bfloat16", compile=True), 3, ScoreCache(), progress=print)
    classifier.runner = classifier.logits
    twin = separate_copy(classifier)
    assert same_weights(classifier, twin)
    assert twin.identity() == classifier.identity()
    assert (twin.engine.mode, twin.engine.batch_size) == (Mode("bfloat16"), 3)
    assert twin.engine.cache is twin.engine.progress is twin.runner is None
    randomize(twin, "7", 0)
    assert not same_weights(classifier, twin)
    assert twin.identity() != classifier.identity()
    assert same_weights(classifier, tiny_classifier())


def test_a_model_that_cannot_be_copied_is_unfit() -> None:
    classifier = box_classifier(slice(0, 4), slice(0, 4))
    classifier.model.kept = classifier.model.gain * 2  # part of a graph
    with pytest.raises(Unfit, match="cannot be copied"):
        separate_copy(classifier)


def test_a_randomized_twin_has_every_weight_drawn_again_and_the_classifier_keeps_its_own() -> None:
    classifier = tiny_classifier()
    twin, again = randomized_twin(classifier, 1), randomized_twin(classifier, 1)
    for name in weighted_modules(classifier, torch.zeros(1, 1, 32, 48)):
        own, drawn = classifier.model.get_submodule(name), twin.model.get_submodule(name)
        if not isinstance(own, nn.BatchNorm2d):  # a new one has the weights that this one still has
            assert not torch.equal(own.weight, drawn.weight), name
    assert same_weights(twin, again)
    assert same_weights(classifier, tiny_classifier())
    assert not same_weights(twin, randomized_twin(classifier, 2))


def test_without_weights_there_is_no_randomized_twin() -> None:
    with pytest.raises(Unfit, match="has no weights that can be randomized"):
        randomized_twin(box_classifier(slice(0, 4), slice(0, 4)), 0)
