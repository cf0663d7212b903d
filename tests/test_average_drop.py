from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from xai_bench_metrics._contract import BAD_MAP, BAD_MODEL, CONSTANT, check
from xai_bench_metrics.average_drop import FULL_SCORE, NO_SCORE, RAW, AverageDrop, Veiled, soft_mask

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.training_mean import TrainingMean
from xai_bench.imputers.zero import Zero
from xai_bench.inputs import Input, Resize
from xai_bench.perturbation import Scene
from xai_bench.protocols import Batch, Case
from xai_bench.samples import Head
from xai_bench.score_cache import ScoreCache
from xai_bench.testing import box_classifier, tiny_batch, tiny_classifier, tiny_training

ROWS, COLUMNS = slice(4, 20), slice(8, 32)


def noise(batch: Batch, seed: int = 0) -> Tensor:
    return torch.randn(batch.content.shape, generator=torch.Generator().manual_seed(seed))


def make_case(classifier: Classifier, batch: Batch, saliency: Tensor) -> Case:
    return Case(classifier, batch, None, saliency, None, ("not_read",) * len(batch))


def box_case(target: int = 1, count: int = 3) -> Case:
    """Bright class `target` 1 is the mean brightness of a box; the map is that box."""
    classifier = box_classifier(ROWS, COLUMNS)
    batch = replace(tiny_batch(classifier, count), targets=torch.full((count,), target))
    box = torch.zeros_like(batch.images[:, 0])
    box[:, ROWS, COLUMNS] = 1
    return make_case(classifier, batch, box)


def slow_scores(metric: AverageDrop, case: Case, n: int) -> dict[str, float]:
    """Word for word, pixel by pixel, one picture at a time."""
    image, background, content = case.batch.images[n], metric.imputer(case.batch)[n], case.batch.content[n]
    values = [max(0.0, v) for v in case.saliency[n][content].tolist()]
    low, high = min(values), max(values)
    veiled, shown = image.clone(), []
    for r, c in content.nonzero().tolist():
        m = (max(0.0, case.saliency[n, r, c].item()) - low) / (high - low)
        veiled[:, r, c] = image[:, r, c] * m + background[:, r, c] * (1 - m)
        shown.append(m)
    with torch.no_grad():
        logits = [case.classifier(picture[None]) for picture in (image, veiled)]
    y, o = (case.classifier.probabilities(z)[0, case.batch.targets[n]].item() for z in logits)
    return {
        "average_drop": max(0.0, y - o) / y,
        "average_increase": float(o > y),
        "average_gain": max(0.0, o - y) / (1 - y),
        "mask_area": sum(shown) / len(shown),
    }


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([Zero(), Blur(40.0)]), st.floats(-1, 1))
def test_equals_the_definition(seed: int, imputer: Zero | Blur, shift: float) -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, 3, seed)  # the last is letterboxed
    case, metric = make_case(classifier, batch, noise(batch, seed) + shift), AverageDrop(imputer)
    result = metric(case)
    for n in range(3):
        found = {name: result.scores[name][n].item() for name in metric.scores}
        assert found == pytest.approx(slow_scores(metric, case, n), abs=1e-4, nan_ok=True)


def test_the_known_probabilities_of_a_box() -> None:
    """Bright inside the box: what is outside may go black; the box's half at half strength leaves half of the logit."""
    case = box_case()
    whole = AverageDrop()(case)
    assert whole.scores["average_drop"].tolist() == [0, 0, 0]
    assert whole.scores["mask_area"].tolist() == pytest.approx([16 * 24 / (32 * 48)] * 2 + [16 * 24 / (32 * 32)])
    brightness = case.batch.images[:, 0, ROWS, COLUMNS].double().mean((1, 2))
    y, o = (torch.sigmoid(8 * (factor * brightness - 0.5)) for factor in (1.0, 0.5))
    half = case.saliency / 2
    half[:, 31, 24] = 1  # what the map is stretched to
    drop = AverageDrop()(replace(case, saliency=half))
    assert drop.scores["average_drop"].tolist() == pytest.approx(((y - o) / y).tolist(), rel=1e-4)
    assert drop.scores["average_gain"].tolist() == [0, 0, 0]
    gain = AverageDrop()(replace(box_case(target=0), saliency=half))  # `dark` gains what `bright` loses
    assert gain.scores["average_drop"].tolist() == [0, 0, 0]
    assert gain.scores["average_increase"].tolist() == [1, 1, 1]
    assert gain.scores["average_gain"].tolist() == pytest.approx(((y - o) / y).tolist(), rel=1e-4)


