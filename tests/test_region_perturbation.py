from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from removal_cases import SIZE, contributions, linear, make_case, noise, score_of
from torch import Tensor
from xai_bench_metrics._contract import BAD_MAP, BAD_MODEL, CONSTANT
from xai_bench_metrics.region_perturbation import RegionPerturbation, superpixels

from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.zero import Zero
from xai_bench.protocols import Case
from xai_bench.seeding import generator
from xai_bench.testing import check_metric, tiny_batch, tiny_classifier

NAME = "region_perturbation"


def slow_curve(metric: RegionPerturbation, case: Case, n: int) -> list[float]:
    """Word for word: order the regions by their mean relevance, replace one after another, and ask each picture alone.

    Regions are numbered by their names, and those with equal relevance go in the drawn order.
    """
    batch, content = case.batch, case.batch.content[n]
    rows, columns = content.any(1).nonzero()[:, 0].tolist(), content.any(0).nonzero()[:, 0].tolist()
    number = int(metric.segmentation[5:-1])
    labels = superpixels(batch.images[n : n + 1], content[None], number)[0]
    regions: dict[int, list[tuple[int, int]]] = {}
    for row, column in content.nonzero().tolist():
        name = int(labels[row, column])
        if metric.segmentation.startswith("grid"):
            at = [int((line.index(k) + 0.5) * number / len(line)) for line, k in ((rows, row), (columns, column))]
            name = at[0] * number + at[1]
        regions.setdefault(name, []).append((row, column))
    names = sorted(regions)
    mean = {r: np.mean([case.saliency[n][p].item() for p in regions[r]]) for r in names}
    tie = torch.randperm(len(names), generator=generator(metric.seed, batch.ids[n])).tolist()
    order = sorted((names[t] for t in tie), key=lambda r: -mean[r])[: metric.regions]
    now, other = batch.images[n].clone(), metric.imputer(batch)[n]
    y = [score_of(case, n, now, metric.score)]
    for region in order:
        for row, column in regions[region]:
            now[:, row, column] = other[:, row, column]
        y.append(score_of(case, n, now, metric.score))
    return y


@settings(max_examples=15)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["probability", "logit"]),
    st.sampled_from(["grid(1)", "grid(3)", "grid(4)", "grid(11)", "slic(6)"]),
    st.sampled_from([None, 1, 5]),
    st.booleans(),
)
def test_equals_the_definition(seed: int, score: str, segmentation: str, regions: int | None, gaps: bool) -> None:
    random = torch.Generator().manual_seed(seed)
    content = torch.ones(2, SIZE, SIZE, dtype=torch.bool)
    content[1, :, :3] = False  # letterboxed
    if gaps:  # some cells of the second picture have no pixel, and so it has fewer regions
        content[1, 2:, 5:] = False
    case = make_case(torch.randint(-1, 2, (2, SIZE, SIZE), generator=random).float(), content=content, channels=3)
    metric = RegionPerturbation(Blur(40.0), score, seed, segmentation, regions)
    result = metric(case)
    for n in range(2):
        y = slow_curve(metric, case, n)
        aopc = sum(y[0] - after for after in y) / len(y)
        assert result.scores[NAME][n].item() == pytest.approx(aopc, abs=1e-5)
        at = np.linspace(0, 1, metric.points + 1)
        assert result.x.tolist() == pytest.approx(at.tolist())
        expected = np.interp(at, np.linspace(0, 1, len(y)), y)
        assert result.curves[NAME][n].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_equals_quantus_where_patches_fit() -> None:
    from quantus.metrics.faithfulness.region_perturbation import RegionPerturbation as Theirs

    case = make_case(noise(3, 1))

    class Peer:
        def shape_input(self, x: np.ndarray, shape: tuple[int, ...], **_: bool) -> np.ndarray:
            return x.reshape(shape)

        def predict(self, x: np.ndarray) -> np.ndarray:
            return case.classifier.probabilities(case.classifier(torch.from_numpy(x).float()).detach()).numpy()

    theirs = Theirs(patch_size=2, regions_evaluation=10, perturb_baseline=0.0, disable_warnings=True)
    falls = theirs.evaluate_batch(
        Peer(), case.batch.images.numpy(), case.batch.targets.numpy(), case.saliency[:, None].numpy()
    )
    result = RegionPerturbation(Zero(), segmentation="grid(4)", regions=10)(case)
    curve = result.curves[NAME]
    assert np.allclose(curve[:, :1] - curve[:, 1:], falls, atol=1e-6)
    assert np.allclose(result.scores[NAME], falls.sum(1) / 11, atol=1e-6)  # Samek's mean counts the picture itself


def test_a_linear_model_falls_by_the_sorted_sums_of_its_patches() -> None:
    case = make_case(torch.zeros(1, SIZE, SIZE))
    told = contributions(case)
    result = RegionPerturbation(Zero(), "logit", segmentation="grid(4)")(replace(case, saliency=told))
    sums = told.view(4, 2, 4, 2).sum((1, 3)).flatten().sort(descending=True).values
    falls = torch.cat([torch.zeros(1), sums.cumsum(0)]) / 2
    assert (result.curves[NAME][0, 0] - result.curves[NAME][0]).tolist() == pytest.approx(falls.tolist(), abs=1e-5)
    assert result.scores[NAME].item() == pytest.approx(falls.mean().item(), abs=1e-5)


