"""How alike maps are: SSIM, Spearman and top-k IoU, of two maps or of all pairs of many, on the maps' own device.

`content` says which cells count; what lies outside changes no number. What a map needs by itself (its order, its
Gaussian moments) is computed once and shared by all of its pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Float64, Int, Int32
from torch import Tensor

from xai_bench.ssim import Moments

SCORES = ("ssim", "spearman", "spearman_absolute", "top_k_iou")
HELD, MOST = 1 << 20, 256
"""Cells and maps that are prepared at once: bounds the memory."""


def similarity(
    maps: Float[Tensor, "t n h w"],
    content: Bool[Tensor, "n h w"],
    first: Int[Tensor, "p"],
    second: Int[Tensor, "p"],
    *,
    span: float,
    share: float = 0.1,
    scores: Sequence[str] = SCORES,
) -> Float64[Tensor, "s p"]:
    """The scores of pairs of maps; map `t * n + film` is twin t's of that film.

    Each is divided by its largest |a| for SSIM; `span` is then the data range, 1 for positive maps and 2 for signed
    ones; `share` of content, largest first, is compared by `top_k_iou`. Only cells in both films' content count. NaN
    where a score is undefined: SSIM without a counted cell, rank correlation of a constant map.
    """
    flat, films = maps.flatten(0, 1), len(content)
    most = min(MOST, max(2, HELD // (maps.shape[2] * maps.shape[3])))
    found = torch.full((len(scores), len(first)), torch.nan, dtype=torch.float64, device=maps.device)
    alike = _same_content(content, first % films, second % films)
    for part in _parts(first, second, alike, films, most):
        used, at = torch.unique(torch.stack([first[part], second[part]]), return_inverse=True)
        found[:, part] = Prepared(flat[used], content[used % films], span, share).compare(at[0], at[1], scores)
    for part in _split((~alike).nonzero()[:, 0], most // 2):  # each pair has a content of its own
        one, other = first[part], second[part]
        both = (content[one % films] & content[other % films]).repeat(2, 1, 1)
        at = torch.arange(len(part), device=maps.device)
        prepared = Prepared(flat[torch.cat([one, other])], both, span, share)
        found[:, part] = prepared.compare(at, at + len(part), scores)
    return found


def all_pairs(
    maps: Float[Tensor, "t n h w"],
    content: Bool[Tensor, "n h w"],
    *,
    span: float,
    share: float = 0.1,
    scores: Sequence[str] = SCORES,
) -> Float64[Tensor, "s p n"]:
    """The scores of every two twins on every film; pairs in the order 0-1, 0-2 ... 1-2 ...

    >>> maps = torch.rand(3, 2, 12, 12)
    >>> all_pairs(maps, maps[0] >= 0, span=1.0).shape
    torch.Size([4, 3, 2])
    """
    twins, films = maps.shape[:2]
    pairs = torch.tensor([*combinations(range(twins), 2)], dtype=torch.long, device=maps.device).reshape(-1, 2)
    first, second = (films * pairs.T[:, :, None] + torch.arange(films, device=maps.device)).flatten(1)
    found = similarity(maps, content, first, second, span=span, share=share, scores=scores)
    return found.view(len(scores), len(pairs), films)


def _same_content(content: Bool[Tensor, "n h w"], i: Int[Tensor, "p"], j: Int[Tensor, "p"]) -> Bool[Tensor, "p"]:
    """Whether two films show content in the same cells: their prepared maps can then be compared as they are."""
    same = i == j
    if content.all():
        return torch.ones_like(same)
    for part in _split((~same).nonzero()[:, 0], max(1, HELD // content[0].numel())):
        same[part] = (content[i[part]] == content[j[part]]).flatten(1).all(1)
    return same


def _split(pairs: Int[Tensor, "p"], size: int) -> tuple[Tensor, ...]:
    """Parts of at most `size`; none of nothing."""
    return torch.split(pairs, size) if len(pairs) else ()


def _parts(
    first: Int[Tensor, "p"], second: Int[Tensor, "p"], wanted: Bool[Tensor, "p"], films: int, most: int
) -> Iterator[Int[Tensor, "part"]]:
    """The wanted pairs, film by film, in parts that hold at most `most` different maps."""
    order = wanted.nonzero()[:, 0]
    order = order[torch.argsort(first[order] % films, stable=True)]
    held: set[int] = set()
    start = 0
    for at, pair in enumerate(zip(first[order].tolist(), second[order].tolist(), strict=True)):
        if len(held) + sum(m not in held for m in pair) > most:
            yield order[start:at]
            held, start = set(), at
        held.update(pair)
    if len(order):
        yield order[start:]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Maps with their content, and what the scores need of each of them whatever the pairs: once, when asked for."""

    maps: Float[Tensor, "m h w"]
    content: Bool[Tensor, "m h w"]
    span: float
    share: float

    @cached_property
    def _shown(self) -> Float[Tensor, "m h w"]:
        return torch.where(self.content, self.maps, 0)

    @cached_property
    def _moments(self) -> Moments:
        largest = self._shown.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(self.maps.dtype).tiny)
        return Moments.of(self._shown.double() / largest, self.content, self.span)

    @cached_property
    def _ranks(self) -> Ranks:
        return Ranks.of(self._shown.flatten(1), self.content.flatten(1))

    @cached_property
    def _absolute(self) -> Ranks:
        if (self._shown >= 0).all():
            return self._ranks
        return Ranks.of(self._shown.abs().flatten(1), self.content.flatten(1))

    @cached_property
    def _top(self) -> Top:
        return Top.of(self._shown.flatten(1), self.content.flatten(1), self.share, self._ranks.order)

    def compare(self, i: Int[Tensor, "p"], j: Int[Tensor, "p"], scores: Sequence[str]) -> Float64[Tensor, "s p"]:
        """The scores of the maps `i` against the maps `j`, which have the same content."""
        of = {
            "ssim": lambda: self._moments.ssim(i, j),
            "spearman": lambda: self._ranks.spearman(i, j),
            "spearman_absolute": lambda: self._absolute.spearman(i, j),
            "top_k_iou": lambda: self._top.iou(i, j),
        }
        return torch.stack([of[score]() for score in scores])


