import copy
from dataclasses import dataclass, replace

import pytest
import torch
from robustness_cases import Slope, case_of, slow_ssim, trained, whole_batch
from scipy.stats import spearmanr
from torch import Tensor
from xai_bench_explainers.edge_map import EdgeMap
from xai_bench_explainers.grad_cam import GradCAM
from xai_bench_explainers.occlusion import Occlusion
from xai_bench_explainers.random_map import RandomMap
from xai_bench_metrics._contract import BAD_MAP
from xai_bench_metrics._explained_again import FLAT, NEW_BAD, NEW_FLAT
from xai_bench_metrics.cascading_randomization import CascadingRandomization

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.errors import BadInput, Unfit
from xai_bench.protocols import Batch
from xai_bench.running.workbench import Counter
from xai_bench.score_cache import ScoreCache
from xai_bench.seeding import derive
from xai_bench.spec import build
from xai_bench.testing import box_classifier, tiny_batch, tiny_classifier
from xai_bench.testing.watch import left_alone

FROM_LOGITS = ["7", "3", "1", "0"]
SSIM, SPEARMAN, ABSOLUTE = (f"randomization_{name}" for name in ("ssim", "spearman", "spearman_absolute"))


def slow_map(classifier: Classifier, names: list[str], batch: Batch, seed: int) -> Tensor:
    """The map of a network with these layers drawn again, from a fresh copy."""
    twin = copy.deepcopy(classifier)
    with torch.random.fork_rng(devices=[]):
        for name in names:
            torch.manual_seed(derive(seed, name))
            twin.model.get_submodule(name).reset_parameters()
    return Slope()(twin, batch)


@pytest.mark.parametrize(
    ("mode", "stages"),
    [
        ("cascade", [["7"], ["7", "3"], ["7", "3", "1"], FROM_LOGITS]),
        ("bottom_up", [["0"], ["0", "1"], ["0", "1", "3"], FROM_LOGITS]),
        ("independent", [["7"], ["3"], ["1"], ["0"]]),
    ],
)
def test_equals_the_definition(mode: str, stages: list[list[str]]) -> None:
    classifier = tiny_classifier()
    batch = whole_batch(classifier)
    result = CascadingRandomization(mode, seed=3)(case_of(classifier, batch, Slope()))
    own, random = Slope()(classifier, batch), slow_map(classifier, FROM_LOGITS, batch, 3)
    steps = [slow_map(classifier, names, batch, 3) for names in stages]
    assert result.x.tolist() == [0, 0.25, 0.5, 0.75, 1]
    for i in range(3):
        assert result.scores[SSIM][i].item() == pytest.approx(slow_ssim(own[i], random[i], 2.0), abs=1e-5)
        a, b = own[i].flatten(), random[i].flatten()
        assert result.scores[SPEARMAN][i].item() == pytest.approx(spearmanr(a, b).statistic, abs=1e-5)
        assert result.scores[ABSOLUTE][i].item() == pytest.approx(spearmanr(a.abs(), b.abs()).statistic, abs=1e-5)
        curve = [1, *(slow_ssim(own[i], step[i], 2.0) for step in steps)]
        assert result.curves[SSIM][i].tolist() == pytest.approx(curve, abs=1e-5)
        ranks = [1, *(spearmanr(a, step[i].flatten()).statistic for step in steps)]
        assert result.curves[SPEARMAN][i].tolist() == pytest.approx(ranks, abs=1e-5)


@pytest.mark.parametrize(("steps", "x"), [(1, [0, 1]), (3, [0, 0.25, 0.5, 1]), (99, [0, 0.25, 0.5, 0.75, 1])])
def test_layers_are_randomized_in_groups_and_the_end_is_the_same(steps: int, x: list[float]) -> None:
    classifier = tiny_classifier()
    case = case_of(classifier, whole_batch(classifier), Slope())
    found, finest = CascadingRandomization(steps=steps)(case), CascadingRandomization()(case)
    assert found.x.tolist() == x
    assert torch.equal(found.scores[SSIM], finest.scores[SSIM])
    assert torch.equal(found.curves[SSIM][:, -1], found.scores[SSIM])


@pytest.mark.parametrize("explainer", [EdgeMap(), RandomMap()])
def test_a_map_that_ignores_the_weights_stays_the_same(explainer: object) -> None:
    classifier, batch = trained()
    result = CascadingRandomization()(case_of(classifier, batch, explainer))
    for name in (SSIM, SPEARMAN, ABSOLUTE):
        assert result.scores[name].tolist() == pytest.approx([1] * 6)
    assert result.curves[SSIM].flatten().tolist() == pytest.approx([1] * 6 * 5)


