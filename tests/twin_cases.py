"""Made-up maps of retrained twins, for the tests of summaries about twins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from xai_bench.protocols import ClassifierCard, Evidence, SummaryRow

Maps = dict[str, tuple[int, Tensor]]


@dataclass(frozen=True)
class Signed:
    """Stands for an explainer without a seed; only its traits and its specification are looked at."""

    signed: ClassVar[bool] = True


@dataclass(frozen=True)
class Positive:
    signed: ClassVar[bool] = False


@dataclass(frozen=True)
class Seeded:
    seed: int = 0


@dataclass(frozen=True)
class Wrapped:
    """Another explainer's seed makes it random too."""

    inner: Seeded = Seeded()


@dataclass
class World:
    """Evidence from plain tables: maps[(classifier, replicate)] = {picture: (target, map)}; all labels are class 0."""

    maps: dict[tuple[str, int], Maps]
    view: dict[str, str] = field(default_factory=dict)
    explainer: object = Signed()
    content: Mapping[str, Tensor] | None = None
    repeats: dict[tuple[str, int], Maps] = field(default_factory=dict)  # `map#2`
    fold: Mapping[int, int] = field(default_factory=dict)
    label: Mapping[str, str | None] = field(default_factory=dict)

    def evidence(self, seed: int = 0) -> Evidence:
        """What a summary looks at."""
        cards = tuple(
            ClassifierCard(name, n, n, "fine_tuning", self.fold.get(n), "cnn", f"{name}-{n}", 0.9 - 0.02 * n)
            for name, n in self.maps
        )
        labels = {"map": self.maps} | ({"map#2": self.repeats} if self.repeats else {})
        known = {(f"{name}-{n}", label): maps for label, runs in labels.items() for (name, n), maps in runs.items()}
        shown = self.content

        def content(_: str, ids: Sequence[str]) -> Sequence[Tensor]:
            assert shown is not None
            return [shown[i] for i in ids]

        return Evidence(
            rows=pd.DataFrame(), predictions=self._predictions(cards), cards=cards,
            explainers=dict.fromkeys(labels, self.explainer),
            maps=lambda weights, label: known[weights, label], samples=lambda _: (), seed=seed,
            content=content if shown is not None else None,
        )  # fmt: skip

    def _predictions(self, cards: Sequence[ClassifierCard]) -> pd.DataFrame:
        pictures = sorted({p for maps in self.maps.values() for p in maps})
        rows = []
        for card in cards:
            for p in pictures:
                target = self.maps[card.classifier, card.replicate].get(p, (0, None))[0]
                about = {"patient": patient(p), "view": self.view.get(p, "AP"), "label": self.label.get(p, "class 0")}
                said = {"target": target, "prediction": f"class {target}"}
                rows.append({"weights": card.weights, "picture": p} | about | said)
        columns = ["weights", "picture", "patient", "view", "label", "target", "prediction"]
        return pd.DataFrame(rows, columns=columns)


def patient(picture: str) -> str:
    """Two films each: `p3b` belongs to `p3`."""
    return picture[:-1]


def films(count: int) -> list[str]:
    return [f"p{n // 2}{'ab'[n % 2]}" for n in range(count)]


def noise(seed: int, count: int, size: int) -> Tensor:
    return torch.randn(count, size, size, generator=torch.Generator().manual_seed(seed))


def twins(count: int = 12, size: int = 14, noisy: float = 0.5, classes: int = 2, replicates: int = 2) -> World:
    """Twins that share what belongs to the film, and differ by noise."""
    targets = [n // 2 % classes for n in range(count)]
    shared = noise(0, count, size)
    return World({
        ("cnn", r): drawn(shared + noisy * noise(r + 1, count, size), targets) for r in range(replicates)
    })  # fmt: skip


def drawn(maps: Tensor, targets: Sequence[int]) -> Maps:
    """Maps of the films, in their order."""
    return {p: (t, m) for p, t, m in zip(films(len(maps)), targets, maps, strict=True)}


def by_score(rows: Sequence[SummaryRow], other: str | None = None, classifier: str = "cnn") -> dict[str, SummaryRow]:
    """Rows of one group, without those of single pairs."""
    mine = [r for r in rows if r.other_classifier == other and (other is not None or r.classifier == classifier)]
    return {row.score_name: row for row in mine if not row.score_name.endswith("_pair")}
