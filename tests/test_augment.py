"""Batched augmentation against torch's own flips, turns and shifts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xai_bench.classifiers.augment import Augment, move
from xai_bench.errors import BadInput

NONE = {"shift": 0.0, "scale": 0.0, "rotate": 0.0, "brightness": 0.0, "contrast": 0.0}


def moved(
    images: torch.Tensor,
    angle: float = 0,
    scale: float = 1,
    shift: tuple[float, float] = (0, 0),
    mirror: tuple[int, int] = (1, 1),
) -> torch.Tensor:
    b = len(images)
    return move(
        images,
        torch.full((b,), float(angle)),
        torch.full((b,), float(scale)),
        torch.tensor([shift] * b).float(),
        torch.tensor([mirror] * b).float(),
    )


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 6, 10, generator=torch.Generator().manual_seed(0))


def test_nothing_changes_nothing(images: torch.Tensor) -> None:
    torch.testing.assert_close(moved(images), images)
    torch.testing.assert_close(Augment(**NONE)(images, torch.Generator()), images)


def test_mirrors_are_flips(images: torch.Tensor) -> None:
    torch.testing.assert_close(moved(images, mirror=(-1, 1)), images.flip(3))
    torch.testing.assert_close(moved(images, mirror=(1, -1)), images.flip(2))
    always = Augment(**NONE, flip=1.0, flip_vertical=1.0)(images, torch.Generator())
    torch.testing.assert_close(always, images.flip(2, 3))


def test_a_shift_moves_by_pixels_and_brings_in_black(images: torch.Tensor) -> None:
    right = moved(images, shift=(2 / 10, 0))
    torch.testing.assert_close(right[..., 2:], images[..., :-2])
    assert (right[..., :2].abs() < 1e-5).all()
    down = moved(images, shift=(0, 1 / 6))
    torch.testing.assert_close(down[:, :, 1:], images[:, :, :-1])


def test_a_quarter_turn_is_counter_clockwise_on_squares_and_keeps_shapes_elsewhere(images: torch.Tensor) -> None:
    square = images[..., :6]
    torch.testing.assert_close(moved(square, angle=90), torch.rot90(square, 1, (2, 3)), atol=1e-5, rtol=0)
    wide = torch.zeros(1, 1, 21, 41)
    wide[..., 10, 13:28] = 1  # a line of 15 px about the center stays 15 px long, standing up
    turned = moved(wide, angle=90)[0, 0]
    torch.testing.assert_close(turned[3:18, 20], torch.ones(15), atol=1e-4, rtol=0)
    assert turned.sum().item() == pytest.approx(15, abs=1e-3)


def test_enlarging_by_two_makes_a_square_four_times_as_large() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., 6:10, 6:10] = 1
    assert moved(image, scale=2).sum().item() == pytest.approx(4 * 16, rel=0.05)


@given(st.integers(0, 2**31))
def test_result_is_in_range_and_a_function_of_the_generator(seed: int) -> None:
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    augment = Augment(flip=0.5, rotate=30.0, brightness=0.5, contrast=0.5)
    one, same = (augment(images, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(one, same)
    assert one.min() >= 0
    assert one.max() <= 1


def test_brightness_and_contrast_are_a_line_about_the_mean() -> None:
    images = torch.tensor([0.4, 0.6]).repeat(1000, 8).view(1000, 1, 4, 4)
    found = Augment(**{**NONE, "brightness": 0.1, "contrast": 0.2})(images, torch.Generator().manual_seed(0))
    mean, spread = found.mean((1, 2, 3)) - 0.5, (found.amax((1, 2, 3)) - found.amin((1, 2, 3))) / 0.2
    assert mean.abs().max() <= 0.1 + 1e-5
    assert (spread - 1).abs().max() <= 0.2 + 1e-4
    assert mean.abs().max() > 0.09
    assert (spread - 1).abs().max() > 0.19


@pytest.mark.parametrize("field", [{"shift": -0.1}, {"scale": 1.0}, {"flip": 1.5}])
def test_impossible_fields_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Augment(**field)