def test_the_box_beats_moved_and_random_maps_of_its_size() -> None:
    case, metric = box_case(), AverageDrop()
    shuffled = case.saliency.flatten(1)[:, torch.randperm(32 * 48, generator=torch.Generator().manual_seed(0))]
    best, *others = metric.many(
        [replace(case, saliency=s) for s in (case.saliency, case.saliency.roll(14, 1), shuffled.view(3, 32, 48))]
    )
    assert metric.scores["average_drop"].better == "lower"
    for other in others:
        assert (best.scores["average_drop"] < other.scores["average_drop"]).all()
    dark = metric.many([replace(box_case(0), saliency=s) for s in (1 - case.saliency, case.saliency)])
    for name in ("average_gain", "average_increase"):
        assert metric.scores[name].better == "higher"
        assert (dark[0].scores[name] > dark[1].scores[name]).all()


def test_the_mask_is_the_stretched_positive_part_and_constant_maps_show_nothing_or_all() -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    maps = torch.stack([torch.full((32, 48), v) for v in (0.0, -2.0, 3.0, 3.0)])
    maps[:, :16] += torch.tensor([0.0, 1.0, 0.0, 4.0])[:, None, None]
    maps[3][~batch.content[3]] = -50  # padding has no part in the stretching
    case = make_case(classifier, batch, maps)
    mask = soft_mask(check(case, "positive", needs_region=False))
    assert [one[batch.content[n]].unique().tolist() for n, one in enumerate(mask)] == [[0], [0], [1], [0, 1]]
    assert (mask[3, :, 8:40][:16] == 1).all()
    result = AverageDrop()(case)
    assert result.reasons == (CONSTANT, CONSTANT, CONSTANT, None)
    assert result.scores["mask_area"].tolist() == [0, 0, 1, 0.5]
    assert result.scores["average_drop"][2] == result.scores["average_increase"][2] == 0  # the picture itself


def test_padding_always_shows() -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    scene = Scene.of(batch, torch.zeros(4, 32, 48, dtype=torch.long), Zero())
    bright = replace(scene, images=torch.where(batch.content[:, None], scene.images, 0.7))
    seen: list[Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    AverageDrop()(make_case(classifier, replace(batch, images=bright.images), torch.zeros(4, 32, 48)))
    handle.remove()
    letterboxed = torch.cat([shown[3:4] for shown in seen])
    assert len(letterboxed) == 2
    assert (letterboxed[:, 0, ~batch.content[3]] == 0.7).all()
    assert (letterboxed[1, 0, batch.content[3]] == 0).all()


def test_many_maps_share_the_picture_and_give_the_same_bits() -> None:
    case = box_case()
    cases = [replace(case, saliency=noise(case.batch, seed)) for seed in range(3)]
    metric = AverageDrop()
    single = [metric(c) for c in cases]
    case.classifier.engine = Engine(batch_size=1)
    together = metric.many(cases)
    assert case.classifier.engine.answered == 3 * (1 + 3)
    assert metric.evaluations == 2
    for one, result in zip(single, together, strict=True):
        assert all(torch.allclose(one.scores[name], result.scores[name], atol=1e-6) for name in metric.scores)


def test_the_score_cache_tells_masks_apart() -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier)
    cases = [make_case(classifier, batch, noise(batch, seed)) for seed in (0, 1)]
    plain = [AverageDrop()(case) for case in cases]
    classifier.engine = Engine(cache=ScoreCache())
    for case, expected in zip([*cases, *cases], [*plain, *plain], strict=True):
        found = AverageDrop()(case)
        assert all(torch.equal(found.scores[name], expected.scores[name]) for name in expected.scores)


