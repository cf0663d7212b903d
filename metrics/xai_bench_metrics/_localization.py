"""What the localization metrics share: a case checked once, its map sorted once, and what every threshold takes.

All of them look at the positive part of the map. Sorting its pixels costs more than any score, so the last case is
kept, and metrics that are asked about it one after another share the work.
"""

import math
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int, Int32
from torch import Tensor

from xai_bench.protocols import Case, Reason, Saliency
from xai_bench_metrics._contract import Checked, Polarity, check

POLARITY: Polarity = "positive"
EMPTY = Reason("excluded", "empty prediction")
BINS = 256
"""Of Otsu's histogram, as in scikit-image."""
LEAST = 0x3F800000
"""The key of relevance 0. The bits of a float32 of 0 or more rise with it: keys fall, in 31 bits with the sign."""
OUTSIDE = 0x3FFFFFFF
"""The key of pixels outside content, above all others."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A set of pixels of each map: how many, and how many of them lie in the region."""

    taken: Int[Tensor, "b"]
    hits: Int[Tensor, "b"]


@dataclass(frozen=True, eq=False)
class Draw:
    """The |m| most relevant pixels: some are in for sure, the other places are drawn from one group of tied pixels."""

    size: Int[Tensor, "b"]  # |m|
    sure: Prediction
    tied: Prediction

    @property
    def places(self) -> Int[Tensor, "b"]:
        """How many of the tied pixels are drawn."""
        return self.size - self.sure.taken

    @property
    def share(self) -> Float64[Tensor, "b"]:
        """Expected share of the |m| most relevant pixels that lie in the region, over all orders of the tied ones."""
        drawn = self.places * self.tied.hits.double() / self.tied.taken.clamp(min=1)
        return (self.sure.hits + drawn) / self.size.clamp(min=1)


@dataclass(frozen=True, eq=False)
class Steps:
    """Every group of tied pixels that holds some of the region, most relevant first, picture after picture."""

    count: Int[Tensor, "b"]  # steps of each picture
    taken: Int[Tensor, "steps"]  # pixels down to and with this group
    hits: Int[Tensor, "steps"]  # of them, those in the region
    new_taken: Int[Tensor, "steps"]  # pixels of the group
    new_hits: Int[Tensor, "steps"]

    def reduce(self, how: Literal["sum", "max"], values: Float64[Tensor, "steps"]) -> Float64[Tensor, "b"]:
        """Sum or maximum over a picture's steps, 0 without any; in the same order whatever the other pictures are."""
        return torch.segment_reduce(values, how, lengths=self.count, initial=0)

    def spread(self, values: Int[Tensor, "b"]) -> Int[Tensor, "steps"]:
        """A picture's value at each of its steps."""
        return values.repeat_interleave(self.count)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The pixels of content from the most to the least relevant, and the region in that order."""

    pixels: Int32[Tensor, "b n"]  # ascending; key * 2 + (is in the region), and keys fall with the relevance
    hits: Int32[Tensor, "b n"]  # pixels of the region up to here
    content: Int32[Tensor, "b"]  # pixels of content
    size: Int32[Tensor, "b"]  # pixels of the region

    @staticmethod
    def of(maps: Saliency, content: Bool[Tensor, "b h w"], region: Bool[Tensor, "b h w"]) -> "Ranking":
        """Sort maps of 0 or more; the region lies inside content. Relevance counts as float32, the stored form.

        The region's bit is the lowest of what is sorted: it comes along for nothing, last among tied pixels.
        """
        pixels = _key(maps).masked_fill_(~content, OUTSIDE).mul_(2).add_(region).flatten(1)
        if pixels.is_cpu:
            pixels.numpy().sort(axis=1)  # in place, and over ten times as fast as torch's own on a CPU
        else:
            pixels = pixels.sort(1).values
        hits = (pixels & 1).cumsum(1, dtype=torch.int32)
        return Ranking(pixels, hits, content.sum((1, 2), dtype=torch.int32), hits[:, -1])

    @cached_property
    def steps(self) -> Steps:
        """Where thresholds matter: between two pixels of the region, lowering one only makes things worse."""
        n = self.pixels.shape[1]
        last = (self.pixels[:, 1:] ^ self.pixels[:, :-1]) >> 1 != 0  # the next pixel has another key
        ends = F.pad(last, (0, 1), value=True).flatten().nonzero()[:, 0]
        found = (self.pixels.flatten()[ends] & 1).nonzero()[:, 0]
        end, before = ends[found], torch.where(found > 0, ends[(found - 1).clamp(min=0)], -1)
        picture, hits = end // n, self.hits.flatten()[end]
        first = F.pad(picture[1:] != picture[:-1], (1, 0), value=True)[: len(end)]
        new_hits = hits - F.pad(hits, (1, 0))[:-1].masked_fill(first, 0)
        count = torch.bincount(picture, minlength=len(self.pixels))
        return Steps(count, end % n + 1, hits, end - before, new_hits)

    @cached_property
    def matched(self) -> Draw:
        """As many pixels as the region has."""
        key = self.pixels.gather(1, (self.size.long() - 1).clamp(min=0)[:, None]) >> 1
        sure, upto = (self._first(torch.searchsorted(self.pixels, 2 * bound)[:, 0]) for bound in (key, key + 1))
        return Draw(self.size, sure, Prediction(upto.taken - sure.taken, upto.hits - sure.hits))

    def above(self, threshold: Float64[Tensor, "b"]) -> Prediction:
        """The pixels whose relevance is larger than the picture's threshold."""
        return self._first(self._count(threshold[:, None])[:, 0])

    @cached_property
    def otsu(self) -> Prediction:
        """The pixels above Otsu's threshold; none in a constant map."""
        return self.above(self._otsu())

    @cached_property
    def dice_max(self) -> Float64[Tensor, "b"]:
        """The largest Dice, 2 |P and m| / (|P| + |m|), of the pixels P above any value of the map.

        The lowest value is above none, so no P is the whole content, and a constant map predicts nothing.
        """
        steps = self.steps
        dice = 2 * steps.hits.double() / (steps.taken + steps.spread(self.size))
        return steps.reduce("max", dice.masked_fill(steps.taken == steps.spread(self.content), 0))

    def _first(self, taken: Int[Tensor, "b"]) -> Prediction:
        """The first so many pixels of each row."""
        hits = self.hits.gather(1, (taken - 1).clamp(min=0)[:, None])[:, 0]
        return Prediction(taken, hits.masked_fill(taken == 0, 0))

    def _count(self, thresholds: Float64[Tensor, "b k"]) -> Int[Tensor, "b k"]:
        """How many pixels of content have a relevance larger than each threshold."""
        near = thresholds.float()  # the largest float32 at or below has the same pixels above it
        below = torch.where(near.double() > thresholds, near.nextafter(torch.full_like(near, -torch.inf)), near)
        return torch.searchsorted(self.pixels, 2 * torch.where(below < 0, LEAST + 1, _key(below)))

    def _otsu(self) -> Float64[Tensor, "b"]:
        """Otsu's threshold inside content, as scikit-image finds it; the constant itself in a constant map."""
        last = (self.content.long() - 1).clamp(min=0)[:, None]
        low, high = (_relevance(self.pixels.gather(1, at) >> 1) for at in (last, torch.zeros_like(last)))
        edges = torch.arange(BINS + 1, device=low.device, dtype=torch.float64) * ((high - low) / BINS) + low
        reached = self._count(edges[:, :-1].nextafter(edges.new_tensor(-torch.inf)))  # at or above each bin's edge
        count = (reached - F.pad(reached[:, 1:], (0, 1))).double()
        middle = ((edges[:, 1:] + edges[:, :-1]) / 2).gather(1, _split(count))
        return torch.where(high > low, middle, high)[:, 0]


