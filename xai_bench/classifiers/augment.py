"""Augmentation of a whole batch at once, on tensors."""

from dataclasses import dataclass
from math import pi

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xai_bench.errors import BadInput


@dataclass(frozen=True)
class Augment:
    """Random changes of training pictures, uniform between minus and plus the field (flips: a probability).

    `shift` is a fraction of the side, `scale` of the size, `rotate` in degrees, `brightness` is added to values in
    [0, 1], `contrast` is a fraction about the picture's mean. What enters from outside is black.
    """

    shift: float = 0.05
    scale: float = 0.1
    rotate: float = 5.0
    flip: float = 0.0
    flip_vertical: float = 0.0
    brightness: float = 0.1
    contrast: float = 0.1

    def __post_init__(self) -> None:
        if min(self.shift, self.scale, self.rotate, self.flip, self.flip_vertical, self.brightness, self.contrast) < 0:
            raise BadInput(f"{self}: no field may be negative.")
        if self.scale >= 1 or max(self.flip, self.flip_vertical) > 1:
            raise BadInput(f"{self}: scale must be below 1, flips are probabilities.")

    def __call__(self, images: Float[Tensor, "b c h w"], generator: torch.Generator) -> Float[Tensor, "b c h w"]:
        """New pictures in [0, 1]; the generator (on the CPU) decides all."""

        def draw(size: float, columns: int = 1) -> Tensor:
            return ((2 * torch.rand(len(images), columns, generator=generator) - 1) * size).to(images.device)

        def mirrored(probability: float) -> Tensor:
            return torch.where(torch.rand(len(images), generator=generator) < probability, -1.0, 1.0).to(images.device)

        angle, scale, shift = draw(self.rotate)[:, 0], 1 + draw(self.scale)[:, 0], draw(self.shift, 2)
        mirror = torch.stack([mirrored(self.flip), mirrored(self.flip_vertical)], 1)
        moved = move(images, angle, scale, shift, mirror)
        gain, offset = 1 + draw(self.contrast)[:, :, None, None], draw(self.brightness)[:, :, None, None]
        mean = moved.mean((1, 2, 3), keepdim=True)
        return ((moved - mean) * gain + mean + offset).clamp(0, 1)


def move(
    images: Float[Tensor, "b c h w"],
    angle: Float[Tensor, "b"],
    scale: Float[Tensor, "b"],
    shift: Float[Tensor, "b 2"],
    mirror: Float[Tensor, "b 2"],
) -> Float[Tensor, "b c h w"]:
    """Mirror (-1 for x, y), enlarge by `scale`, turn by `angle` degrees counter-clockwise, shift by (x, y) fractions.

    >>> images, mirror = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[-1.0, 1.0]])
    >>> move(images, torch.zeros(1), torch.ones(1), torch.zeros(1, 2), mirror).flatten().tolist()
    [2.0, 1.0]
    """
    height, width = images.shape[2:]
    c, s = torch.cos(angle * pi / 180) / scale, torch.sin(angle * pi / 180) / scale
    # Where each output pixel comes from, in affine_grid's coordinates: [-1, 1] on both axes whatever the aspect ratio.
    turn = torch.stack([torch.stack([c, -s * height / width], 1), torch.stack([s * width / height, c], 1)], 1)
    linear = mirror[:, :, None] * turn
    offset = -(linear @ (2 * shift)[:, :, None])
    grid = F.affine_grid(torch.cat([linear, offset], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
