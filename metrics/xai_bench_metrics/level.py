"""Level: which vertebra or disc holds the map's peak, and how many levels lie between it and the reference."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xai_bench.anatomy import NO_PLAYERS
from xai_bench.protocols import Batch, Case, Player, Reason, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench_metrics._contract import Polarity, conclude
from xai_bench_metrics._localization import POLARITY, view

FAR = 3
"""Levels; what is farther off is counted together."""
ABOVE = ("one_above", "two_above", "three_or_more_above")
BELOW = ("one_below", "two_below", "three_or_more_below")
NO_LEVEL = Reason("excluded", "region touches no vertebra or disc")
PEAK_OUTSIDE = Reason("excluded", "peak outside the spine")


@metric("level")
@dataclass(frozen=True)
class Level:
    """Whether the vertebral level that holds the peak of the positive part is a reference level; 0 to 1.

    A level is what the film's players say, the discs with the vertebra above. Reference levels are those of which at
    least half of the pixels lie in the region, else the one with the most of them. The peak is in a reference level
    (`level_hit`), in another one (`level_wrong`, which is split up by how many levels above or below the nearest
    reference level it is: `one_above` ...) or in none (`outside_spine`); `level_error` is that number of levels, where
    there is one. Tied maxima score their share, a constant map that of all pixels, the analytic chance; between two
    reference levels equally near, a level is half above and half below.
    """

    needs_region: ClassVar[bool] = True
    needs_players: ClassVar[bool] = True
    polarity: ClassVar[Polarity] = POLARITY

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """Shares of the peak, and a distance in levels."""
        share = ScoreInfo(None, binary=True)
        return {
            "level_hit": replace(share, better="higher", headline=True),
            "level_wrong": replace(share, better="lower"),
            "outside_spine": replace(share, better="lower"),
            "level_error": ScoreInfo("lower", 0.0, float("inf"), "levels"),
            **dict.fromkeys((*ABOVE, *BELOW), share),
        }

    def __call__(self, case: Case) -> Result:
        """One value a picture and score."""
        found = view(case).found
        levels, count = level_map(case.batch)
        peaks = (found.saliency == found.saliency.amax((1, 2), keepdim=True)) & found.content
        share = pixels(levels, peaks, count).double() / peaks.sum((1, 2))[:, None]
        inside, whole = (pixels(levels, mask, count)[:, 1:] for mask in (found.region, found.content))
        reference, spine = references(inside, whole), share[:, 1:]
        away, lower = offsets(reference)
        scores = {
            "level_hit": (spine * (away == 0)).sum(1),
            "level_wrong": (spine * (away > 0)).sum(1),
            "outside_spine": share[:, 0],
            "level_error": (spine * away).sum(1) / spine.sum(1),
        }
        for names, side in ((ABOVE, 1 - lower), (BELOW, lower)):
            scores |= {n: (spine * side * (away.clamp(max=FAR) == k)).sum(1) for k, n in enumerate(names, 1)}
        unmarked = [case.batch.players is None or not case.batch.players.names[n] for n in range(len(case.batch))]
        no_players = (torch.tensor(unmarked, device=share.device), NO_PLAYERS)
        no_level = (~reference.any(1), NO_LEVEL)
        own = {name: [no_players, no_level] for name in scores} | {"outside_spine": [no_players]}
        return conclude(found, scores, own | {"level_error": [no_players, no_level, (spine.sum(1) == 0, PEAK_OUTSIDE)]})


def level_map(batch: Batch) -> tuple[Int[Tensor, "b h w"], int]:
    """The level of each pixel, numbered from 1 at the top, 0 where there is none; and how many numbers there are."""
    if batch.players is None:
        return torch.zeros_like(batch.content, dtype=torch.long), 2
    numbers = [numbered(names) for names in batch.players.names]
    labels = batch.players.labels.long()
    most = max(int(labels.max()), *(max(known, default=0) for known in numbers))
    table = torch.tensor([[known.get(label, 0) for label in range(most + 1)] for known in numbers]).to(labels.device)
    return table.gather(1, labels.flatten(1)).view(labels.shape), 1 + max(1, int(table.max()))


def numbered(names: Mapping[int, Player]) -> dict[int, int]:
    """The number of each player's level, by the players' labels from the top; without those that have no level.

    >>> numbered({3: Player("L2", "L2"), 1: Player("L1", "L1"), 2: Player("L1-L2", "L1"), 4: Player("spine")})
    {1: 1, 2: 1, 3: 2}
    """
    levels = {label: level for label in sorted(names) if (level := names[label].level) is not None}
    order = {level: n for n, level in enumerate(dict.fromkeys(levels.values()), 1)}
    return {label: order[level] for label, level in levels.items()}


def pixels(levels: Int[Tensor, "b h w"], mask: Bool[Tensor, "b h w"], count: int) -> Int[Tensor, "b levels"]:
    """How many pixels of the mask each level has."""
    own = levels + count * torch.arange(len(levels), device=levels.device)[:, None, None]
    return torch.bincount(own[mask], minlength=count * len(levels)).view(-1, count)


def references(inside: Int[Tensor, "b levels"], whole: Int[Tensor, "b levels"]) -> Bool[Tensor, "b levels"]:
    """Levels with half of their pixels, or more, inside; where there is none, those with the most.

    >>> references(torch.tensor([[0, 2, 4], [1, 0, 0]]), torch.tensor([[9, 4, 4], [9, 4, 4]])).int().tolist()
    [[0, 1, 1], [1, 0, 0]]
    """
    some = inside > 0
    half = some & (2 * inside >= whole)
    return torch.where(half.any(1, keepdim=True), half, some & (inside == inside.amax(1, keepdim=True)))


def offsets(reference: Bool[Tensor, "b levels"]) -> tuple[Float[Tensor, "b levels"], Float[Tensor, "b levels"]]:
    """Levels to the nearest reference level, infinite without one; and whether below it, 0.5 where there are two.

    >>> away, lower = offsets(torch.tensor([[True, False, True, False]]))
    >>> away.tolist(), lower.tolist()
    ([[0.0, 1.0, 0.0, 1.0]], [[0.5, 0.5, 0.5, 1.0]])
    """
    at = torch.arange(reference.shape[1], device=reference.device)
    gap = (at[:, None] - at).double().expand(len(reference), -1, -1).masked_fill(~reference[:, None], torch.inf)
    away = gap.abs().amin(2)
    below, above = ((gap == side * away[:, :, None]).any(2).double() for side in (1, -1))
    return away, (1 + below - above) / 2