def _key(relevance: Float[Tensor, "..."]) -> Int32[Tensor, "..."]:
    return LEAST - relevance.detach().float().abs().view(torch.int32)  # abs: -0.0 has another bit than 0.0


def _relevance(key: Int32[Tensor, "..."]) -> Float64[Tensor, "..."]:
    return (LEAST - key).clamp(min=0).view(torch.float32).double()


def _split(count: Float64[Tensor, "b n"]) -> Int[Tensor, "b 1"]:
    """The bin at which the variance between the two classes is largest, the first of equals.

    In units of bins all sums are whole numbers: exact in any order, so empty bins tie on every device.
    """
    mass = count * torch.arange(count.shape[1], device=count.device)
    below, above = count.cumsum(1)[:, :-1], count.flip(1).cumsum(1).flip(1)[:, 1:]
    mean_below, mean_above = mass.cumsum(1)[:, :-1] / below, mass.flip(1).cumsum(1).flip(1)[:, 1:] / above
    return (below * above * (mean_below - mean_above) ** 2).argmax(1, keepdim=True)


@dataclass(frozen=True, eq=False)
class View:
    """A case as this family sees it: checked, and ranked when a metric first asks for that."""

    found: Checked

    @cached_property
    def ranking(self) -> Ranking:
        """The region along the sorted maps."""
        return Ranking.of(self.found.saliency, self.found.content, self.found.region)


@dataclass(frozen=True, eq=False)
class _Seen:
    maps: "weakref.ref[Tensor]"
    given: tuple[Tensor, ...]  # copies, because the originals may change
    state: tuple[str, ...]
    view: View


_LAST: list[_Seen] = []  # one at most, and none once its maps are gone; read and written in single steps, for threads


def view(case: Case) -> View:
    """The case as this family sees it: the same object again while maps, content and region hold the same values.

    Raises BadInput where the case has no region, or maps of another size than the pictures.
    """
    given = tuple(t for t in (case.saliency, case.batch.content, case.region) if t is not None)
    for seen in _LAST[:]:
        if seen.state == case.region_state and len(seen.given) == len(given) and all(map(_same, seen.given, given)):
            return seen.view
    made = View(check(case, POLARITY))
    copies = tuple(t.detach().clone() for t in given)
    _LAST[:] = [_Seen(weakref.ref(case.saliency, _forget), copies, case.region_state, made)]
    return made


def _forget(maps: "weakref.ref[Tensor]") -> None:
    _LAST[:] = [seen for seen in _LAST if seen.maps is not maps]


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal bit by bit, so NaN is equal to itself; compared in the longest words that rows divide into."""
    if (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
        return False
    bits = math.gcd(a.shape[-1], a.storage_offset(), b.storage_offset()) * a.element_size() * 8
    word = next(w for w in (torch.int64, torch.int32, torch.int16, torch.int8) if bits % torch.iinfo(w).bits == 0)
    return torch.equal(a.contiguous().view(word), b.contiguous().view(word))
