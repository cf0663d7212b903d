from dataclasses import replace

import pytest
import torch
from robustness_cases import Brightness, Slope, Watched, case_of, slow_copies, trained
from torch import Tensor
from xai_bench_explainers.center_gaussian import CenterGaussian
from xai_bench_explainers.random_map import RandomMap
from xai_bench_metrics._explained_again import NEW_BAD
from xai_bench_metrics._noisy_copies import NO_MAP
from xai_bench_metrics.sensitivity import Sensitivity

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.pictures import pad, select
from xai_bench.protocols import Batch
from xai_bench.testing import tiny_batch, tiny_classifier
from xai_bench.testing.watch import left_alone

MAX, AVERAGE = "max_sensitivity", "average_sensitivity"


def slow_changes(metric: Sensitivity, classifier: Classifier, batch: Batch, n: int) -> list[float]:
    """||a(x') - a(x)|| / ||a(x)|| of each copy, explained one by one."""
    one, content = select(batch, torch.tensor([n])), batch.content[n]
    own = Slope()(classifier, one)[0][content].double()
    found = []
    for copy in slow_copies(metric, batch, n):
        new = Slope()(classifier, replace(one, images=copy[None]))[0][content].double()
        found.append(((new - own).norm() / own.norm()).item())
    return found


@pytest.mark.parametrize(("samples", "radius"), [(1, 0.02), (7, 0.3)])
def test_equals_the_definition(samples: int, radius: float) -> None:
    classifier = tiny_classifier()
    batch, metric = tiny_batch(classifier), Sensitivity(samples, radius, seed=4)  # the last is letterboxed
    result = metric(case_of(classifier, batch, Slope()))
    for n in range(4):
        changes = slow_changes(metric, classifier, batch, n)
        assert result.scores[MAX][n].item() == pytest.approx(max(changes), rel=1e-4)
        assert result.scores[AVERAGE][n].item() == pytest.approx(sum(changes) / samples, rel=1e-4)


def captum_s(metric: Sensitivity, classifier: Classifier, batch: Batch, n: int) -> float:
    from captum.metrics import sensitivity_max

    def explain(images: tuple[Tensor, ...] | Tensor) -> tuple[Tensor, ...]:
        pictures = images[0] if isinstance(images, tuple) else images
        rows = select(batch, torch.full((len(pictures),), n))
        return (Slope()(classifier, replace(rows, images=pictures)),)

    def perturb(_: Tensor) -> Tensor:
        return slow_copies(metric, batch, n)

    pictures, count = batch.images[n : n + 1], metric.samples
    return sensitivity_max(explain, pictures, perturb_func=perturb, n_perturb_samples=count).item()


def test_equals_captum_on_the_same_perturbations() -> None:
    classifier, batch = trained()
    metric = Sensitivity(samples=6, radius=0.1)
    found = metric(case_of(classifier, batch, Slope())).scores[MAX].tolist()
    assert found == pytest.approx([captum_s(metric, classifier, batch, n) for n in range(6)], rel=1e-4)


def test_the_copies_stay_pictures_and_padding_stays_padding() -> None:
    classifier, seen = tiny_classifier(), []
    batch = tiny_batch(classifier)
    Sensitivity(samples=3, radius=0.5)(case_of(classifier, batch, Watched(Slope(), seen)))
    copies, rest = seen[2:], seen[:2]  # the case's own map and the metric's own come first
    assert all(torch.equal(b.images, batch.images) for b in rest)
    assert len(copies) == 3
    for noisy in copies:
        assert 0 <= noisy.images.min() < noisy.images.max() <= 1
        where = {name: i for i, name in enumerate(batch.ids)}
        original = select(batch, torch.tensor([where[name] for name in noisy.ids]))
        inside = noisy.content[:, None]
        assert torch.equal(noisy.images.masked_fill(inside, 0), original.images.masked_fill(inside, 0))
        assert (noisy.images - original.images).abs().max() <= 0.5
        assert torch.equal(noisy.targets, original.targets)


def test_copies_of_several_pictures_fill_batches_and_padding_costs_nothing() -> None:
    classifier, seen, told = tiny_classifier(), [], []
    classifier.engine = Engine(progress=told.append)
    batch = tiny_batch(classifier, 3)
    case = case_of(classifier, pad(batch, 5), Watched(Slope(), seen))
    seen.clear()
    padded = Sensitivity(samples=4)(case)
    assert [len(b) for b in seen] == [5] * 4  # its own and 12 copies in batches of 5
    assert told == [5] * 4
    plain = Sensitivity(samples=4)(case_of(classifier, batch, Slope()))
    for name in plain.scores:
        expected = plain.scores[name].tolist()
        assert padded.scores[name].tolist() == pytest.approx([*expected, expected[2], expected[2]], rel=1e-4)


def test_a_randomized_method_keeps_its_chance_and_a_fixed_map_does_not_move() -> None:
    classifier, batch = trained()
    for explainer in (RandomMap(), CenterGaussian()):
        result = Sensitivity(samples=3)(case_of(classifier, batch, explainer))
        assert result.scores[MAX].tolist() == [0] * 6


def test_scale_means_nothing_and_more_noise_moves_more() -> None:
    classifier, batch = trained()
    one, large = (Sensitivity(samples=3)(case_of(classifier, batch, Brightness(scale))) for scale in (1.0, 300.0))
    assert one.scores[MAX].tolist() == pytest.approx(large.scores[MAX].tolist(), rel=1e-4)
    more = Sensitivity(samples=3, radius=0.2)(case_of(classifier, batch, Brightness()))
    assert (more.scores[AVERAGE] > 5 * one.scores[AVERAGE]).all()
    assert (one.scores[MAX] >= one.scores[AVERAGE]).all()


def test_maps_of_zeros_and_unusable_new_maps_are_excluded() -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)

    def explain(_: Classifier, shown: Batch) -> Tensor:
        maps = torch.ones(4, 8, 12)
        for i, name in enumerate(shown.ids):
            changed = not torch.equal(shown.images[i], batch.images[batch.ids.index(name)])
            maps[i] = 0 if name == "picture 0" else torch.nan if name == "picture 2" and changed else 1
        return maps

    result = Sensitivity(samples=2)(case_of(classifier, batch, explain))
    for name in result.scores:
        assert result.reason(name, 0) == NO_MAP
        assert result.reason(name, 2) == NEW_BAD
        assert result.scores[name].isnan().tolist() == [True, False, True, False]


def test_the_user_s_model_is_left_alone() -> None:
    classifier, batch = trained()
    classifier.train()
    with left_alone("sensitivity", classifier, batch):
        Sensitivity(samples=2)(case_of(classifier, batch, Slope()))


@pytest.mark.parametrize("fields", [{"samples": 0}, {"radius": 0.0}, {"radius": 1.5}])
def test_impossible_fields_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="1 sample or more"):
        Sensitivity(**fields)
