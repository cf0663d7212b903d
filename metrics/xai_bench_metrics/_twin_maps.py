"""Maps of several classifiers, or of repeat runs of one explainer, side by side on one grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.protocols import ClassifierCard, Evidence, Traits
from xai_bench.saliency import constant, invalid, to_grid
from xai_bench.similarity import SCORES, similarity

Source = tuple[ClassifierCard, str]  # whose maps, and the explainer's label
Read = Callable[[Sequence[str]], Sequence[Bool[Tensor, "h w"]]]
Indices = Int[NDArray[np.int64], "k"]
REPEAT = "#"  # `lime#2` is another run of `lime`
FILMS = 64
"""Maps brought to the grid at once: bounds the memory."""


def methods(evidence: Evidence) -> list[str]:
    """The labels of explainers, without their repeat runs."""
    return [label for label in evidence.explainers if REPEAT not in label]


def repeats(evidence: Evidence, method: str) -> list[str]:
    """The labels of an explainer's repeat runs, with other seeds."""
    return [label for label in evidence.explainers if label.startswith(method + REPEAT)]


def by_classifier(evidence: Evidence) -> dict[str, tuple[ClassifierCard, ...]]:
    """The twins of each classifier, in the order of their replicates."""
    names = dict.fromkeys(card.classifier for card in evidence.cards)
    cards = sorted(evidence.cards, key=lambda card: card.replicate)
    return {name: tuple(card for card in cards if card.classifier == name) for name in names}


@dataclass(frozen=True, eq=False)
class TwinMaps:
    """Maps of the same films from several sources (twins), and what is known of films and maps."""

    pictures: Sequence[str]
    patients: NDArray[Any]
    views: NDArray[Any]
    targets: Int[NDArray[np.int64], "t n"]  # the class that was explained; -1 = no map
    maps: Float[Tensor, "t n h w"]
    content: Bool[Tensor, "n h w"]
    invalid: Bool[NDArray[np.bool_], "t n"]
    flat: Bool[NDArray[np.bool_], "t n"]
    span: float  # SSIM's data range: 2 for signed maps, 1 for positive ones

    @property
    def present(self) -> Bool[NDArray[np.bool_], "t n"]:
        """Where there is a map, sound or not."""
        found: NDArray[np.bool_] = self.targets >= 0
        return found

    @property
    def sound(self) -> Bool[NDArray[np.bool_], "t n"]:
        """Where there is a map that can be compared."""
        return self.present & ~self.invalid & ~self.flat

    def alike(
        self,
        twins: tuple[Indices, Indices],
        films: tuple[Indices, Indices],
        share: float = 0.1,
        scores: Sequence[str] = SCORES,
    ) -> Float64[NDArray[np.float64], "s k"]:
        """The scores of `similarity` of one twin's map of one film against another's."""
        first, second = (
            torch.from_numpy(t * len(self.pictures) + n).to(self.maps.device) for t, n in zip(twins, films, strict=True)
        )
        found = similarity(self.maps, self.content, first, second, span=self.span, share=share, scores=scores)
        return found.cpu().numpy()


@dataclass(frozen=True)
class Gather:
    """Brings maps side by side, on the coarsest of their native grids with at most `grid` cells a side."""

    evidence: Evidence
    grid: int
    shown: dict[tuple[str, int, int], dict[str, Tensor]] = field(default_factory=dict)  # content: films are read once

    def __call__(self, sources: Sequence[Source]) -> TwinMaps:
        """The maps of all films that any of the sources has; twins in the order of the sources."""
        found = [self.evidence.maps(card.weights, label) for card, label in sources]
        ids = sorted({i for maps in found for i in maps})
        shapes = [next(iter(maps.values()))[1].shape for maps in found if maps]
        size = tuple(min([self.grid, *sides]) for sides in zip(*shapes, strict=True)) or (1, 1)
        parts = [_on_grid(maps, ids, (size[0], size[1])) for maps in found]
        maps, bad, flat = (torch.stack(part) for part in zip(*parts, strict=True))
        films = self.evidence.predictions.drop_duplicates("picture").set_index("picture").reindex(ids)
        return TwinMaps(
            pictures=ids,
            patients=films.patient.to_numpy(str),
            views=films["view"].to_numpy(str),
            targets=np.array([[maps[i][0] if i in maps else -1 for i in ids] for maps in found], np.int64),
            maps=maps,
            content=self._content(sources, found, ids, (size[0], size[1])).to(maps.device),
            invalid=bad.cpu().numpy(),
            flat=flat.cpu().numpy(),
            span=2.0 if Traits.of(self.evidence.explainers[sources[0][1]]).signed else 1.0,
        )

    def _content(
        self,
        sources: Sequence[Source],
        found: Sequence[Mapping[str, tuple[int, Tensor]]],
        ids: Sequence[str],
        size: tuple[int, int],
    ) -> Bool[Tensor, "n h w"]:
        """Cells of which at least half is content, for every classifier that has the film."""
        content = torch.ones(len(ids), *size, dtype=torch.bool)
        if self.evidence.content is None:
            return content
        firsts = {card.classifier: card for card, _ in reversed(sources)}  # twins see a film alike
        for name, card in firsts.items():
            mine = {i for (c, _), maps in zip(sources, found, strict=True) if c.classifier == name for i in maps}
            masks = self._shown(partial(self.evidence.content, card.weights), (name, *size), sorted(mine))
            for n, picture in enumerate(ids):
                if picture in mine:
                    content[n] &= masks[picture]
        return content

    def _shown(self, read: Read, key: tuple[str, int, int], ids: Sequence[str]) -> Mapping[str, Tensor]:
        """Each film's content on the grid; `key` = (classifier, height, width)."""
        known = self.shown.setdefault(key, {})
        missing = [i for i in ids if i not in known]
        for start in range(0, len(missing), FILMS):
            part = missing[start : start + FILMS]
            masks = torch.stack(list(read(part))).float()
            known |= dict(zip(part, to_grid(masks, key[1:]) >= 0.5, strict=True))
        return known


def _on_grid(
    found: Mapping[str, tuple[int, Tensor]], ids: Sequence[str], size: tuple[int, int]
) -> tuple[Float[Tensor, "n h w"], Bool[Tensor, "n"], Bool[Tensor, "n"]]:
    """One source's maps on the grid, and which hold NaN or are constant; zeros where it has none."""
    like = next((m for _, m in found.values()), torch.zeros(0))
    maps = torch.zeros(len(ids), *size, device=like.device)
    bad, flat = (torch.zeros(len(ids), dtype=torch.bool, device=like.device) for _ in range(2))
    mine = [n for n, picture in enumerate(ids) if picture in found]
    for start in range(0, len(mine), FILMS):
        part = mine[start : start + FILMS]
        native = torch.stack([found[ids[n]][1] for n in part]).float()
        maps[part] = to_grid(native.nan_to_num(0, 0, 0), size)
        bad[part], flat[part] = invalid(native), constant(native, torch.ones_like(native, dtype=torch.bool))
    return maps, bad, flat
