from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from removal_cases import SIZE, contributions, linear, make_case, noise, score_of
from torch import Tensor, nn
from xai_bench_metrics._contract import BAD_MODEL, CONSTANT
from xai_bench_metrics._removal import removal_steps
from xai_bench_metrics.removal import NO_DROP, Deletion, Insertion, OneWay

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.protocols import Batch, Case
from xai_bench.samples import Head
from xai_bench.seeding import generator
from xai_bench.spec import state_of, with_state

BOTH = pytest.mark.parametrize("kind", [Deletion, Insertion])


def slow_curve(metric: OneWay, case: Case, n: int) -> tuple[list[float], list[float]]:
    """Word for word: remove (or put in) pixel after pixel by relevance, and ask the model one picture at a time."""
    image, other = case.batch.images[n], metric.imputer(case.batch)[n]
    content, values = case.batch.content[n].flatten(), case.saliency[n].flatten()
    tie = torch.randperm(len(values), generator=generator(metric.seed, case.batch.ids[n])).tolist()
    order = sorted(
        (p for p in tie if content[p]), key=lambda p: -values[p].item()
    )  # stable: ties stay in the drawn order
    now, end = (image, other) if metric.removes else (torch.where(case.batch.content[n], other, image), image)
    now, x, y = now.clone(), [], []
    for step in range(metric.steps + 1):
        count = (step * len(order) + metric.steps // 2) // metric.steps
        for p in order[:count]:
            now[:, p // SIZE, p % SIZE] = end[:, p // SIZE, p % SIZE]
        x.append(count / len(order))
        y.append(score_of(case, n, now, metric.score))
    return x, y


@settings(max_examples=12)
@given(
    st.integers(0, 10_000),
    st.sampled_from([Deletion, Insertion]),
    st.sampled_from(["probability", "logit"]),
    st.integers(2, 90),
)
def test_equals_the_definition(seed: int, kind: type[OneWay], score: str, steps: int) -> None:
    random = torch.Generator().manual_seed(seed)
    content = torch.rand(2, SIZE, SIZE, generator=random) < 0.8
    case = make_case(torch.randint(-2, 3, (2, SIZE, SIZE), generator=random).float(), content=content, channels=3)
    metric = kind(imputer=Blur(40.0), steps=steps, score=score, seed=seed)
    result = metric(case)
    for n in range(2):
        x, y = slow_curve(metric, case, n)
        assert result.curves[metric.curve][n].tolist() == pytest.approx(y, abs=1e-5)
        area = np.trapezoid(y, x)
        assert result.scores[metric.curve][n].item() == pytest.approx(area, abs=1e-5)
        whole, gone = (y[0], y[-1]) if metric.removes else (y[-1], y[0])
        normalized = result.scores[f"{metric.curve}_normalized"][n].item()
        if abs(whole - gone) >= 0.051:
            assert normalized == pytest.approx((area - gone) / (whole - gone), rel=1e-3, abs=1e-4)
        if abs(whole - gone) < 0.049:
            assert np.isnan(normalized)


def test_a_linear_model_has_the_curve_of_its_sorted_contributions() -> None:
    classifier = linear()
    case = make_case(torch.zeros(1, SIZE, SIZE), classifier)
    contribution = contributions(case)
    metric = Deletion(imputer=Zero(), steps=SIZE * SIZE, score="logit")
    result = metric(replace(case, saliency=contribution))
    left = contribution.flatten().sort(descending=True).values.flip(0).cumsum(0).flip(0)
    expected = torch.cat([left, torch.zeros(1)]) / 2
    assert result.curves["deletion"][0].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@BOTH
def test_the_true_contributions_beat_random_reversed_and_constant_maps(kind: type[OneWay]) -> None:
    classifier, random = linear(), torch.Generator().manual_seed(4)
    case = make_case(torch.zeros(6, SIZE, SIZE), classifier)
    oracle = contributions(case)
    metric = kind(imputer=Zero(), score="logit")
    sign = 1 if metric.scores[metric.curve].better == "higher" else -1
    best = sign * metric(replace(case, saliency=oracle)).scores[metric.curve]
    for control in (
        torch.rand(6, SIZE, SIZE, generator=random),
        -oracle,
        torch.zeros(6, SIZE, SIZE),
        oracle.roll(1, 0),
    ):
        assert (best > sign * metric(replace(case, saliency=control)).scores[metric.curve]).all()


def test_insertion_is_deletion_of_the_reversed_order_read_backwards() -> None:
    saliency = noise(3, 5)
    down = Deletion(steps=16)(make_case(-saliency)).curves["deletion"]
    up = Insertion(steps=16)(make_case(saliency)).curves["insertion"]
    assert torch.equal(down.flip(1), up)


@BOTH
def test_padding_is_never_removed(kind: type[OneWay]) -> None:
    content = torch.ones(2, SIZE, SIZE, dtype=torch.bool)
    content[:, :, :3] = False
    saliency = noise(2, 6)
    labels, fraction = removal_steps(saliency, content, torch.arange(SIZE * SIZE).expand(2, -1), 4)
    assert (labels[~content] == 4).all()
    assert (labels[content] < 4).all()
    assert fraction.tolist() == [[0, 0.25, 0.5, 0.75, 1]] * 2
    metric = kind(imputer=Zero())
    plain, changed = (metric(make_case(s, content=content)) for s in (saliency, saliency + 50 * ~content))
    assert torch.equal(plain.curves[metric.curve], changed.curves[metric.curve])


@BOTH
def test_ties_depend_on_seed_and_picture_only(kind: type[OneWay]) -> None:
    saliency = torch.zeros(3, SIZE, SIZE)
    saliency[:, :4] = 1
    case, metric = make_case(saliency), kind(steps=8)
    turned = [2, 0, 1]
    batch = case.batch
    moved = Batch(
        batch.images[turned], batch.targets, tuple(batch.ids[n] for n in turned), batch.content, None, batch.spacing_mm
    )
    plain = metric(case).curves[metric.curve]
    assert torch.equal(metric(replace(case, batch=moved)).curves[metric.curve], plain[turned])
    assert not torch.equal(replace(metric, seed=1)(case).curves[metric.curve], plain)


@BOTH
@pytest.mark.parametrize(("factor", "batch_size"), [(2, 16), (1, 5)])
def test_scale_and_batch_size_change_nothing(kind: type[OneWay], factor: int, batch_size: int) -> None:
    saliency = noise(3, 7)
    plain = kind(steps=10)(make_case(saliency))
    result = kind(steps=10)(make_case(factor * saliency, linear(batch_size=batch_size)))
    for name, values in plain.scores.items():
        assert torch.allclose(result.scores[name], values, atol=1e-6, equal_nan=True)


def test_a_small_drop_excludes_the_normalized_score_only() -> None:
    classifier = linear()
    with torch.no_grad():
        classifier.model.weights *= 0.01
    result = Deletion()(make_case(torch.rand(2, SIZE, SIZE), classifier))
    assert [result.reason("deletion_normalized", n) for n in range(2)] == [NO_DROP] * 2
    assert result.scores["deletion_normalized"].isnan().all()
    assert result.scores["deletion"].isfinite().all()
    assert result.reason("deletion", 0) is None


@BOTH
def test_a_model_that_returns_nan_makes_every_score_invalid(kind: type[OneWay]) -> None:
    classifier = linear()
    with torch.no_grad():
        classifier.model.weights[0, 0] = float("nan")
    result = kind()(make_case(torch.rand(2, SIZE, SIZE), classifier))
    assert result.reasons == (BAD_MODEL,) * 2
    assert all(values.isnan().all() for values in (*result.scores.values(), *result.curves.values()))


def test_a_constant_map_is_marked_and_a_nan_map_is_invalid() -> None:
    saliency = torch.ones(2, SIZE, SIZE)
    saliency[1, 0, 0] = float("nan")
    result = Deletion(score="logit", imputer=Zero())(make_case(saliency))
    assert result.reasons[0] == CONSTANT
    assert result.reasons[1].state == "invalid"
    assert result.scores["deletion"].isnan().tolist() == [False, True]


class Watched:
    """An imputer that counts how often it is asked, and knows which pixels are hidden."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, batch: Batch) -> Tensor:
        self.asked += 1
        return torch.zeros_like(batch.images)

    def fill(self, images: Tensor, background: Tensor, shown: Tensor, content: Tensor) -> Tensor:
        share = (~shown & content).flatten(1).float().mean(1)
        return torch.where(shown[:, None], images, share[:, None, None, None])


@BOTH
def test_many_maps_share_background_end_points_and_batches_and_give_the_same_bits(
    kind: type[OneWay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xai_bench.perturbation.spec_of", lambda value: type(value).__name__)
    classifier, imputer = linear(batch_size=11), Watched()
    case, other = (make_case(noise(b, b), classifier) for b in (4, 3))
    cases = [case, other, *(replace(case, saliency=noise(4, seed)) for seed in (1, 2))]
    metric = kind(imputer=imputer, steps=8)
    single = [metric(c) for c in cases]
    imputer.asked, classifier.engine.answered, sizes = 0, 0, []
    classifier.engine.progress = sizes.append
    shared = metric.many(cases)
    assert imputer.asked == 2  # once a batch
    assert classifier.engine.answered == 4 * (2 + 3 * 7) + 3 * (2 + 7)
    assert sorted(sizes) == [4, 5, *[11] * 10]  # 92 and 27 answers: only the last batch of each is not full
    for one, result in zip(single, shared, strict=True):
        assert torch.equal(one.curves[metric.curve], result.curves[metric.curve])
        assert all(torch.equal(one.scores[name], result.scores[name]) for name in metric.scores)


def test_a_padded_batch_costs_no_evaluations() -> None:
    classifier = linear(batch_size=1)
    case = make_case(noise(2, 0), classifier)
    index = torch.tensor([0, 1, 1, 1, 1])
    batch = case.batch
    ids = tuple(batch.ids[n] for n in index.tolist())
    padded = Batch(batch.images[index], batch.targets[index], ids, batch.content[index], None, batch.spacing_mm[index])
    metric = Deletion(steps=8)
    plain = metric(case)
    assert classifier.engine.answered == 2 * metric.evaluations
    result = metric(replace(case, batch=padded, saliency=case.saliency[index]))
    assert classifier.engine.answered == 4 * metric.evaluations
    assert torch.equal(result.curves["deletion"], plain.curves["deletion"][index])


@dataclass(frozen=True)
class Films:
    batch: Batch

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
        return iter([(self.batch, {})])


def test_the_imputer_is_fitted_and_its_state_travels() -> None:
    case = make_case(torch.rand(3, SIZE, SIZE))
    metric = Deletion(imputer=TrainingMean())
    ready = metric.fit(case.classifier, Films(case.batch))
    state = state_of(ready)
    assert torch.allclose(state["imputer.mean"], case.batch.images.mean(0))
    first, second = ready(case), with_state(metric, state)(case)
    assert torch.equal(first.scores["deletion"], second.scores["deletion"])
    assert Deletion().fit(case.classifier, Films(case.batch)) == Deletion()


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(BadInput, match="deletion: steps is 1; expected 2 or more"):
        Deletion(steps=1)


class Predicts:
    """A classifier behind Quantus's model interface."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def shape_input(self, x: np.ndarray, shape: tuple[int, ...], **_: bool) -> np.ndarray:
        return x.reshape(shape)

    def predict(self, x: np.ndarray) -> np.ndarray:
        logits = self.classifier(torch.from_numpy(x).float()).detach()
        return self.classifier.probabilities(logits).numpy()


class Watching(nn.Module):
    """Remembers the pictures that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return torch.zeros(len(x), 2)


class Peer:
    """The part of Quantus's model interface that PixelFlipping uses."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def shape_input(self, x: np.ndarray, shape: tuple[int, ...], **_: bool) -> np.ndarray:
        return x.reshape(shape)

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(x.copy())
        return np.zeros((len(x), 2))


def test_equals_quantus_on_one_channel() -> None:
    from quantus.metrics.faithfulness.pixel_flipping import PixelFlipping

    case = make_case(noise(3, 1))
    metric = Deletion(imputer=Zero(), steps=16)
    peer = Predicts(case.classifier)
    flipping = PixelFlipping(features_in_step=SIZE * SIZE // 16, perturb_baseline=0.0, disable_warnings=True)
    images, maps = case.batch.images.numpy(), case.saliency[:, None].numpy()
    theirs = flipping.evaluate_batch(peer, images, case.batch.targets.numpy(), maps)
    assert np.allclose(metric(case).curves["deletion"][:, 1:], theirs, atol=1e-6)


def test_f7_quantus_flips_each_channel_apart_and_we_use_one_mask_for_all() -> None:
    from quantus.metrics.faithfulness.pixel_flipping import PixelFlipping

    saliency, peer = torch.arange(4.0).view(1, 2, 2), Peer()
    flipping = PixelFlipping(features_in_step=1, perturb_baseline=0.0, disable_warnings=True)
    flipping.evaluate_batch(peer, np.ones((1, 3, 2, 2)), np.zeros(1, int), saliency[None].numpy())
    assert len(peer.seen) == 3 * 4  # one channel of one pixel at a time, three times the evaluations
    assert (peer.seen[0] == 0).sum() == 1

    watching = Watching()
    classifier = Classifier(watching, (Head("finding", ("no", "yes")),), mean=(0.0,) * 3, std=(1.0,) * 3)
    Deletion(imputer=Zero(), steps=4)(make_case(saliency, classifier, channels=3))
    removed = torch.cat(watching.seen) == 0
    assert removed.any()
    assert (removed == removed[:, :1]).all()


def test_f7_quantus_needs_a_function_that_numpy_removed_and_our_area_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from quantus.helpers.utils import calculate_auc

    monkeypatch.delattr(np, "trapz", raising=False)  # as NumPy 2.4 does
    with pytest.raises(AttributeError):
        calculate_auc(np.ones(3))
    assert Deletion()(make_case(torch.rand(1, SIZE, SIZE))).scores["deletion"].isfinite().all()
