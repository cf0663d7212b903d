from dataclasses import dataclass, replace

import pytest
import torch
from hidden_cells_cases import box_case, make_case, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from xai_bench_metrics._contract import BAD_MAP, BAD_MODEL, CONSTANT
from xai_bench_metrics._hidden_cells import NO_FALL, NO_SUM, cells_of
from xai_bench_metrics.infidelity import Infidelity, squares

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch, Case
from xai_bench.samples import Head
from xai_bench.seeding import generator
from xai_bench.spec import state_of, with_state
from xai_bench.testing import tiny_batch, tiny_classifier, tiny_training

RELATIVE = "infidelity_relative"


def slow_samples(metric: Infidelity, case: Case, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Word for word: for each drawn square the mask I, the picture without it, and f(x) - f(x - I), one at a time."""
    content, size = case.batch.content[n], metric.cells
    rows, columns = content.any(1).nonzero()[:, 0].tolist(), content.any(0).nonzero()[:, 0].tolist()
    every = [
        (top, left, side)
        for side in range(1, metric.largest + 1)
        for top in range(size - side + 1)
        for left in range(size - side + 1)
    ]
    order = torch.randperm(len(every), generator=generator(metric.seed, case.batch.ids[n]))[: metric.samples]
    image, background = case.batch.images[n], metric.imputer(case.batch)[n]
    masks, pictures = [], []
    for top, left, side in [every[k] for k in order.tolist()]:
        mask = torch.zeros_like(content)
        for i, r in enumerate(rows):
            for j, c in enumerate(columns):
                cell = int((i + 0.5) * size / len(rows)), int((j + 0.5) * size / len(columns))
                inside = top <= cell[0] < top + side and left <= cell[1] < left + side
                mask[r, c] = inside and bool(content[r, c])
        masks.append(mask)
        pictures.append(torch.where(mask, background, image))
    falls = torch.tensor([score(metric, case, n, image) - score(metric, case, n, p) for p in pictures])
    return torch.stack(masks), torch.stack(pictures), falls.double()


def score(metric: Infidelity, case: Case, n: int, picture: Tensor) -> float:
    with torch.no_grad():
        logits = case.classifier(picture[None])
    found = case.classifier.probabilities(logits) if metric.score == "probability" else logits
    return found[0, case.batch.targets[n]].item()


@settings(max_examples=10)
@given(
    st.integers(0, 10_000), st.sampled_from(["probability", "logit"]), st.integers(3, 30), st.integers(2, 5), st.data()
)
def test_equals_the_definition(seed: int, kind: str, samples: int, cells: int, data: st.DataObject) -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, 2, seed)  # the second is letterboxed
    case = make_case(classifier, batch, noise(batch, seed))
    metric = Infidelity(samples, cells, Zero(), kind, seed, data.draw(st.integers(1, cells)))
    result = metric(case)
    for n in range(2):
        masks, _, falls = slow_samples(metric, case, n)
        told = torch.stack([case.saliency[n][mask].double().sum() for mask in masks])
        beta = (told * falls).mean() / (told**2).mean()
        gap = ((beta * told - falls) ** 2).mean().item()
        assert metric.evaluations == len(masks) + 1
        assert result.scores["infidelity"][n].item() == pytest.approx(gap, rel=1e-3, abs=1e-9)
        assert result.scores[RELATIVE][n].item() == pytest.approx(gap / (falls**2).mean().item(), abs=1e-3)


def test_equals_captum_on_the_same_perturbations() -> None:
    from captum.metrics import infidelity

    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    case, metric = make_case(classifier, batch, noise(batch)), Infidelity(samples=20, cells=6, imputer=Blur())
    found = metric(case).scores["infidelity"]
    for n in range(len(batch)):
        masks, pictures, _ = slow_samples(metric, case, n)
        theirs = infidelity(
            lambda x: classifier.probabilities(classifier(x)),
            lambda x, masks=masks, pictures=pictures: (masks[:, None].float(), pictures),
            batch.images[n : n + 1],
            case.saliency[n][None, None],
            target=int(batch.targets[n]),
            n_perturb_samples=len(masks),
            normalize=True,
        )
        assert found[n].item() == pytest.approx(theirs.item(), rel=1e-3)


@pytest.mark.parametrize("scale", [1.0, 250.0, 1e-6, -1.0])
def test_the_exact_contributions_of_a_linear_model_have_none_at_any_scale(scale: float) -> None:
    case = box_case()
    result = Infidelity(imputer=Zero(), score="logit")(replace(case, saliency=scale * case.saliency))
    assert result.scores[RELATIVE].tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    assert result.scores["infidelity"].tolist() == pytest.approx([0, 0, 0], abs=1e-9)


def test_a_map_that_knows_one_cell_explains_that_cell_s_part() -> None:
    """Squares of one cell: told is (1, 0, 0, 0), the best scale the first fall, the gap the other three's squares."""
    case, metric = box_case(), Infidelity(cells=2, largest=1, imputer=Zero(), score="logit")
    labels = cells_of(case.batch.content, 2)
    falls = torch.stack([(case.saliency * (labels == cell)).double().sum((1, 2)) for cell in range(4)], 1)
    result = metric(replace(case, saliency=(labels == 0).float()))
    gap = (falls[:, 1:] ** 2).sum(1)
    assert result.scores["infidelity"].tolist() == pytest.approx((gap / 4).tolist(), rel=1e-3)
    assert result.scores[RELATIVE].tolist() == pytest.approx((gap / (falls**2).sum(1)).tolist(), rel=1e-3)


def test_the_contributions_beat_blurred_moved_random_and_constant_maps() -> None:
    case, metric = box_case(), Infidelity(imputer=Zero())
    exact = case.saliency
    controls = [exact.roll(10, 2), noise(case.batch).abs(), noise(case.batch), torch.ones_like(exact)]
    best, *others = metric.many([replace(case, saliency=one) for one in (exact, *controls)])
    for name in metric.scores:
        assert metric.scores[name].better == "lower"
        assert all((best.scores[name] < other.scores[name]).all() for other in others)


def test_all_squares_are_asked_where_the_samples_suffice_and_the_seed_means_nothing() -> None:
    case = box_case()
    case.classifier.engine = Engine(batch_size=1)
    first, second = Infidelity(cells=3, largest=2, samples=13), Infidelity(cells=3, largest=2, samples=99, seed=1)
    assert len(squares(3, 2)) == 9 + 4
    assert first.evaluations == second.evaluations == 14
    one, other = first(case).scores[RELATIVE], second(case).scores[RELATIVE]
    assert one.tolist() == pytest.approx(other.tolist(), rel=1e-9)
    assert case.classifier.engine.answered == 3 * 14 * 2
    fewer = [Infidelity(cells=3, largest=2, samples=6, seed=seed)(case).scores[RELATIVE] for seed in (0, 1)]
    assert not torch.equal(*fewer)


def test_many_maps_cost_one_and_give_the_same_bits() -> None:
    case = box_case()
    other = make_case(case.classifier, tiny_batch(case.classifier, 2, seed=5), torch.zeros(2, 32, 48))
    cases = [case, *(replace(c, saliency=noise(c.batch, s)) for s, c in enumerate((case, other, other, case)))]
    metric, case.classifier.engine = Infidelity(samples=9, cells=4, largest=2), Engine(batch_size=1)
    single = [metric(c) for c in cases]
    case.classifier.engine = Engine(batch_size=1)
    together = metric.many(cases)
    assert case.classifier.engine.answered == (3 + 2) * metric.evaluations
    for one, result in zip(single, together, strict=True):
        assert all(torch.equal(one.scores[name], result.scores[name]) for name in metric.scores)


class Watching(nn.Module):
    """Remembers the pictures that it was shown; says the mean, or always the same."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain, self.seen = gain, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        z = self.gain * x.mean((1, 2, 3)) + 1
        return torch.stack([-z, z], 1)


def watching(gain: float = 1.0) -> Classifier:
    return Classifier(Watching(gain), [Head("finding", ("no", "yes"))], reader=Input(Resize(32, 48))).eval()


def test_only_content_is_hidden() -> None:
    classifier = watching()
    batch = tiny_batch(classifier, 1)  # letterboxed
    shown = replace(batch, images=torch.where(batch.content[:, None], 0.5, 0.25))
    Infidelity(samples=30, imputer=Zero())(make_case(classifier, shown, noise(batch)))
    seen = torch.cat(classifier.model.seen)[:31, 0]
    content = batch.content[0]
    assert (seen[:, ~content] == 0.25).all()
    assert (seen[0, content] == 0.5).all()
    assert ((seen[1:, content] == 0).sum(1) > 0).all()


def test_zero_norms_are_excluded_and_say_which() -> None:
    classifier = watching(gain=0.0)
    batch = tiny_batch(classifier)
    still = Infidelity(samples=5)(make_case(classifier, batch, noise(batch)))
    assert still.reasons == (NO_FALL,) * 4
    maps = noise(batch)
    maps[0] = 0
    maps[3] = (~batch.content[3]).float()  # relevance in the padding only
    silent = Infidelity(samples=5)(make_case(watching(), batch, maps))
    assert silent.reasons == (NO_SUM, None, None, NO_SUM)
    for result in (still, silent):
        missing = [reason is not None for reason in result.reasons]
        assert all(values.isnan().tolist() == missing for values in result.scores.values())


def test_constant_maps_are_marked_and_unusable_maps_and_models_are_invalid() -> None:
    classifier, metric = tiny_classifier(), Infidelity(samples=5)
    batch = tiny_batch(classifier)
    maps = noise(batch)
    maps[0], maps[1, 2, 2] = 1.0, float("nan")
    result = metric(make_case(classifier, batch, maps))
    assert result.reasons == (CONSTANT, BAD_MAP, None, None)
    assert result.scores[RELATIVE].isnan().tolist() == [False, True, False, False]
    broken = metric(make_case(watching(float("nan")), tiny_batch(watching()), noise(batch)))
    assert broken.reasons == (BAD_MODEL,) * 4
    assert all(values.isnan().all() for values in broken.scores.values())


@dataclass(frozen=True)
class Needy:
    """An imputer that counts how often it is asked for a background."""

    asked: list[int]

    def __call__(self, batch: Batch) -> Tensor:
        self.asked.append(len(batch))
        return torch.zeros_like(batch.images)


def test_the_background_is_made_once_for_all_maps() -> None:
    case, asked = box_case(), []
    Infidelity(samples=5, imputer=Needy(asked)).many([case, replace(case, saliency=noise(case.batch))])
    assert asked == [3]


def test_the_imputer_is_fitted_and_its_state_travels() -> None:
    case = box_case()
    metric = Infidelity(samples=9, imputer=TrainingMean())
    ready = metric.fit(case.classifier, tiny_training(case.classifier))
    first, second = ready(case), with_state(metric, state_of(ready))(case)
    assert torch.equal(first.scores[RELATIVE], second.scores[RELATIVE])
    assert Infidelity().fit(case.classifier, tiny_training(case.classifier)) == Infidelity()


@pytest.mark.parametrize("fields", [{"samples": 2}, {"cells": 1}, {"largest": 0}, {"cells": 4, "largest": 5}])
def test_impossible_numbers_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"(?i)infidelity.*use"):
        Infidelity(**fields)
