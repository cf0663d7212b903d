"""Coalitions: composed pictures, fixed batch shapes, equal questions asked once, the score asked for."""

import dataclasses
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.engine import Engine
from xai_bench.errors import BadInput
from xai_bench.imputers.blur import Blur
from xai_bench.imputers.zero import Zero
from xai_bench.perturbation import Scene, evaluate, evaluate_all
from xai_bench.protocols import Batch
from xai_bench.running.workbench import Counter
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch, tiny_classifier


class Shapes(nn.Module):
    """Logits (mean, 0), remembering the batch shapes that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(tuple(x.shape))
        return torch.stack([x.mean((1, 2, 3)), torch.zeros(len(x))], 1)


def batch_of(images: Tensor) -> Batch:
    b, _, h, w = images.shape
    blank = torch.zeros(b, dtype=torch.long)
    content = torch.ones(b, h, w, dtype=torch.bool)
    return Batch(images, blank, tuple(map(str, range(b))), content, None, torch.full((b, 2), torch.nan))


def mean_classifier() -> tuple[Classifier, Shapes]:
    model = Shapes()
    return Classifier(model, [Head("h", ("x", "y"))]), model


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 8), st.integers(0, 999))
@settings(max_examples=25)
def test_coalitions_equal_a_plain_loop_in_any_batch_size(b: int, m: int, batch_size: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    images, labels = torch.rand(b, 1, 6, 5, generator=g), torch.randint(0, 4, (b, 6, 5), generator=g)
    labels[:, 0, 0] = 3  # every player has a pixel
    keep = torch.rand(b, m, 4, generator=g) < 0.5
    classifier, model = mean_classifier()
    classifier.engine = Engine(batch_size=batch_size)
    scene = Scene.of(batch_of(images), labels, Blur(40.0))
    with Counter().on(classifier) as counter:
        found = evaluate_all(classifier, scene, keep, score="logit")
    plain = torch.empty(b, m)
    for i in range(b):
        for j in range(m):
            picture = images[i].clone()
            for row in range(6):
                for column in range(5):
                    if not keep[i, j, labels[i, row, column]]:
                        picture[:, row, column] = scene.background[i, :, row, column]
            plain[i, j] = picture.mean()
    assert torch.allclose(found, plain, atol=1e-6)
    assert model.seen == {(batch_size, 1, 6, 5)}
    distinct = len({(i, *keep[i, j].tolist()) for i in range(b) for j in range(m)})
    assert counter.evaluations == -(-distinct // batch_size) * batch_size


def test_repeated_pictures_are_asked_once() -> None:
    """A padded batch repeats its last picture; another target is another question."""
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=2)
    index = torch.tensor([0, 1, 1, 1])
    padded = dataclasses.replace(
        batch, images=batch.images[index], targets=batch.targets[index], ids=tuple("abbb"), content=batch.content[index]
    )
    labels = torch.arange(32 * 48).view(32, 48).expand(4, -1, -1) % 5
    keep = torch.rand(4, 9, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    keep[1:] = keep[1]
    classifier.engine = Engine()
    found = evaluate_all(classifier, Scene.of(padded, labels, Zero()), keep)
    assert torch.equal(found[1], found[2]) and torch.equal(found[1], found[3])
    assert classifier.engine.answered <= 2 * 9
    other = dataclasses.replace(padded, targets=torch.tensor([0, 0, 1, 2]))
    assert not torch.equal(*evaluate_all(classifier, Scene.of(other, labels, Zero()), keep)[2:])


def test_a_score_does_not_depend_on_its_companions() -> None:
    classifier = tiny_classifier()
    batch = tiny_batch(classifier, count=3)
    scene = Scene.of(batch, torch.arange(32 * 48).view(32, 48).expand(3, -1, -1) % 7, Zero())
    owner = torch.arange(3).repeat_interleave(11)
    keep = torch.rand(33, 7, generator=torch.Generator().manual_seed(1)) < 0.5
    together = evaluate(classifier, scene, owner, keep)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(2))
    assert torch.equal(evaluate(classifier, scene, owner[order], keep[order]), together[order])
    assert torch.equal(evaluate(classifier, scene, owner[:1], keep[:1]), together[:1])


def test_a_mask_is_the_same_on_all_channels() -> None:
    scene = Scene.of(batch_of(torch.rand(1, 3, 2, 2)), torch.tensor([[[0, 1], [1, 0]]]), Zero())
    shown = scene.compose(torch.tensor([0]), torch.tensor([[True, False]]))
    assert torch.equal(shown[0, :, 0, 0], scene.images[0, :, 0, 0]) and (shown[0, :, 0, 1] == 0).all()


class Half:
    """An imputer whose replacement depends on what is hidden: the share of hidden pixels."""

    def __call__(self, batch: Batch) -> Tensor:
        return torch.zeros_like(batch.images)

    def fill(self, images: Tensor, background: Tensor, shown: Tensor, content: Tensor) -> Tensor:
        share = (~shown & content).flatten(1).float().mean(1)
        return torch.where(shown[:, None], images, share[:, None, None, None])


def test_an_imputer_may_look_at_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_bench.perturbation.spec_of", lambda value: type(value).__name__)
    classifier, _ = mean_classifier()
    scene = Scene.of(batch_of(torch.ones(1, 1, 2, 2)), torch.tensor([[[0, 1], [2, 3]]]), Half())
    keep = torch.tensor([[[True, True, True, True], [True, True, False, False], [False] * 4]])
    assert evaluate_all(classifier, scene, keep, "logit").tolist() == [[1.0, 0.75, 1.0]]


class Many(nn.Module):
    """Twenty logits that follow the mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None] * torch.linspace(-1, 1, 20)


