from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from removal_cases import SIZE, contributions, linear, make_case, noise, score_of
from torch import Tensor, nn
from xai_bench_metrics._contract import BAD_MAP, BAD_MODEL, CONSTANT
from xai_bench_metrics.road import NO_CLASS, Road

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.noisy_linear import NoisyLinear
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import KEPT_CLASSES, Scene, evaluate_all
from xai_bench.protocols import Batch, Case
from xai_bench.samples import Head
from xai_bench.score_cache import ScoreCache
from xai_bench.seeding import generator
from xai_bench.testing import check_metric

SCORES = ("road", "road_accuracy")


def slow_means(metric: Road, case: Case, n: int) -> dict[str, float]:
    """Word for word: remove each share of the pixels, best and worst first; is the class predicted, and how surely?"""
    image, other = case.batch.images[n], metric.imputer(case.batch)[n]
    content, values = case.batch.content[n].flatten(), case.saliency[n].flatten()
    target = int(case.batch.targets[n])
    tie = torch.randperm(len(values), generator=generator(metric.seed, case.batch.ids[n])).tolist()
    best = sorted((p for p in tie if content[p]), key=lambda p: -values[p].item())
    counts = [(k * len(best) + metric.steps // 2) // metric.steps for k in range(1, metric.steps)]
    removed = {"morf": [best[:k] for k in counts], "lerf": [best[k:] for k in counts]}
    means = {}
    for way, shares in removed.items():
        sure, right = [], []
        for pixels in shares:
            now = image.clone()
            for p in pixels:
                now[:, p // SIZE, p % SIZE] = other[:, p // SIZE, p % SIZE]
            sure.append(score_of(case, n, now, metric.score))
            right.append(float(case.classifier(now[None]).detach()[0].argmax() == target))
        means[f"road_{way}"], means[f"road_accuracy_{way}"] = np.mean(sure), np.mean(right)
    return means | {name: (means[f"{name}_lerf"] - means[f"{name}_morf"]) / 2 for name in SCORES}


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from(["probability", "logit"]), st.integers(2, 40))
def test_equals_the_definition(seed: int, score: str, steps: int) -> None:
    random = torch.Generator().manual_seed(seed)
    content = torch.rand(2, SIZE, SIZE, generator=random) < 0.8
    maps = torch.randint(-2, 3, (2, SIZE, SIZE), generator=random).float()
    case = make_case(maps, linear(seed), content, channels=3)
    metric = Road(imputer=Blur(40.0), steps=steps, score=score, seed=seed)
    result = metric(case)
    for n in range(2):
        expected = slow_means(metric, case, n)
        assert {name: float(result.scores[name][n]) for name in expected} == pytest.approx(expected, abs=1e-5)


def test_equals_pytorch_grad_cam_without_noise() -> None:
    """Pictures of 100 pixels: only there its percentiles are whole pixels. It states which share stays."""
    from pytorch_grad_cam.metrics.perturbation_confidence import PerturbationConfidenceMetric as Confidence
    from pytorch_grad_cam.metrics.perturbation_confidence import RemoveLeastRelevantFirst, RemoveMostRelevantFirst
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    maps = torch.rand(3, 10, 10, generator=torch.Generator().manual_seed(3))
    case = make_case(maps, linear(size=10))
    result = Road(imputer=NoisyLinear(noise=0.0))(case)

    def model(images: Tensor) -> Tensor:
        return case.classifier.probabilities(case.classifier(images))

    for way, remove in (("morf", RemoveMostRelevantFirst), ("lerf", RemoveLeastRelevantFirst)):
        for at, share in enumerate(range(10, 100, 10)):
            peer = Confidence(remove(100 - share, NoisyLinearImputer(noise=0)))
            answer = peer(case.batch.images, maps.numpy(), [lambda p: p[1]] * 3, model, return_diff=False)
            assert result.curves[f"road_{way}"][:, at].tolist() == pytest.approx(answer.tolist(), abs=1e-4)
    assert result.x.tolist() == pytest.approx([share / 100 for share in range(10, 100, 10)])


def test_f4_quantus_counts_its_first_batch_only_and_every_picture_counts_here() -> None:
    from quantus.metrics.faithfulness.road import ROAD

    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean((1, 2, 3))
            return torch.stack([mean - 0.5, 0.5 - mean], 1)

    images, maps = torch.cat([torch.full((2, 1, 6, 6), 0.9), torch.zeros(2, 1, 6, 6)]), noise(4, 0)[:, :6, :6]
    images = images + 0.01 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    blank = np.zeros(4, int)
    theirs = {
        size: ROAD(percentages=[10], noise=0.0, disable_warnings=True)(
            Bright().eval(), images.numpy(), blank, maps[:, None].numpy(), batch_size=size, device="cpu"
        )[10]
        for size in (2, 4)
    }
    assert theirs == {2: 1.0, 4: 0.5}  # the second batch, of dark pictures, does not count

    classifier = Classifier(Bright(), [Head("light", ("bright", "dark"))])
    shown, spacing = torch.ones(4, 6, 6, dtype=torch.bool), torch.ones(4, 2)
    whole = Batch(images, torch.zeros(4, dtype=torch.long), tuple("abcd"), shown, None, spacing)
    halves = [
        Batch(images[at], whole.targets[at], whole.ids[at], shown[at], None, spacing[at])
        for at in (slice(0, 2), slice(2, 4))
    ]
    metric = Road()
    together = metric(Case(classifier, whole, None, maps, None, ("not_read",) * 4))
    parts = metric.many(
        [
            Case(classifier, b, None, m, None, ("not_read",) * 2)
            for b, m in zip(halves, (maps[:2], maps[2:]), strict=True)
        ]
    )
    assert together.scores["road_accuracy_morf"].tolist() == [1, 1, 0, 0]
    for name in metric.scores:
        assert torch.equal(torch.cat([part.scores[name] for part in parts]), together.scores[name])


@pytest.mark.parametrize("classes", [2, 3, KEPT_CLASSES + 4])
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
def test_what_is_predicted_for_any_number_of_classes(classes: int, link: str) -> None:
    """Of many classes the winner may have a probability below 1/2; an answer of another head does not matter."""
    heads = [Head("first", ("a", "b"), "softmax"), Head("second", tuple(f"c{i}" for i in range(classes)), link)]
    width = 2 + classes
    weights = torch.randn(width, 16, generator=torch.Generator().manual_seed(classes))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, width, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(weights)
    classifier = Classifier(model, heads)
    images = torch.rand(width, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    ids, content = tuple(map(str, range(width))), torch.ones(width, 4, 4, dtype=torch.bool)
    batch = Batch(images, torch.arange(width), ids, content, None, torch.ones(width, 2))
    scene = Scene.of(batch, torch.arange(16).view(1, 4, 4).expand(width, -1, -1), Zero())
    keep = torch.rand(width, 9, 16, generator=torch.Generator().manual_seed(1)) < 0.5
    found = evaluate_all(classifier, scene, keep, "predicted")
    for n in range(width):
        for m in range(9):
            logits = (images[n].flatten() * keep[n, m]) @ weights.T
            part, place = (logits[:2], n) if n < 2 else (logits[2:], n - 2)
            votes = {"softmax": part.argmax() == place, "sigmoid": part[place] > 0, "identity": torch.tensor(np.nan)}
            expected = votes["softmax" if n < 2 else link].item()
            assert found[n, m].item() == expected or (np.isnan(expected) and found[n, m].isnan())


def test_a_raw_output_is_no_class_and_only_the_accuracy_is_excluded() -> None:
    case = make_case(noise(2, 0))
    classifier = Classifier(case.classifier.model, [Head("angle", ("left", "right"), "identity")])
    result = Road(score="logit")(replace(case, classifier=classifier))
    for name in Road().scores:
        why = {result.reason(name, n) for n in range(2)}
        assert why == ({NO_CLASS} if "accuracy" in name else {None})
        assert result.scores[name].isnan().all() == ("accuracy" in name)


def test_the_true_contributions_beat_random_reversed_and_constant_maps() -> None:
    classifier = linear(1)
    case = make_case(torch.zeros(8, SIZE, SIZE), classifier)
    with torch.no_grad():  # else some pictures are never called `yes`
        classifier.model.weights.add_(0.02)
    oracle, metric = contributions(case), Road(imputer=Zero())
    controls = (-oracle, noise(8, 4), torch.zeros(8, SIZE, SIZE), oracle.roll(1, 0))
    best, *others = metric.many([replace(case, saliency=m) for m in (oracle, *controls)])
    for name, info in metric.scores.items():
        sign = 1 if info.better == "higher" else -1
        for other in others:
            gain = sign * (best.scores[name] - other.scores[name])
            assert (gain >= 0).all() if "accuracy" in name else (gain > 0).all()
        assert (sign * (best.scores[name] - others[0].scores[name]) > 0.5).all()


def test_the_default_imputer_hides_with_its_neighbors_and_seeded_noise() -> None:
    metric = Road()
    assert metric.imputer == NoisyLinear(noise=0.01)
    case = make_case(noise(3, 1))
    first, again = metric(case), metric(case)
    other = replace(metric, imputer=NoisyLinear(seed=1))(case)
    assert torch.equal(first.curves["road_morf"], again.curves["road_morf"])
    assert not torch.equal(first.curves["road_morf"], other.curves["road_morf"])
    assert torch.allclose(first.curves["road_morf"], other.curves["road_morf"], atol=0.1)


def test_both_kinds_of_score_come_from_the_same_answers_and_many_maps_give_the_same_bits() -> None:
    classifier = linear(batch_size=11)
    case = make_case(noise(4, 0), classifier)
    cases = [case, *(replace(case, saliency=noise(4, seed)) for seed in (1, 2))]
    metric = Road(imputer=Blur(40.0))
    single = [metric(c) for c in cases]
    classifier.engine.cache, classifier.engine.answered = ScoreCache(), 0
    shared = metric.many(cases)
    assert classifier.engine.answered == 3 * 4 * metric.evaluations == 3 * 4 * 18
    for one, result in zip(single, shared, strict=True):
        assert all(torch.equal(one.scores[name], result.scores[name]) for name in metric.scores)


def test_padding_always_shows() -> None:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros(len(x), 2)

    classifier = Classifier(Watching(), [Head("finding", ("no", "yes"))])
    content = torch.ones(1, SIZE, SIZE, dtype=torch.bool)
    content[:, :, :3] = False
    case = make_case(noise(1, 0), classifier, content)
    images = torch.where(content[:, None], case.batch.images, 7.0)
    Road(imputer=Zero())(replace(case, batch=replace(case.batch, images=images)))
    pictures = torch.cat(seen)
    assert (pictures[:, :, :, :3] == 7).all()
    gone = (pictures[:, :, :, 3:] == 0).flatten(1).sum(1)
    assert sorted(set(gone.tolist())) == [4 * k for k in range(1, 10)]  # 10, 20 ... 90 % of 40 pixels


def test_unusable_and_constant_maps_and_models() -> None:
    maps = noise(3, 3)
    maps[1, 0, 0], maps[2] = float("inf"), 1.0
    case = make_case(maps)
    assert Road(imputer=Zero())(case).reasons == (None, BAD_MAP, CONSTANT)
    with torch.no_grad():
        case.classifier.model.weights[0, 0] = float("nan")
    broken = Road(imputer=Zero())(replace(case, saliency=noise(3, 3)))
    assert broken.reasons == (BAD_MODEL,) * 3
    assert all(values.isnan().all() for values in (*broken.scores.values(), *broken.curves.values()))


def test_the_contract_holds_for_logits() -> None:
    check_metric(Road(imputer=Blur(), score="logit", steps=4))


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(BadInput, match="road: steps is 1; expected 2 or more"):
        Road(steps=1)
