"""Who the players are: superpixels, a grid, or the anatomy that the dataset drew; and what LIME does with them."""

from __future__ import annotations

import functools
import hashlib
import re
import weakref
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.errors import BadInput, Unfit
from xai_bench.perturbation import grid
from xai_bench.protocols import Batch
from xai_bench.seeding import derive

ALGORITHMS = ("quickshift", "slic", "felzenszwalb")


def check_segmentation(who: str, segmentation: str) -> None:
    """Raises BadInput for a segmentation that does not exist."""
    if segmentation not in (*ALGORITHMS, "anatomy") and not re.fullmatch(r"grid\([1-9]\d*\)", segmentation):
        raise BadInput(
            f"{who}: segmentation {segmentation!r} is not known; expected {', '.join(ALGORITHMS)}, 'grid(8)' or "
            "'anatomy'."
        )


def players(batch: Batch, segmentation: str) -> Int[Tensor, "b h w"]:
    """The player of each pixel, numbered from 0 without gaps in each picture; on the device of the pictures.

    `anatomy` takes the players that the batch carries; the pixels of none of them are together one more player, so that
    what does not belong to the spine has one value beside those of the vertebrae. Raises Unfit where it carries none.
    """
    _, _, h, w = batch.images.shape
    if segmentation == "anatomy":
        if batch.players is None:
            raise Unfit("the films carry no anatomical players; use segmentation 'quickshift' or 'grid(8)'.")
        return torch.stack([torch.unique(one, return_inverse=True)[1] for one in batch.players.labels])
    if segmentation.startswith("grid"):
        cells = int(segmentation[5:-1])
        if min(h, w) < cells:
            raise BadInput(f"a grid of {cells} x {cells} cells does not fit into {h} x {w} pixels; use fewer cells.")
        return grid(h, w, cells).to(batch.images.device).expand(len(batch), -1, -1)
    found: list[Tensor] = []
    for i, image in enumerate(batch.images):
        repeats = i > 0 and torch.equal(image, batch.images[i - 1])  # a padded batch repeats its last picture
        found.append(found[-1] if repeats else torch.from_numpy(superpixels(image, segmentation)))
    return torch.stack(found).to(batch.images.device)


def superpixels(image: Float[Tensor, "c h w"], algorithm: str) -> Int[NDArray[np.int32], "h w"]:
    """The segmentation of the picture in RGB by the package `lime`, numbered from 0 without gaps."""
    array = image.float().cpu().contiguous().numpy()
    digest = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
    return _segmented(_Film(digest, weakref.ref(array)), algorithm).copy()


@dataclass(frozen=True)
class _Film:
    """A picture that is known by its content; the cache, which keeps what it was asked, does not keep the pixels."""

    digest: str
    array: weakref.ref[NDArray[np.float32]] = field(compare=False)


@functools.lru_cache(maxsize=64)  # a block of films: several methods ask for the same players, one after the other
def _segmented(film: _Film, algorithm: str) -> Int[NDArray[np.int32], "h w"]:
    from lime.wrappers.scikit_image import SegmentationAlgorithm

    # The package's own defaults; the other algorithms run with scikit-image's, as a user of the package gets them.
    options = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2} if algorithm == "quickshift" else {}
    image = film.array()
    assert image is not None  # whoever asks holds it
    rgb = np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0), np.float64)
    found = SegmentationAlgorithm(algorithm, **options)(rgb)
    # Without this, the package never hides the last superpixel of slic, which counts from 1.
    return np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int32)


def paint(values: Float[Tensor, "b players"], labels: Int[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Each player's value on its pixels."""
    return values.gather(1, labels.flatten(1).long()).view(labels.shape)


def mean_colors(images: Float[Tensor, "b c h w"], labels: Int[Tensor, "b h w"]) -> Float[Tensor, "b c h w"]:
    """Each pixel replaced by the mean color of its player, summed in double precision as in the package `lime`.

    >>> mean_colors(torch.tensor([[[[0.0, 1.0, 5.0]]]]), torch.tensor([[[0, 0, 1]]]))[0, 0].tolist()
    [[0.5, 0.5, 5.0]]
    """
    return torch.stack([_mean_color(*both) for both in zip(images, labels, strict=True)])


def _mean_color(image: Float[Tensor, "c h w"], labels: Int[Tensor, "h w"]) -> Float[Tensor, "c h w"]:
    colors, where = image.flatten(1).double(), labels.flatten().long()
    everywhere = where.expand_as(colors)
    totals = colors.new_zeros(len(colors), int(where.max()) + 1).scatter_add_(1, everywhere, colors)
    return (totals / where.bincount(minlength=totals.shape[1])).to(image).gather(1, everywhere).view(image.shape)


def coin_flips(seed: int, picture_id: str, samples: int, count: int) -> Bool[Tensor, "m players"]:
    """Random coalitions, each player with probability 1/2, drawn as the package `lime` draws them."""
    random = np.random.RandomState(derive(seed, picture_id) % 2**32)  # the package's kind
    return torch.from_numpy(random.randint(0, 2, samples * count).reshape(samples, count) > 0)