def test_many_classes_give_the_same_scores() -> None:
    classifier = Classifier(Many(), [Head("h", tuple(f"c{i}" for i in range(20)))])
    images = torch.rand(2, 1, 4, 4)
    batch = dataclasses.replace(batch_of(images), targets=torch.tensor([3, 17]))
    keep = torch.ones(2, 1, 1, dtype=torch.bool)
    scene = Scene.of(batch, torch.zeros(2, 4, 4, dtype=torch.long), Zero())
    logits = classifier(images)
    assert torch.equal(evaluate_all(classifier, scene, keep, "logit")[:, 0], logits[[0, 1], [3, 17]])
    assert torch.equal(evaluate_all(classifier, scene, keep)[:, 0], logits.softmax(1)[[0, 1], [3, 17]])


def test_memory_running_out_halves_the_batch() -> None:
    classifier, model = mean_classifier()
    plain = model.forward

    def tight(x: Tensor) -> Tensor:
        if len(x) > 4:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return plain(x)

    model.forward = tight  # type: ignore[method-assign]  # a model that needs more memory than there is
    classifier.engine = Engine(batch_size=16)
    scene = Scene.of(batch_of(torch.rand(1, 1, 4, 4)), torch.arange(16).view(1, 4, 4), Zero())
    keep = torch.eye(16, dtype=torch.bool)[None]
    found = evaluate_all(classifier, scene, keep, "logit")
    assert torch.allclose(found[0], scene.images.flatten() / 16)
    assert (classifier.engine.batch_size, classifier.engine.halved) == (4, 2)
    assert model.seen == {(4, 1, 4, 4)}


def test_other_errors_are_not_taken_for_missing_memory() -> None:
    classifier, model = mean_classifier()

    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("a shape is wrong")

    model.forward = broken  # type: ignore[method-assign]  # a model that fails
    scene = Scene.of(batch_of(torch.rand(1, 1, 2, 2)), torch.zeros(1, 2, 2, dtype=torch.long), Zero())
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        evaluate_all(classifier, scene, torch.ones(1, 1, 1, dtype=torch.bool))


def test_bad_input() -> None:
    classifier, _ = mean_classifier()
    batch = batch_of(torch.rand(1, 1, 2, 2))
    with pytest.raises(BadInput, match=r"labels are \(1, 4, 4\); expected \(1, 2, 2\)"):
        Scene.of(batch, torch.zeros(1, 4, 4, dtype=torch.long), Zero())
    scene = Scene.of(batch, torch.tensor([[[0, 1], [2, 3]]]), Zero())
    with pytest.raises(BadInput, match="have 3 players, the labels go up to 3"):
        evaluate_all(classifier, scene, torch.ones(1, 1, 3, dtype=torch.bool))
    with pytest.raises(BadInput, match="2 owners for 1 coalitions"):
        evaluate(classifier, scene, torch.zeros(2, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool))


class Counting:
    """An imputer that remembers how many pictures it was given at a time."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def __call__(self, batch: Batch) -> Tensor:
        self.given.append(len(batch))
        return 1 - batch.images


def test_backgrounds_are_made_for_a_few_pictures_at_a_time_and_are_the_same() -> None:
    """Blurring takes twenty times a picture's memory: of all pictures at once it would be the peak."""
    batch, imputer = batch_of(torch.rand(19, 1, 6, 5)), Counting()
    scene = Scene.of(batch, torch.zeros(19, 6, 5, dtype=torch.long), imputer)
    assert imputer.given == [8, 8, 3]
    assert torch.equal(scene.background, 1 - batch.images)
    blurred = Scene.of(batch, scene.labels, Blur()).background
    assert torch.allclose(blurred, Blur()(batch), atol=1e-6)


def test_the_pictures_of_a_batch_are_gone_when_the_next_is_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier(Shapes(), [Head("h", ("a", "b"))]).eval()
    classifier.engine, alive = Engine(batch_size=2), []
    compose = Scene.compose

    def watched(self: Scene, owner: Tensor, keep: Tensor) -> Tensor:
        assert all(picture() is None for picture in alive)
        found = compose(self, owner, keep)
        alive.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Scene, "compose", watched)
    scene = Scene.of(batch_of(torch.rand(1, 1, 2, 3)), torch.arange(6).view(1, 2, 3), Zero())
    keep = torch.arange(8)[:, None] >> torch.arange(6) & 1 > 0
    evaluate(classifier, scene, torch.zeros(8, dtype=torch.long), keep)
    assert len(alive) == 4
