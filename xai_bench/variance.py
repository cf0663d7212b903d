"""Where the variance of a response comes from: random-effects analysis of variance by the method of moments.

Pictures are crossed with other factors (twin, fold, repeat of the explainer); factors may be nested. A response may be
a vector (a map): components are sums over its entries, so their shares are those of the whole map. Balanced designs
only: a picture with a missing cell is left out and counted. Where no estimate is negative, they are those of restricted
maximum likelihood (Searle, Casella & McCulloch 1992, chapter 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, combinations
from math import prod

import numpy as np
from jaxtyping import Float

from xai_bench.errors import BadInput
from xai_bench.statistics import Array, Interval, Patients, bootstrap

Effect = frozenset[str]  # factors whose levels an effect depends on
PICTURE, FOLD, TWIN, REPEAT = "picture", "fold", "twin", "repeat"
INTERACTION, NOISE, BOTH = "picture:twin", "noise", "picture:twin + noise"
ICC, CONSISTENCY = "icc", "consistency"
_BLOCK = 1 << 23  # numbers held in memory at once
_NOTHING = 1e-12  # a variance below this share of the mean square is rounding


@dataclass(frozen=True)
class Design:
    """The factors beside the picture, an axis each, and in which others a factor's levels are drawn anew.

    A repeat whose randomness depends on (seed, picture) is within the picture and common to the twins:

    >>> [sorted(e) for e in Design((TWIN, REPEAT), {REPEAT: (PICTURE,)}).effects()]
    [['picture'], ['picture', 'twin'], ['twin'], ['picture', 'repeat'], ['picture', 'repeat', 'twin']]
    """

    factors: tuple[str, ...]
    within: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def effect(self, factors: Effect) -> Effect:
        """The factors with all in which one of them is nested: what an effect of them depends on."""
        return factors.union(*(self.within.get(f, ()) for f in factors))

    def subsets(self) -> Iterator[tuple[str, ...]]:
        """All sets of factors beside the picture, the empty one first."""
        yield from chain.from_iterable(combinations(self.factors, k) for k in range(len(self.factors) + 1))

    def effects(self) -> list[Effect]:
        """The effects whose variances are estimated."""
        found = [self.effect(frozenset(s) | own) for s in self.subsets() for own in ({PICTURE}, set[str]()) if s or own]
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Forms:
    """Sums of squares as functions of how often each patient counts, so that a resample costs no look at the maps.

    For each set of factors beside the picture: `each` a patient's sum of squares over its pictures, `cross` the
    products of two patients' sums, `freedom` the degrees of freedom of one picture. A variance of at most `floor` is
    rounding.
    """

    design: Design
    levels: Mapping[str, int]
    count: Float[Array, "patients"]
    each: Mapping[Effect, Float[Array, "patients"]]
    cross: Mapping[Effect, Float[Array, "patients patients"]]
    freedom: Mapping[Effect, int]
    floor: float

    def components(self, weights: Float[Array, "draws patients"]) -> dict[Effect, Float[Array, "draws"]]:
        """The variance of every effect, negative estimates as they are.

        A picture that counts twice is one picture, not two: n - 1 becomes n - sum(w^2) / n.
        """
        n = weights @ self.count
        repeated = weights**2 @ self.count / n  # 1 where every picture counts once
        free = np.where(n - repeated > 1e-9, n - repeated, np.nan)  # one picture alone has no variance
        squares: dict[Effect, Array] = {}
        for s, each in self.each.items():
            total, common = weights @ each, ((weights @ self.cross[s]) * weights).sum(1) / n
            effect = self.design.effect(s)
            if PICTURE in effect:
                squares[effect] = total / (n * self.freedom[s])
                continue
            apart = (total - common) / (free * self.freedom[s])
            squares[effect | {PICTURE}] = apart
            if effect:
                squares[effect] = common / (n * self.freedom[s]) - apart * repeated / n
        return self._solved(squares)

    def _solved(self, squares: Mapping[Effect, Array]) -> dict[Effect, Array]:
        """Variances from their sums: an effect's square holds those of all effects that depend on more factors."""
        found: dict[Effect, Array] = {}
        for effect in sorted(squares, key=len, reverse=True):
            # Effects without the picture were freed of those with it when the squares were made.
            more = [u for u in found if u > effect and (PICTURE in u) == (PICTURE in effect)]
            rest = sum((found[u] * self._cells(u) for u in more), np.zeros(()))
            found[effect] = (squares[effect] - rest) / self._cells(effect)
        return {e: np.where(np.abs(found[e]) <= self.floor, 0, found[e]) for e in self.design.effects()}

    def _cells(self, effect: Effect) -> int:
        return prod(n for f, n in self.levels.items() if f not in effect)


