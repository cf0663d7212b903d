"""Coalitions: composed pictures, fixed batch shapes, the score asked for; imputers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.imputers import Blur, TrainingMean, Zero, gaussian_blur
from xai_bench.perturbation import compose, evaluate_coalitions
from xai_bench.protocols import Batch
from xai_bench.samples import Head
from xai_bench.workbench import Counter


class Shapes(nn.Module):
    """Logits (mean, 0), remembering the batch shapes that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(tuple(x.shape))
        return torch.stack([x.mean((1, 2, 3)), torch.zeros(len(x))], 1)


def batch(images: Tensor) -> Batch:
    b, _, h, w = images.shape
    return Batch(
        images,
        torch.zeros(b, dtype=torch.long),
        tuple(map(str, range(b))),
        torch.ones(b, h, w, dtype=torch.bool),
        None,
        torch.full((b, 2), torch.nan),
    )


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 8), st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_coalitions_equal_a_plain_loop_in_any_batch_size(b: int, m: int, batch_size: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    images, baselines = torch.rand(b, 1, 6, 5, generator=g), torch.rand(b, 1, 6, 5, generator=g)
    labels = torch.randint(0, 4, (b, 6, 5), generator=g)
    keep = torch.rand(b, m, 4, generator=g) < 0.5
    model = Shapes()
    classifier = Classifier(model, [Head("h", ("x", "y"))])
    with Counter().on(classifier) as counter:
        found = evaluate_coalitions(
            classifier,
            images,
            baselines,
            labels,
            keep,
            torch.zeros(b, dtype=torch.long),
            batch_size=batch_size,
            score="logit",
        )
    plain = torch.empty(b, m)
    for i in range(b):
        for j in range(m):
            picture = images[i].clone()
            for row in range(6):
                for column in range(5):
                    if not keep[i, j, labels[i, row, column]]:
                        picture[:, row, column] = baselines[i, :, row, column]
            plain[i, j] = picture.mean()
    assert torch.allclose(found, plain, atol=1e-6)
    assert model.seen == {(batch_size, 1, 6, 5)}
    assert counter.evaluations == -(-b * m // batch_size) * batch_size


def test_a_mask_is_the_same_on_all_channels() -> None:
    image = torch.rand(1, 3, 2, 2)
    shown = compose(image, torch.zeros_like(image), torch.tensor([[[0, 1], [1, 0]]]), torch.tensor([[True, False]]))
    assert torch.equal(shown[0, :, 0, 0], image[0, :, 0, 0]) and (shown[0, :, 0, 1] == 0).all()


def test_zero_and_training_mean() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert (Zero()(batch(images)) == 0).all()
    halves = [(batch(images[:3]), {}), (batch(images[3:]), {})]
    fitted = TrainingMean().fit(halves)  # type: ignore[arg-type]  # a list iterates like TrainingData
    assert torch.allclose(fitted(batch(images))[2], images.mean(0))
    with pytest.raises(BadInput, match="was not fitted"):
        TrainingMean()(batch(images))
    with pytest.raises(BadInput, match="needs training films"):
        TrainingMean().fit([])  # type: ignore[arg-type]  # the same
    with pytest.raises(BadInput, match=r"fitted on \(8, 8\)"):
        fitted(batch(torch.rand(1, 1, 9, 9)))


def test_blur_equals_scipy_and_scales_with_the_picture() -> None:
    from scipy.ndimage import gaussian_filter

    images = torch.rand(2, 1, 64, 64)
    expected = gaussian_filter(images[1, 0].double().numpy(), 3.0, mode="nearest", truncate=3.0)
    assert abs(gaussian_blur(images, 3.0)[1, 0].numpy() - expected).max() < 1e-5
    assert torch.equal(Blur(14.0)(batch(images)), gaussian_blur(images, 4.0))
    assert torch.allclose(gaussian_blur(torch.ones(1, 1, 20, 20), 9.0), torch.ones(1, 1, 20, 20), atol=1e-6)
