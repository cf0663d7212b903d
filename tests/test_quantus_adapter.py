"""Quantus by name: its own numbers for each picture, its faults with it, and what it refuses as a reason."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from metric_cases import make_case
from xai_bench_explainers.random_map import RandomMap
from xai_bench_metrics.quantus_adapter import Quantus, classes, mean_of

from xai_bench.errors import BadInput
from xai_bench.listing import family_of
from xai_bench.protocols import Case
from xai_bench.registry import METRICS
from xai_bench.seeding import generator
from xai_bench.spec import build, spec_of
from xai_bench.testing import box_classifier, check_metric, tiny_batch, tiny_classifier, tiny_regions
from xai_bench.testing.metrics import Slope
from xai_bench.testing.watch import left_alone

quantus = pytest.importorskip("quantus", reason="the package quantus is not installed")


def case_of(classifier=None, explainer=None, region=True) -> Case:
    """Noise as maps, against boxes."""
    classifier = classifier or tiny_classifier()
    batch = tiny_batch(classifier)
    maps = torch.stack([torch.rand(32, 48, generator=generator(0, i)) for i in batch.ids]) * batch.content
    shown = tiny_regions(batch) if region else None
    return Case(classifier, batch, explainer or Slope(), maps, shown, ("drawn",) * 4)


@pytest.mark.parametrize("name", ["RelevanceRankAccuracy", "PointingGame", "AUC", "RelevanceMassAccuracy"])
def test_localization_equals_quantus_picture_by_picture(name: str) -> None:
    case = case_of()
    found = Quantus(name)(case).scores[name]
    theirs = [
        getattr(quantus, name)(disable_warnings=True)(
            model=None, x_batch=case.batch.images[i : i + 1].numpy(), y_batch=np.array([0]),
            a_batch=case.saliency[i : i + 1].numpy(), s_batch=case.region[i : i + 1, None].numpy(),
        )[0]
        for i in range(4)
    ]  # fmt: skip
    assert found.tolist() == pytest.approx([float(v) for v in theirs])


def test_arguments_reach_the_class_and_complexity_needs_no_model() -> None:
    case = case_of(region=False)
    found = Quantus("EffectiveComplexity", {"eps": 0.5})(case).scores["EffectiveComplexity"]
    peaks = case.saliency / case.saliency.amax((1, 2), keepdim=True)
    assert found.tolist() == (peaks > 0.5).sum((1, 2)).tolist()


def test_the_explainer_explains_again_every_picture_under_its_own_id_and_target() -> None:
    """Of a random map nothing changes with the picture or the class: it is that of the id."""
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    steady = RandomMap(3)
    case = replace(case_of(classifier, steady, region=False), saliency=steady(classifier, batch))
    few = {"nr_samples": 3}
    found = Quantus("MaxSensitivity", few)(case).scores["MaxSensitivity"]
    assert found[:-1].tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert Quantus("MaxSensitivity", few)(case_of(region=False)).scores["MaxSensitivity"].min() > 1e-3
    assert Quantus("RandomLogit")(case).scores["RandomLogit"][:-1].tolist() == pytest.approx([1.0] * 3)


def test_randomization_runs_on_a_copy_and_layers_become_their_mean() -> None:
    case = case_of(region=False)
    with left_alone("quantus", case.classifier, case.batch):
        found = Quantus("MPRT")(case)
    layers = Quantus("MPRT", {"return_average_correlation": True})(case)
    assert torch.allclose(found.scores["MPRT"], layers.scores["MPRT"])
    assert found.scores["MPRT"].isfinite().all()


def test_pixel_flipping_asks_the_model_and_a_curve_becomes_its_mean() -> None:
    classifier = box_classifier(slice(8, 16), slice(12, 24))
    case = case_of(classifier, region=False)
    box = torch.zeros(32, 48)
    box[8:16, 12:24] = 1
    found = {}
    for name, maps in (("right", box), ("wrong", 1 - box)):
        noise = maps + 0.01 * case.saliency
        bright = replace(case, saliency=noise, batch=replace(case.batch, targets=torch.ones(4, dtype=torch.long)))
        result = Quantus("PixelFlipping", {"features_in_step": 96})(bright)
        found[name] = result.scores["PixelFlipping"]
    assert (found["right"] < found["wrong"]).all()


def test_what_quantus_refuses_is_excluded_in_its_words() -> None:
    case = case_of(region=False)
    maps = case.saliency.clone()
    maps[0] = 3.0
    maps[1] = -maps[1] - 1
    maps[2, 4, 4] = torch.nan
    result = Quantus("Sparseness")(replace(case, saliency=maps))
    texts = [r.text if r else "" for r in result.reasons]
    assert result.scores["Sparseness"].isnan().tolist() == [True, True, True, False]
    assert texts[0] == "constant map, which Quantus refuses"
    assert texts[1].startswith("Sparseness refuses it: AssertionError: Attributions should not all be less than zero")
    assert texts[2] == "map holds NaN or infinite values"


def test_its_known_faults_come_with_it_and_stand_where_the_list_shows_them() -> None:
    """F6: a share above 1 from a signed map."""
    saliency = torch.tensor([[[1.0, -0.9], [0.0, 0.0]]])
    region = torch.tensor([[[True, False], [False, False]]])
    found = Quantus("RelevanceMassAccuracy")(with_classifier(make_case(saliency, region)))
    assert found.scores["RelevanceMassAccuracy"].item() == pytest.approx(10.0)
    assert "F1 to F7 and F14 of docs/faults.md" in METRICS["quantus"].summary


def with_classifier(case: Case) -> Case:
    return replace(case, classifier=tiny_classifier())


def test_direction_family_and_need_of_a_region_are_those_that_the_class_declares() -> None:
    for name, better, family in [
        ("Sparseness", "higher", "complexity"), ("MaxSensitivity", "lower", "stability"),
        ("PointingGame", "higher", "localization"), ("ROAD", "lower", "faithfulness"), ("MPRT", "lower", "stability"),
        ("Completeness", "higher", "faithfulness"),
    ]:  # fmt: skip
        made = Quantus(name)
        assert (made.scores[name].better, family_of(made)) == (better, family)
        assert made.needs_region == (family == "localization")


def test_a_name_or_a_table_stands_in_a_study_and_every_class_can_be_made() -> None:
    assert build("metric", "quantus:Sparseness") == Quantus("Sparseness")
    made = build("metric", {"name": "quantus", "metric": "MaxSensitivity", "arguments": {"nr_samples": 3}})
    assert (made.label, build("metric", spec_of(made))) == ("quantus:MaxSensitivity", made)
    assert len(classes()) > 25
    for name in classes():
        assert Quantus(name).scores


def test_the_contract_holds_for_a_stability_metric() -> None:
    check_metric(Quantus("AvgSensitivity", {"nr_samples": 2}))


def test_nested_values_become_their_mean() -> None:
    assert mean_of({"a": [1.0, 3.0], "b": np.array([[5.0]])}) == pytest.approx(3.0)
    assert mean_of([True, False]) == 0.5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"metric": "PointingGames"}, r"metric 'PointingGames' is not offered; choose .*Did you mean 'PointingGame'"),
        ({"metric": "Consistency"}, r"Consistency compares the pictures of a batch with each other"),
        ({"metric": "Focus"}, r"Focus needs mosaics of several pictures; choose another"),
        ({"arguments": {"absolute": True}}, r"RelevanceRankAccuracy has no argument 'absolute' here; it has abs"),
        ({"arguments": {"return_aggregate": True}}, r"has no argument 'return_aggregate' here"),
    ],
)
def test_a_wrong_field_is_one_sentence(fields: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Quantus(**fields)