@dataclass(frozen=True)
class Decomposition:
    """What a table's variance is due to: `values` and their intervals by name.

    Names are those of `parts`, for shares in [0, 1], `icc` (absolute agreement of single twins, ICC(2,1)) and
    `consistency` (ICC(3,1): what a twin does alike to all pictures is not held against it). `clipped` names parts whose
    estimate was negative, so that their share is 0; the two correlations are of the estimates as they are. `missing`
    counts pictures without all cells.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    clipped: tuple[str, ...]
    n: int
    missing: int


def forms(values: Float[Array, "pictures ... v"], design: Design, patients: Patients) -> Forms:
    """The sums of squares of a complete table (pictures, a level of each factor, entries of the response).

    Raises BadInput for missing values, a wrong number of axes, or a factor with one level.
    """
    sizes = values.shape[1:-1]
    if len(sizes) != len(design.factors) or min(sizes, default=0) < 2 or len(values) != len(patients):
        raise BadInput(
            f"values are {values.shape} for {len(patients)} pictures and the factors {design.factors}; expected an "
            "axis of 2 levels or more for each factor: leave out a factor with one level."
        )
    owner = np.unique(np.asarray(patients), return_inverse=True)[1]
    belongs = (owner[:, None] == np.arange(owner.max() + 1)).astype(np.float64)
    levels = dict(zip(design.factors, sizes, strict=True))
    found = {frozenset(s): np.zeros((len(values),) * 2) for s in design.subsets()}
    for start in range(0, values.shape[-1], width := max(1, _BLOCK // max(1, values[..., 0].size))):
        block = values[..., start : start + width].astype(np.float64)
        block -= block.mean(tuple(range(block.ndim - 1)))
        for s, gram in found.items():
            part = _projected(block, [f in s for f in design.factors])
            gram += part @ part.T * prod(n for f, n in levels.items() if f not in s)
    if not all(np.isfinite(gram).all() for gram in found.values()):
        raise BadInput("the table has values that are missing or infinite; leave their pictures out.")
    pooled, freedom = _pooled(found, {s: prod(levels[f] - 1 for f in s) for s in found}, design)
    each = {s: np.diag(gram) @ belongs for s, gram in pooled.items()}
    cross = {s: belongs.T @ gram @ belongs for s, gram in pooled.items()}
    floor = _NOTHING * float(np.vdot(values, values)) / values[..., 0].size
    return Forms(design, levels, belongs.sum(0), each, cross, freedom, floor)


def _projected(block: Array, kept: list[bool]) -> Float[Array, "pictures rest"]:
    """The part of every picture's table that depends on just these factors: means over the others, centered."""
    for axis, own in enumerate(kept, start=1):
        mean = block.mean(axis, keepdims=True)
        block = block - mean if own else mean
    return block.reshape(len(block), -1)


def _pooled(
    grams: Mapping[Effect, Array], freedom: Mapping[Effect, int], design: Design
) -> tuple[dict[Effect, Array], dict[Effect, int]]:
    """Sets of factors that are one effect under nesting, added up; the key is the effect's factors but the picture."""
    sums: dict[Effect, Array] = {}
    degrees: dict[Effect, int] = {}
    for s, gram in grams.items():
        key = design.effect(s) - {PICTURE}
        sums[key] = sums[key] + gram if key in sums else gram
        degrees[key] = degrees.get(key, 0) + freedom[s]
    return sums, degrees


def parts(components: Mapping[Effect, Array], *, separable: bool = True) -> dict[str, Array]:
    """The components by what they are due to: picture, fold, twin, picture:twin, noise; negative ones as they are.

    Everything that depends on the repeat is noise, an interaction of pictures with folds counts as `picture:twin`, and
    one of folds with seeds as twin. `separable` False: the explainer draws at random and was run once, so that noise is
    in `picture:twin` too, which is then called `picture:twin + noise`.
    """
    found: dict[str, Array] = {}
    for effect, value in components.items():
        name = _due_to(effect)
        name = BOTH if name == INTERACTION and not separable else name
        found[name] = found[name] + value if name in found else value
    return found


def _due_to(effect: Effect) -> str:
    if REPEAT in effect:
        return NOISE
    if PICTURE in effect:
        return INTERACTION if len(effect) > 1 else PICTURE
    return FOLD if effect == {FOLD} else TWIN


def shares(found: Mapping[str, Array]) -> dict[str, Array]:
    """Each part over their sum, negative estimates as 0; NaN where nothing varies.

    >>> {name: float(share) for name, share in shares({"picture": np.array(3.0), "twin": np.array(-1.0)}).items()}
    {'picture': 1.0, 'twin': 0.0}
    """
    positive = {name: np.maximum(value, 0) for name, value in found.items()}
    total = sum(positive.values(), np.zeros(()))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: value / total for name, value in positive.items()}


def icc(found: Mapping[str, Array], *, consistency: bool = False) -> Array:
    """Intraclass correlation of single twins (Shrout & Fleiss 1979): ICC(2,1), or ICC(3,1) for consistency.

    >>> float(icc({"picture": np.array(2.0), "twin": np.array(1.0), "picture:twin": np.array(1.0)}))
    0.5
    """
    counted = [value for name, value in found.items() if not (consistency and name in (TWIN, FOLD))]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Array = found[PICTURE] / sum(counted, np.zeros(()))
    return ratio


def variance_parts(
    values: Float[Array, "pictures ... v"], design: Design, patients: Patients, *, separable: bool = True, seed: int = 0
) -> Decomposition:
    """Shares and intraclass correlations of a table with NaN for missing cells, and intervals over patients.

    Intervals are conditional on the levels of the other factors. Raises BadInput with fewer than 2 complete pictures.
    """
    complete = np.isfinite(values).all(tuple(range(1, values.ndim)))
    if complete.sum() < 2:
        raise BadInput(f"{complete.sum()} of {len(values)} pictures are complete; expected 2 or more.")
    table = forms(values[complete], design, np.asarray(patients)[complete])
    once = np.ones((1, len(table.count)))
    observed = parts(table.components(once), separable=separable)

    def numbers(weights: Array) -> dict[str, Array]:
        found = parts(table.components(weights), separable=separable)
        return shares(found) | {ICC: icc(found), CONSISTENCY: icc(found, consistency=True)}

    def of(name: str) -> Callable[[Array], Array]:
        return lambda weights: numbers(weights)[name]

    size = (int(complete.sum()), len(table.count))
    values_of = {name: float(value[0]) for name, value in numbers(once).items()}
    intervals = {name: bootstrap(of(name), size, seed=seed) for name in values_of}
    clipped = tuple(name for name, value in observed.items() if value[0] < 0)
    return Decomposition(values_of, intervals, clipped, size[0], int((~complete).sum()))