@dataclass(frozen=True, eq=False)
class Ranks:
    """Each row's order, and twice each rank's distance from the mean rank: whole numbers, whose sums are exact."""

    order: Int[Tensor, "m n"]  # ascending; entries that do not count come last
    doubled: Int32[Tensor, "m n"]

    @staticmethod
    def of(values: Float[Tensor, "m n"], mask: Bool[Tensor, "m n"]) -> Ranks:
        """Ranks among the entries of `mask`, ties averaged; 0 outside."""
        ordered, order = _sorted(values.masked_fill(~mask, torch.inf))
        n, counted = values.shape[1], mask.sum(1, keepdim=True, dtype=torch.int32)
        place = torch.arange(n, dtype=torch.int32, device=values.device)
        start = end = place.expand(values.shape)
        new = (ordered[:, 1:] != ordered[:, :-1]) | (place[1:] >= counted)
        if not new.all():  # ties
            edge = new.new_ones(len(new), 1)
            start = torch.where(torch.cat([edge, new], 1), place, 0).cummax(1).values
            end = torch.where(torch.cat([new, edge], 1), place, n).flip(1).cummin(1).values.flip(1)
        twice = torch.empty_like(order, dtype=torch.int32).scatter_(1, order, start + end + 1 - counted)
        return Ranks(order, twice.mul_(mask))

    def spearman(self, i: Int[Tensor, "p"], j: Int[Tensor, "p"]) -> Float64[Tensor, "p"]:
        """Rank correlation of rows; NaN where one is constant."""
        ranks = self.doubled.double()
        products = ranks @ ranks.T  # exact in any order; of all pairs, still quicker than the wanted ones alone
        own = products.diagonal()
        return products[i, j] / (own[i] * own[j]).sqrt()


