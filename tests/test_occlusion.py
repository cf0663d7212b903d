"""Occlusion: equal to a plain twin, analytic on a linear model, and right where the evidence is known."""

import pytest
import torch
from xai_bench_explainers.occlusion import Occlusion

from xai_bench.classifiers.classifier import untouched
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.testing import box_classifier, check_explainer, tiny_batch, tiny_classifier, tiny_training


def probability(classifier, image, target):
    with torch.no_grad(), untouched(classifier):
        return classifier.probabilities(classifier(image[None]))[0, target]


def plain_twin(method, classifier, batch, i):
    """A window over cells, one evaluation at a time; each cell's mean over the windows that cover it."""
    image, hidden, target = batch.images[i], method.imputer(batch)[i], batch.targets[i]
    _, h, w = image.shape
    total, count = torch.zeros(method.cells, method.cells), torch.zeros(method.cells, method.cells)
    row_of = [int((y + 0.5) * method.cells / h) for y in range(h)]
    column_of = [int((x + 0.5) * method.cells / w) for x in range(w)]
    whole = probability(classifier, image, target)
    for top in range(method.cells - method.window + 1):
        for left in range(method.cells - method.window + 1):
            covered = image.clone()
            for y in range(h):
                for x in range(w):
                    if 0 <= row_of[y] - top < method.window and 0 <= column_of[x] - left < method.window:
                        covered[:, y, x] = hidden[:, y, x]
            fall = whole - probability(classifier, covered, target)
            total[top : top + method.window, left : left + method.window] += fall
            count[top : top + method.window, left : left + method.window] += 1
    return total / count


@pytest.mark.parametrize("method", [Occlusion(5, 2), Occlusion(4, 1, Blur()), Occlusion(3, 3)])
def test_equals_the_plain_twin(method):
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=2)
    maps = method(classifier, batch)
    for i in range(2):
        assert torch.allclose(maps[i], plain_twin(method, classifier, batch, i), atol=1e-6)


def test_on_a_linear_model_a_cell_is_worth_its_weight_times_its_brightness():
    classifier = box_classifier(slice(0, 16), slice(0, 48))
    batch = tiny_batch(classifier, count=1)
    batch.targets[:] = 1
    found = Occlusion(cells=4, window=1, score="logit")(classifier, batch)[0]
    brightness = batch.images[0, 0].reshape(4, 8, 4, 12).sum((1, 3))
    expected = 4 * brightness / (16 * 48) * torch.tensor([1.0, 1, 0, 0])[:, None]
    assert torch.allclose(found, expected, atol=1e-5)


def test_points_at_the_box_that_the_model_looks_at():
    classifier = box_classifier(slice(8, 16), slice(24, 36))  # cell (1, 2) of 4 x 4
    batch = tiny_batch(classifier, count=1)
    batch.images[:] = 0.9
    batch.targets[:] = 1
    found = Occlusion(cells=4, window=1)(classifier, batch)[0]
    assert found.argmax().item() == 1 * 4 + 2
    assert (found != 0).sum() == 1


def test_fits_its_imputer():
    classifier = tiny_classifier()
    fitted = Occlusion(imputer=TrainingMean()).fit(classifier, tiny_training(classifier))
    assert fitted.imputer.state["mean"].shape == (1, 32, 48)
    plain = Occlusion(imputer=Zero())
    assert plain.fit(classifier, tiny_training(classifier)) is plain


@pytest.mark.parametrize(("cells", "window"), [(14, 2), (4, 4), (5, 1)])
def test_evaluations_are_what_it_says_and_pictures_share_batches(cells, window):
    classifier, seen = tiny_classifier(), []
    classifier.engine = Engine(batch_size=8)
    classifier.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    method = Occlusion(cells, window)
    method(classifier, tiny_batch(classifier, count=3))
    assert classifier.engine.answered == 3 * method.evaluations
    assert seen == [8] * -(-3 * method.evaluations // 8)  # the last batch is padded


def test_a_model_that_returns_nan_gives_that_picture_a_map_of_nan():
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=3)
    batch.images[0] += 100
    batch.images[0, :, :4, :4] = 1000  # only the windows that hide this corner have a score
    inner = classifier.model.forward
    classifier.model.forward = lambda x: torch.where((x.amax((1, 2, 3)) > 1000)[:, None], torch.nan, inner(x))
    maps = Occlusion(8, 1)(classifier, batch)
    assert maps[0].isnan().all()
    assert maps[1:].isfinite().all()


@pytest.mark.parametrize("method", [Occlusion(6, 3, Blur(), "logit"), Occlusion(5, 5)])
def test_contract(method):
    check_explainer(method)


def test_bad_sizes():
    with pytest.raises(BadInput, match="window is 5"):
        Occlusion(cells=4, window=5)
    classifier = tiny_classifier()
    with pytest.raises(BadInput, match="do not fit"):
        Occlusion(cells=33)(classifier, tiny_batch(classifier))