def test_a_scene_s_contexts_follow_the_mask() -> None:
    batch = tiny_batch(tiny_classifier())
    scene = Scene.of(batch, torch.zeros(4, 32, 48, dtype=torch.long), Zero())
    masks = noise(batch)
    other = masks.clone()
    other[1, 2, 3] += 1
    first, again, changed = (Veiled.over(scene, mask).contexts for mask in (masks, masks.clone(), other))
    assert first == again
    assert [a == b for a, b in zip(first, changed, strict=True)] == [True, False, True, True]


class Fixed(nn.Module):
    """Logits of its own, whatever the picture."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def fixed(logits: list[float], *heads: Head) -> Classifier:
    return Classifier(Fixed(logits), heads or (Head("a", ("no", "yes")),), reader=Input(Resize(32, 48))).eval()


def test_probabilities_of_0_and_1_leave_no_room_for_drop_and_gain() -> None:
    classifier = fixed([-50.0, 50.0])
    batch = replace(tiny_batch(classifier, 2), targets=torch.tensor([0, 1]))
    result = AverageDrop()(make_case(classifier, batch, noise(batch)))
    assert [result.reason("average_drop", n) for n in range(2)] == [NO_SCORE, None]
    assert [result.reason("average_gain", n) for n in range(2)] == [None, FULL_SCORE]
    assert result.scores["average_drop"].isnan().tolist() == [True, False]
    assert result.scores["average_gain"].isnan().tolist() == [False, True]
    assert result.scores["average_increase"].tolist() == [0, 0]


def test_a_raw_output_is_no_probability() -> None:
    classifier = fixed([0.5, 0.0, 0.0], Head("angle", ("degrees",), "identity"), Head("a", ("no", "yes")))
    batch = replace(tiny_batch(classifier, 2), targets=torch.tensor([0, 1]))
    result = AverageDrop()(make_case(classifier, batch, noise(batch)))
    for name in ("average_drop", "average_increase", "average_gain"):
        assert [result.reason(name, n) for n in range(2)] == [RAW, None]
        assert result.scores[name].isnan().tolist() == [True, False]
    assert result.scores["mask_area"].isfinite().all()


def test_unusable_maps_and_models_are_invalid() -> None:
    classifier = fixed([0.0, 0.0])
    batch = tiny_batch(classifier, 2)
    maps = noise(batch)
    maps[0, 1, 1] = float("nan")
    assert AverageDrop()(make_case(classifier, batch, maps)).reasons == (BAD_MAP, None)
    broken = AverageDrop()(make_case(fixed([float("nan"), 0.0]), batch, noise(batch)))
    assert broken.reasons == (BAD_MODEL,) * 2
    assert all(values.isnan().all() for values in broken.scores.values())


@dataclass(frozen=True)
class Inpainting:
    """An imputer whose pixels depend on what is hidden."""

    def __call__(self, batch: Batch) -> Tensor:
        return torch.zeros_like(batch.images)

    def fill(self, images: Tensor, background: Tensor, shown: Tensor, content: Tensor) -> Tensor:
        return background


def test_an_imputer_without_a_background_is_refused() -> None:
    with pytest.raises(BadInput, match=r"Inpainting.*soft mask.*use"):
        AverageDrop(Inpainting())


def test_the_imputer_is_fitted() -> None:
    case, metric = box_case(), AverageDrop(TrainingMean())
    with pytest.raises(BadInput, match="not fitted"):
        metric(case)
    ready = metric.fit(case.classifier, tiny_training(case.classifier))
    assert ready(case).scores["average_drop"].isfinite().all()
    assert AverageDrop().fit(case.classifier, tiny_training(case.classifier)) == AverageDrop()
