"""The contract suites of xai_bench, and what is known by hand."""

import torch
from own_plugin.gradient_times_input import GradientTimesInput
from own_plugin.peak_area import PeakArea

from xai_bench.protocols import Case
from xai_bench.testing import box_classifier, check_explainer, check_metric, tiny_batch


def test_contracts():
    check_explainer(GradientTimesInput())
    check_metric(PeakArea())


def test_gradient_times_input_of_a_linear_model_is_complete():
    """The box model's logit is 4 * (mean brightness in the box - 0.5): the map sums to the logit plus 2."""
    classifier = box_classifier(slice(4, 12), slice(10, 30))
    batch = tiny_batch(classifier)
    batch.targets[:] = 1
    maps = GradientTimesInput()(classifier, batch)
    assert torch.allclose(maps.sum((1, 2)), classifier(batch.images)[:, 1].detach() + 2, atol=1e-5)
    assert not maps[:, 12:].any()


def test_peak_area_counts_the_film_and_not_its_padding():
    classifier = box_classifier(slice(0, 4), slice(0, 4))
    batch = tiny_batch(classifier, count=2)  # the second film has 8 columns of padding on each side
    maps = torch.zeros(2, 32, 48)
    maps[:, 8:16, 8:16], maps[:, 20, 20] = 1.0, 0.4
    case = Case(classifier, batch, GradientTimesInput(), maps, None, ("not_read", "not_read"))
    film = torch.tensor([32.0 * 48, 32 * 32])
    assert torch.allclose(PeakArea()(case).scores["peak_area"], 64 / film)
    assert torch.allclose(PeakArea(share=0.3)(case).scores["peak_area"], 65 / film)
