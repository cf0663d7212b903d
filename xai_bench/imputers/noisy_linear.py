"""Removed pixels show the weighted mean of their neighbors and a little noise: ROAD's noisy linear imputation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Batch
from xai_bench.registry import imputer
from xai_bench.seeding import generator

TOLERANCE = 1e-10
"""Where r.Br is below it, for the residual r and the multigrid cycle B, no pixel is off by 1e-4.

|error at i|^2 <= (A^-1)_ii r.A^-1 r, and r.A^-1 r <= r.Br / (the least eigenvalue of BA). That eigenvalue is about
0.25; (A^-1)_ii is the resistance between pixel i and the shown pixels: mostly below 1, and below 10 for any picture
that is more than a few pixels thin. What is found is nearer, by a factor of 10 and more.
"""

STEPS = 200
"""What a picture needs is about 10; one pixel wide and 1000 long it needs 60."""

DAMPING = 0.9
"""Of Jacobi steps. Without it lines one pixel wide converge slowly; with more, everything does."""

CACHED = 2**18
"""Numbers that a CPU solves for together: what fits into its cache takes half the time."""


@imputer("noisy_linear", cite="Rong et al. 2022")
@dataclass(frozen=True)
class NoisyLinear:
    """Each hidden pixel is the weighted mean of its 8 neighbors (direct 1/6, diagonal 1/12), plus Gaussian noise.

    Hidden neighbors are unknowns of the same linear system; those beyond the picture or in its padding do not count.
    Solved to 1e-4 of the intensity range. Pixels that no shown pixel reaches get the mean of the picture's content, as
    do those of a picture with NaN in its shown pixels (a NaN). `noise` is a standard deviation, in units of intensity.
    """

    noise: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < float("inf"):
            raise BadInput(f"noisy_linear: noise {self.noise}; expected 0 or more, such as 0.01.")

    def __call__(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        """The noise of every picture."""
        shape = batch.images.shape[1:]
        drawn = [torch.randn(shape, generator=generator(self.seed, name)) for name in batch.ids]
        return self.noise * torch.stack(drawn).to(batch.images)

    def fill(
        self,
        images: Float[Tensor, "n c h w"],
        background: Float[Tensor, "n c h w"],
        shown: Bool[Tensor, "n h w"],
        content: Bool[Tensor, "n h w"],
    ) -> Float[Tensor, "n c h w"]:
        """Pictures with their hidden pixels solved for; `background` is the noise.

        Raises ArithmeticError where the solution is not found: a picture far from [0, 1], or extremely long and thin.
        """
        known = shown & content
        known = known & (images.isfinite() | ~known[:, None]).all(3).all(2).all(1)[:, None, None]
        unknown = content & ~shown & reached(known, content)
        inside = content[:, None].to(images.dtype)
        mean = dot(images.where(content[:, None], 0), inside) / dot(inside, inside).clamp(min=1)
        systems, solved = (images.where(known[:, None], 0), unknown, known, content), torch.empty_like(images)
        for start in range(0, len(images), together(images)):
            part = slice(start, start + together(images))
            solved[part] = solve(*(whole[part] for whole in systems))
        values = torch.where(unknown[:, None], solved, mean)
        return torch.where((shown | ~content)[:, None], images, values + background)


def together(images: Float[Tensor, "n c h w"]) -> int:
    """How many pictures are solved for together: all at once on a GPU."""
    on_cpu = images.device.type == "cpu"
    return max(1, CACHED // images[:1].numel() if on_cpu and len(images) else len(images))


def reached(known: Bool[Tensor, "n h w"], content: Bool[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
    """The pixels of the content that are joined to a known one, diagonally too."""
    rows, columns = content.any(2), content.any(1)
    whole = (content == (rows[:, :, None] & columns[:, None])).all(2).all(1) & one_run(rows) & one_run(columns)
    found = torch.where(whole[:, None, None], known.any(2).any(1)[:, None, None] & content, known)
    before = None if whole.all() else ~found
    while before is not None and not found.equal(before):  # some content is no rectangle, and may be in parts
        before, found = found, (F.max_pool2d(found[:, None].float(), 3, 1, 1)[:, 0] > 0) & content
    return found


def one_run(line: Bool[Tensor, "n k"]) -> Bool[Tensor, " n"]:
    """Whether what is true is without gaps.

    >>> one_run(torch.tensor([[False, True, True], [True, False, True]])).tolist()
    [True, False]
    """
    return (F.pad(line, (1, 0))[:, :-1] < line).sum(1) <= 1


def solve(
    values: Float[Tensor, "n c h w"],
    unknown: Bool[Tensor, "n h w"],
    known: Bool[Tensor, "n h w"],
    content: Bool[Tensor, "n h w"],
) -> Float[Tensor, "n c h w"]:
    """The unknown pixels, by conjugate gradients preconditioned with multigrid (McAdams et al. 2010).

    `values` are 0 outside `known`. Every system is stopped by itself and no sum runs over two of them, so that none
    depends on its companions. The unit is 1, or the largest known value about the mean where that is more.
    """
    where = known[:, None].to(values.dtype)
    levels = hierarchy(unknown[:, None].to(values.dtype), content[:, None].to(values.dtype))
    mean = dot(values, where) / dot(where, where).clamp(min=1)
    values = (values - mean) * where
    unit = values.abs().amax((2, 3), keepdim=True).clamp(min=1)
    x, residual = torch.zeros_like(values), levels[0].hidden * spread(values / unit)
    direction, before = x, torch.ones_like(unit)
    for _ in range(STEPS):
        z = cycle(levels, residual)
        size = dot(residual, z)
        done = size <= TOLERANCE
        if done.all():
            return mean + unit * x
        direction = z + torch.where(done, 0, size / before) * direction
        image = levels[0].apply(direction)
        step = torch.where(done, 0, size / dot(direction, image))
        x, residual, before = x + step * direction, residual - step * image, size
    h, w = values.shape[-2:]
    raise ArithmeticError(
        f"imputer 'noisy_linear' did not converge in {STEPS} steps on a picture of {h} x {w} pixels with values up to "
        f"{float((mean.abs() + unit).max()):.3g}; expected a film with values in [0, 1]: use imputer 'blur' or 'telea'."
    )


@dataclass(frozen=True)
class Level:
    """The linear system on one grid, times 12: `total` weights x - the neighbors' sum, on hidden pixels."""

    hidden: Float[Tensor, "n 1 h w"]
    content: Float[Tensor, "n 1 h w"]
    total: Float[Tensor, "n 1 h w"]  # of the weights 1 2 1 x 1 2 1 of the pixels that exist, its own 4 too
    jacobi: Float[Tensor, "n 1 h w"]  # 0 where not hidden, like the next
    share: Float[Tensor, "n 1 h w"]  # 1 / the weights of the coarse pixels that a pixel is interpolated from

    @classmethod
    def of(cls, hidden: Float[Tensor, "n 1 h w"], content: Float[Tensor, "n 1 h w"]) -> Level:
        """The system of these hidden pixels."""
        total = spread(content)
        coarse = doubled((halved(content) > 0).to(content.dtype), content)
        return cls(
            hidden,
            content,
            hidden * total,
            DAMPING * hidden / (total - 4).clamp(min=1),
            hidden / spread(coarse).clamp(min=1),
        )

    def apply(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The system times x, which is 0 where nothing is hidden."""
        return self.total * x - self.hidden * spread(x)

    def relax(self, x: Float[Tensor, "n c h w"], right: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """A Jacobi step towards system x = right."""
        return x + self.jacobi * (right - self.apply(x))


def hierarchy(hidden: Float[Tensor, "n 1 h w"], content: Float[Tensor, "n 1 h w"]) -> tuple[Level, ...]:
    """The system on grids of half the size each; their number depends on the size only.

    A coarse pixel is hidden where all of its pixels are: so shown ones are never interpolated across.
    """
    levels = [Level.of(hidden, content)]
    while max(levels[-1].hidden.shape[-2:]) > 4:
        hidden, content = halved(levels[-1].hidden), halved(levels[-1].content)
        exists = content > 0
        levels.append(Level.of(((hidden == content) & exists).to(hidden.dtype), exists.to(hidden.dtype)))
    return tuple(levels)


def cycle(levels: tuple[Level, ...], right: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """A V-cycle from 0: nearly the solution of the first level's system, and symmetric."""
    here, coarser = levels[0], levels[1:]
    x = here.jacobi * right
    if coarser:
        smooth = cycle(coarser, halved(spread(here.share * (right - here.apply(x)))))
        return here.relax(x + here.share * spread(doubled(smooth, x)), right)
    for _ in range(8):
        x = here.relax(x, right)
    return x


def spread(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Each pixel's neighborhood summed with weights 1 2 1, 2 4 2, 1 2 1, and 0 beyond the picture.

    >>> spread(torch.tensor([[[[0.0, 1.0, 0.0]]]])).tolist()
    [[[[2.0, 4.0, 2.0]]]]
    """
    x = F.pad(x, (1, 1, 1, 1))
    for _ in range(2):
        x = x[..., :-1] + x[..., 1:]
    for _ in range(2):
        x = x[..., :-1, :] + x[..., 1:, :]
    return x


def halved(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """The sums of 2 x 2 pixels."""
    h, w = x.shape[-2:]
    x = F.pad(x, (0, w % 2, 0, h % 2))
    x = x[..., ::2] + x[..., 1::2]
    return x[..., ::2, :] + x[..., 1::2, :]


def doubled(x: Float[Tensor, "n c h2 w2"], like: Float[Tensor, "n _ h w"]) -> Float[Tensor, "n c h w"]:
    """Every pixel as 2 x 2 pixels, cut to the size of `like`: what `halved` is the transpose of."""
    h, w = like.shape[-2:]
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)[..., :h, :w]


def dot(x: Tensor, y: Tensor) -> Float[Tensor, "n c 1 1"]:
    """The sum of the products of every picture and channel; row by row, as torch sums one long row in another order."""
    return (x * y).sum(3).sum(2)[..., None, None]