@pytest.mark.parametrize("segmentation", ["grid(4)", "slic(12)"])
@pytest.mark.parametrize("regions", [None, 5])
def test_the_true_contributions_beat_random_reversed_and_constant_maps(segmentation: str, regions: int | None) -> None:
    case = make_case(torch.zeros(6, SIZE, SIZE))
    oracle = contributions(case)
    metric = RegionPerturbation(Zero(), segmentation=segmentation, regions=regions)
    controls = (-oracle, noise(6, 4), torch.zeros(6, SIZE, SIZE))
    cases = [replace(case, saliency=m) for m in (oracle, *controls)]
    best, *others = (r.scores[NAME] for r in metric.many(cases))
    assert metric.scores[NAME].better == "higher"
    assert all((best > other).all() for other in others)


def test_superpixels_follow_edges_inside_the_content() -> None:
    image = torch.zeros(1, 1, 24, 24)
    image[..., 13:] = 1
    content = torch.ones(1, 24, 24, dtype=torch.bool)
    content[:, :, :2] = False
    image[:, :, :, :2] = 5.0  # what padding holds is not looked at
    labels = superpixels(image, content, 8)[0, :, 2:]
    assert 4 <= len(labels.unique()) <= 12
    assert not set(labels[:, :11].unique().tolist()) & set(labels[:, 11:].unique().tolist())
    assert torch.equal(labels, superpixels(image[..., 2:], content[..., 2:], 8)[0])


def test_ties_depend_on_seed_and_picture_only() -> None:
    case, metric = make_case(torch.zeros(3, SIZE, SIZE)), RegionPerturbation(segmentation="grid(3)")
    plain, turned = metric(case).curves[NAME], [2, 0, 1]
    batch = case.batch
    moved = replace(batch, images=batch.images[turned], ids=tuple(batch.ids[n] for n in turned))
    assert torch.equal(metric(replace(case, batch=moved)).curves[NAME], plain[turned])
    assert not torch.equal(replace(metric, seed=1)(case).curves[NAME], plain)


def test_many_maps_share_end_points_and_a_padded_batch_costs_nothing() -> None:
    classifier = linear(batch_size=11)
    case = make_case(noise(4, 0), classifier)
    index = [0, 1, 2, 3, 3]
    batch = case.batch
    batch = replace(
        batch, images=batch.images[index], targets=batch.targets[index], ids=tuple(batch.ids[n] for n in index),
        content=batch.content[index], spacing_mm=batch.spacing_mm[index],
    )  # fmt: skip
    maps = [noise(4, seed)[index] for seed in range(3)]
    cases = [Case(classifier, batch, None, one, None, ("not_read",) * 5) for one in maps]
    metric = RegionPerturbation(segmentation="grid(3)")
    single = [metric(c) for c in cases]
    classifier.engine.answered = 0
    shared = metric.many(cases)
    assert classifier.engine.answered == 4 * (2 + 3 * 8)
    assert metric.evaluations == 2 + 8
    for one, result in zip(single, shared, strict=True):
        assert torch.equal(one.scores[NAME], result.scores[NAME])
        assert torch.equal(one.curves[NAME], result.curves[NAME])


def test_a_picture_with_fewer_regions_asks_no_more_than_it_has() -> None:
    content = torch.ones(2, SIZE, SIZE, dtype=torch.bool)
    content[1, :, 2:] = False
    classifier = linear()
    RegionPerturbation(segmentation="grid(8)")(make_case(noise(2, 0), classifier, content))
    assert classifier.engine.answered == (64 + 1) + (16 + 1)


def test_unusable_and_constant_maps_and_models() -> None:
    maps = noise(3, 3)
    maps[1, 0, 0], maps[2] = float("nan"), -1.0
    case = make_case(maps)
    metric = RegionPerturbation(segmentation="grid(4)")
    assert metric(case).reasons == (None, BAD_MAP, CONSTANT)
    with torch.no_grad():
        case.classifier.model.weights[0, 0] = float("nan")
    broken = metric(replace(case, saliency=noise(3, 3)))
    assert broken.reasons == (BAD_MODEL,) * 3
    parts: list[Tensor] = [broken.scores[NAME], broken.curves[NAME]]
    assert all(values.isnan().all() for values in parts)


@pytest.mark.parametrize("fields", [{"segmentation": "slic(9)"}, {"segmentation": "grid(40)", "regions": 6}])
def test_the_contract_holds_with_superpixels_and_with_some_regions(fields: dict[str, str | int]) -> None:
    assert not tiny_batch(tiny_classifier()).content.all()  # a letterboxed picture is among them
    check_metric(RegionPerturbation(score="logit", **fields))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"segmentation": "grid(0)"}, r"'grid\(0\)'; expected 'grid\(14\)' or"),
        ({"segmentation": "felzenszwalb"}, "segmentation is 'felzenszwalb'"),
        ({"regions": 0}, "regions is 0; expected 1 or more"),
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, str | int], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        RegionPerturbation(**fields)