def test_grad_cam_of_a_trained_network_changes() -> None:
    classifier, batch = trained()
    result = CascadingRandomization()(case_of(classifier, batch, GradCAM()))
    assert result.scores[SSIM].nanmean() < 0.5
    again, other = (CascadingRandomization(seed=seed)(case_of(classifier, batch, GradCAM())) for seed in (0, 1))
    assert torch.equal(result.scores[SSIM], again.scores[SSIM])
    assert not torch.equal(result.scores[SSIM], other.scores[SSIM])


def test_the_user_s_model_is_left_alone_and_all_model_calls_are_counted() -> None:
    classifier, batch = trained()
    classifier.train()
    classifier.model[0].weight.requires_grad_(False)
    classifier.model[3].weight.grad = torch.ones_like(classifier.model[3].weight)
    state = {k: v.clone() for k, v in classifier.state_dict().items()}
    case = case_of(classifier, batch, Slope())
    with left_alone("cascading_randomization", classifier, batch), Counter().on(classifier) as count:
        CascadingRandomization("independent")(case)
    assert all(torch.equal(v, state[k]) for k, v in classifier.state_dict().items())
    assert count.evaluations == 6 * (1 + 4 + 1) + 1  # its own map, four groups alone, all; one picture for the order
    assert CascadingRandomization("independent", steps=4).evaluations == 6


def test_answers_of_the_trained_network_are_not_taken_for_the_random_one() -> None:
    plain, batch = trained()
    cached, _ = trained()
    plain.engine, cached.engine = Engine(batch_size=4), Engine(batch_size=4, cache=ScoreCache())
    results = []
    for classifier in (plain, cached):
        case = case_of(classifier, batch, Occlusion(cells=5))
        results.append(CascadingRandomization(steps=2)(case))
        asked = classifier.engine.answered
        again = CascadingRandomization(steps=2)(case)
        assert torch.equal(again.scores[SSIM], results[-1].scores[SSIM])
    assert classifier.engine.answered == asked  # its own map was known; random networks have another engine
    assert torch.equal(results[0].scores[SSIM], results[1].scores[SSIM])
    assert results[0].scores[SSIM].mean() < 0.9


@dataclass(frozen=True)
class Fragile:
    """Its maps of other weights than the known ones break: NaN in the first, 7 everywhere in the second."""

    known: str

    def __call__(self, classifier: Classifier, batch: Batch) -> Tensor:
        maps = batch.images.mean(1).clone()
        if classifier.weights_hash() != self.known:
            maps[0, 0, 0], maps[1] = torch.nan, 7.0
        return maps


def test_unusable_maps_of_random_networks_are_excluded_and_constant_ones_marked() -> None:
    classifier = tiny_classifier()
    result = CascadingRandomization()(case_of(classifier, tiny_batch(classifier), Fragile(classifier.weights_hash())))
    for name in result.scores:
        assert result.reason(name, 0) == NEW_BAD
        assert result.scores[name][0].isnan()
        assert result.reason(name, 2) is None
        assert result.scores[name][2] == pytest.approx(1)
    assert result.reason(SSIM, 1) == NEW_FLAT
    assert result.scores[SSIM][1] < 0.5
    assert (result.reason(SPEARMAN, 1), result.reason(ABSOLUTE, 1)) == (FLAT, FLAT)
    assert result.curves[SSIM].isnan().any(1).tolist() == [True, False, False, False]


def test_an_unusable_map_of_the_trained_network_is_invalid() -> None:
    classifier = tiny_classifier()
    case = case_of(classifier, tiny_batch(classifier), Fragile("another"))
    clean = replace(case, saliency=torch.rand(4, 32, 48, generator=torch.Generator().manual_seed(0)))
    assert CascadingRandomization(steps=1)(clean).reasons[0] == BAD_MAP


def test_a_network_without_weights_to_draw_is_unfit() -> None:
    classifier = box_classifier(slice(4, 20), slice(8, 32))  # one number: its permutation is itself
    with pytest.raises(Unfit, match="no weights"):
        CascadingRandomization()(case_of(classifier, tiny_batch(classifier), Slope()))
    del classifier.model.gain
    classifier.model.gain = 4.0
    with pytest.raises(Unfit, match="no weights"):
        CascadingRandomization()(case_of(classifier, tiny_batch(classifier), EdgeMap()))


def test_impossible_fields_are_refused() -> None:
    with pytest.raises(BadInput, match="expected 1 group"):
        CascadingRandomization(steps=0)
    with pytest.raises(BadInput, match="sideways"):
        build("metric", {"name": "cascading_randomization", "mode": "sideways"})