@dataclass(frozen=True, eq=False)
class Top:
    """The largest entries of each row: which are surely in, and which share the remaining places by a tie."""

    sure: Bool[Tensor, "m n"]
    tied: Bool[Tensor, "m n"]
    size: Float64[Tensor, "m"]
    fraction: Float64[Tensor, "m"]  # of a tied entry

    @staticmethod
    def of(values: Float[Tensor, "m n"], mask: Bool[Tensor, "m n"], share: float, order: Int[Tensor, "m n"]) -> Top:
        """The largest `share` of the entries of `mask`, at least one; `order` as in Ranks."""
        counted = mask.sum(1, keepdim=True)
        size = (share * counted).round().long().clamp(min=1)
        last = values.gather(1, order.gather(1, (counted - size).clamp(min=0)))
        sure, tied = (values > last) & mask, (values == last) & mask
        fraction = (size - sure.sum(1, keepdim=True)) / tied.sum(1, keepdim=True).double()
        return Top(sure, tied, size[:, 0].double(), fraction[:, 0])

    def iou(self, i: Int[Tensor, "p"], j: Int[Tensor, "p"]) -> Float64[Tensor, "p"]:
        """sum(min) / sum(max) of memberships of 1, `fraction` and 0."""
        sure, tied = self.sure.float(), self.tied.float()
        both, mixed, ties = ((x @ y.T).double() for x, y in ((sure, sure), (sure, tied), (tied, tied)))
        least = torch.minimum(self.fraction[i], self.fraction[j])
        common = both[i, j] + mixed[i, j] * self.fraction[j] + mixed[j, i] * self.fraction[i] + ties[i, j] * least
        return common / (self.size[i] + self.size[j] - common)


def spearman(
    a: Float[Tensor, "b h w"], b: Float[Tensor, "b h w"], content: Bool[Tensor, "b h w"]
) -> Float64[Tensor, "b"]:
    """Rank correlation of two maps inside `content`, in [-1, 1], ties averaged; NaN where a map is constant."""
    return Ranks.of(torch.cat([a, b]).flatten(1), content.repeat(2, 1, 1).flatten(1)).spearman(*_sides(a))


def top_k_iou(
    a: Float[Tensor, "b h w"], b: Float[Tensor, "b h w"], content: Bool[Tensor, "b h w"], share: float = 0.1
) -> Float64[Tensor, "b"]:
    """Overlap of the largest `share` of two maps' pixels, in [0, 1].

    Pixels tied for the last places belong by the fraction that fits, and the overlap is sum(min) / sum(max): the usual
    IoU without ties, 1 for equal maps, and independent of memory order.
    """
    values, mask = torch.cat([a, b]).flatten(1), content.repeat(2, 1, 1).flatten(1)
    return Top.of(values, mask, share, Ranks.of(values, mask).order).iou(*_sides(a))


def _sides(maps: Float[Tensor, "b h w"]) -> tuple[Int[Tensor, "b"], Int[Tensor, "b"]]:
    at = torch.arange(len(maps), device=maps.device)
    return at, at + len(maps)


def _sorted(values: Float[Tensor, "b n"]) -> tuple[Tensor, Int[Tensor, "b n"]]:
    """What orders the values, ascending, and where each came from."""
    if not values.is_cpu or values.dtype != torch.float32:
        return values.sort(dim=1)
    bits = (values + 0.0).view(torch.int32)  # -0.0 has other bits than 0.0
    keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # whole numbers in the order of the values
    packed = (keys.long() << 32) | torch.arange(values.shape[1])
    packed.numpy().sort(axis=1)  # in place, and many times as fast as torch's own on a CPU
    return packed >> 32, packed & 0xFFFFFFFF
