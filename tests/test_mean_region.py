"""The mean region: the share of training films that have the region there; needs to be fitted."""

import pytest
import torch
from xai_bench_explainers.mean_region import MeanRegion

from xai_bench.errors import BadInput
from xai_bench.spec import state_of, with_state
from xai_bench.testing import tiny_batch, tiny_classifier, tiny_training


def test_is_the_mean_over_training_films_that_have_the_region():
    classifier = tiny_classifier()
    training = tiny_training(classifier)
    training[0][1]["box"][1] = False  # a film without the finding
    fitted = MeanRegion().fit(classifier, training)
    masks = [mask for _, regions in training for mask in regions["box"] if mask.any()]
    assert len(masks) == 7
    expected = sum(mask.float() for mask in masks) / 7
    batch = tiny_batch(classifier)
    assert torch.allclose(fitted(classifier, batch), expected.expand(4, -1, -1))
    assert fitted(classifier, batch).max() <= 1


def test_region_by_name():
    classifier = tiny_classifier()
    training = [
        (batch, {**regions, "all": torch.ones_like(regions["box"])}) for batch, regions in tiny_training(classifier)
    ]
    assert MeanRegion("all").fit(classifier, training).state["mean"].eq(1).all()
    with pytest.raises(BadInput, match="Did you mean 'box'"):
        MeanRegion("boxes").fit(classifier, training)


def test_what_was_learned_goes_through_the_store():
    classifier = tiny_classifier()
    fitted = MeanRegion().fit(classifier, tiny_training(classifier))
    again = with_state(MeanRegion(), state_of(fitted))
    batch = tiny_batch(classifier)
    assert torch.equal(again(classifier, batch), fitted(classifier, batch))


def test_each_way_to_have_no_region_is_one_sentence():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    with pytest.raises(BadInput, match="was not fitted"):
        MeanRegion()(classifier, batch)
    with pytest.raises(BadInput, match="no training film"):
        MeanRegion().fit(classifier, [(batch, {})])
    with pytest.raises(BadInput, match="no training film"):
        MeanRegion().fit(classifier, [(batch, {"box": torch.zeros_like(batch.content)})])
    fitted = MeanRegion().fit(classifier, tiny_training(classifier))
    wide = tiny_batch(classifier)
    with pytest.raises(BadInput, match="fitted on pictures"):
        fitted(
            classifier, type(wide)(wide.images[..., :20], wide.targets, wide.ids, wide.content, None, wide.spacing_mm)
        )
