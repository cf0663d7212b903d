"""The contract suite says, in one sentence, what is wrong with each deliberately broken classifier."""

import pytest
import torch
from torch import nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.samples import Head
from xai_bench.testing import (
    check_classifier,
    tiny_batch,
    tiny_classifier,
    tiny_regions,
)


def broken_classifier(change):
    """The tiny classifier with one thing changed."""
    classifier = tiny_classifier()
    inner = classifier.model.forward
    classifier.model.forward = lambda x: change(inner(x), x)
    return classifier


def test_a_good_classifier_passes_and_is_left_as_it_was():
    classifier = tiny_classifier().train()
    before = classifier.weights_hash()
    check_classifier(classifier)
    assert classifier.weights_hash() == before
    assert classifier.training


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z, x: z * torch.nan, "NaN or infinite logits"),
        (lambda z, x: z + torch.rand(1), "drew from torch's global|other logits for the same pictures"),
        (lambda z, x: z - z.mean(0), "depend on the other pictures"),
        (lambda z, x: z.detach(), "no gradient with respect to the pictures"),
        (lambda z, x: z.detach() + 0 * x.mean(), "is 0 everywhere"),
        (lambda z, x: z.double(), "returns torch.float64"),
    ],
)
def test_a_broken_classifier_is_told_what_is_wrong(change, said):
    with pytest.raises(AssertionError, match=said):
        check_classifier(broken_classifier(change))


def test_a_classifier_whose_hash_or_layer_is_wrong():
    class NoLayer(Classifier):
        cam_layer = None

    class ForgetsHead(Classifier):
        def weights_hash(self):
            return str(next(self.parameters()).sum().item())

    good = tiny_classifier()
    head = (Head("finding", ("a", "b", "c")),)
    with pytest.raises(AssertionError, match=r"does not notice a change of model\.0\.bias"):
        check_classifier(ForgetsHead(good.model, head, reader=good.reader, cam_layer="4"))
    with pytest.raises(AssertionError, match="2 convolutions and no cam_layer"):
        check_classifier(NoLayer(good.model, head, reader=good.reader))
    idle = tiny_classifier()
    idle.model.idle = nn.Identity()
    idle.model.forward = lambda x: nn.Sequential.forward(idle.model[:8], x)
    idle.cam_layer = "idle"
    with pytest.raises(AssertionError, match="does not run in the forward pass"):
        check_classifier(idle)


def test_the_hand_made_pictures_exercise_the_contract():
    """Not square, a letterboxed film, a film without spacing, a region on each film and inside its content."""
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    assert batch.images.shape == (4, 1, 32, 48)
    assert batch.content.flatten(1).all(1).tolist() == [True, True, True, False]
    assert batch.spacing_mm.isnan().any(1).tolist() == [True, False, False, False]
    regions = tiny_regions(batch)
    assert regions.flatten(1).any(1).all()
    assert not (regions & ~batch.content).any()
    assert len({tuple(r.flatten().tolist()) for r in regions}) == 4
    with torch.no_grad():
        assert len(classifier(batch.images).argmax(1).unique()) > 1
