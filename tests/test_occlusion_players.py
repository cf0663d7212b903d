"""Occlusion of players: equal to a plain twin, analytic on a linear model, cheap as it says, on the anatomy too."""

import dataclasses

import pytest
import torch
from xai_bench_explainers._players import grid, players
from xai_bench_explainers.occlusion_players import OcclusionPlayers

from xai_bench.classifiers.classifier import untouched
from xai_bench.engine import Engine
from xai_bench.errors import BadInput, Unfit
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.protocols import Players
from xai_bench.testing import box_classifier, tiny_batch, tiny_classifier, tiny_training, with_tiny_players


def anatomical(batch, *counts):
    """Horizontal bands, so many on each picture, below a strip that is no player."""
    labels = torch.zeros(batch.content.shape, dtype=torch.long)
    for one, count in zip(labels, counts, strict=True):
        one[4:] = 1 + (torch.arange(28) * count // 28)[:, None]
    return dataclasses.replace(batch, players=Players(labels, ({},) * len(batch)))


def plain_twin(method, classifier, batch, i):
    """One player at a time, one evaluation at a time."""
    image, hidden, found = batch.images[i], method.imputer(batch)[i], torch.zeros(batch.images.shape[2:])
    labels = players(batch, method.segmentation)[i]

    def score(picture):
        with torch.no_grad(), untouched(classifier):
            logits = classifier(picture[None])
            return (classifier.probabilities(logits) if method.score == "probability" else logits)[0, batch.targets[i]]

    for player in labels.unique():
        inside = labels == player
        found[inside] = score(image) - score(torch.where(inside, hidden, image))
    return found


@pytest.mark.parametrize(
    "method",
    [OcclusionPlayers("grid(3)"), OcclusionPlayers("anatomy", Blur()), OcclusionPlayers("grid(2)", score="logit")],
)
def test_equals_the_plain_twin(method):
    classifier = tiny_classifier()
    batch = anatomical(tiny_batch(classifier, count=3), 4, 2, 7)
    maps = method(classifier, batch)
    for i in range(3):
        assert torch.allclose(maps[i], plain_twin(method, classifier, batch, i), atol=1e-6)


def test_on_a_linear_model_a_player_is_worth_its_weight_times_its_brightness():
    classifier = box_classifier(slice(0, 16), slice(0, 48))
    batch = tiny_batch(classifier, count=1)
    batch.targets[:] = 1
    found = OcclusionPlayers("grid(4)", Zero(), "logit")(classifier, batch)[0]
    for cell in range(16):
        inside = grid(32, 48, 4) == cell
        seen = batch.images[0, 0, :16][inside[:16]].sum()
        assert torch.allclose(found[inside], 4 * seen / (16 * 48), atol=1e-5)


def test_asks_once_for_each_player_and_once_for_the_picture():
    classifier = tiny_classifier()
    classifier.engine = Engine(batch_size=8)
    batch = anatomical(tiny_batch(classifier, count=2), 5, 3)
    OcclusionPlayers("anatomy")(classifier, batch)
    assert classifier.engine.asked == (1 + 6) + (1 + 4), "the pixels of no player are one more"
    method = OcclusionPlayers("grid(5)")
    method(classifier, batch)
    assert classifier.engine.asked == 12 + 2 * method.evaluations


def test_a_score_that_is_not_finite_makes_that_pictures_map_nan():
    classifier = box_classifier(slice(0, 4), slice(0, 48))
    batch = anatomical(tiny_batch(classifier, count=2), 3, 3)
    batch.images[1, 0, 0, 0] = torch.inf
    found = OcclusionPlayers("anatomy", Zero(), "logit")(classifier, batch)
    assert found[0].isfinite().all() and found[1].isnan().all()


def test_fits_its_imputer_and_needs_players_for_the_anatomy_only():
    classifier = tiny_classifier()
    fitted = OcclusionPlayers(imputer=TrainingMean()).fit(classifier, tiny_training(classifier))
    assert fitted.imputer.state["mean"].shape == (1, 32, 48)
    assert OcclusionPlayers("anatomy").needs_players and not OcclusionPlayers().needs_players
    with pytest.raises(Unfit, match="no anatomical players"):
        OcclusionPlayers("anatomy")(classifier, tiny_batch(classifier))
    with pytest.raises(BadInput, match="occlusion_players: segmentation 'bones' is not known"):
        OcclusionPlayers("bones")


def test_on_the_tiny_column_each_body_and_disc_has_one_value():
    classifier = tiny_classifier()
    batch = with_tiny_players(tiny_batch(classifier))
    maps = OcclusionPlayers("anatomy")(classifier, batch)
    for values, labels in zip(maps, batch.players.labels, strict=True):
        assert all(len(values[labels == label].unique()) == 1 for label in labels.unique())
    assert len(maps[0].unique()) == 9 and len(maps[2].unique()) == 1, "the last picture but one is not marked"
