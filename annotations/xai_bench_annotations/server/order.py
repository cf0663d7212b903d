"""In which order a reader sees the films: at random, and some of them again much later."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple


class Turn(NamedTuple):
    """One place in a reader's worklist: the film, and whether it is its first (1) or repeat reading (2)."""

    film: str
    read: int


def further_turns(earlier: Sequence[Turn], new: Sequence[str], repeats: float, random: Random) -> list[Turn]:
    """What follows the earlier turns when films are added: the new ones in random order and the repeats that are due.

    `repeats` is the share of all films that is read twice. Repeated are films of the first third of the worklist (more
    where the share asks for it), in the latter half of what follows, in the order of their first readings; so a film
    and its repeat always have a film between them. One that cannot have is left for the next time.

    >>> further_turns([], ["a", "b", "c", "d"], 0.25, Random(0))[-1].read
    2
    """
    fresh = random.sample(list(new), len(new))
    firsts = [t.film for t in earlier if t.read == 1] + fresh
    repeated = {t.film for t in earlier if t.read == 2}
    due = max(0, round(repeats * len(firsts)) - len(repeated))
    total = len(earlier) + len(fresh) + due
    places = {t.film: p for p, t in enumerate(earlier) if t.read == 1}
    places |= {film: len(earlier) + p for p, film in enumerate(fresh)}
    waiting = [film for film in firsts if film not in repeated]
    early = sum(places[film] < total // 3 for film in waiting)
    candidates = waiting[: max(due, early)]
    chosen = sorted(random.sample(candidates, min(due, len(candidates))), key=places.__getitem__)
    turns = _woven(fresh, chosen, random)
    before = ["" if not earlier else earlier[-1].film, *(t.film for t in turns)]
    return [t for t, film in zip(turns, before, strict=False) if t.read == 1 or t.film != film]


def _woven(fresh: Sequence[str], again: Sequence[str], random: Random) -> list[Turn]:
    """Repeats at random places of the latter half (all at the end where there are more of them than new films)."""
    length = len(fresh) + len(again)
    half = min((length + 1) // 2, len(fresh))
    slots = set(random.sample(range(half, length), len(again)))
    first, second = iter(fresh), iter(again)
    return [Turn(next(second), 2) if slot in slots else Turn(next(first), 1) for slot in range(length)]
