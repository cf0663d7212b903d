"""What controls share that are made from another explainer's maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeVar

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Explainer, TrainingData, Traits
from xai_bench_explainers.grad_cam import GradCAM

Self = TypeVar("Self", bound="Wrapped")


@dataclass(frozen=True)
class Wrapped:
    """A control made from the maps of `explainer`, whose traits are its own but for the family."""

    explainer: Explainer = field(default_factory=GradCAM)
    family: ClassVar[str] = "control"

    @property
    def signed(self) -> bool:
        """The wrapped explainer's."""
        return Traits.of(self.explainer).signed

    @property
    def class_specific(self) -> bool:
        """The wrapped explainer's."""
        return Traits.of(self.explainer).class_specific

    @property
    def upsampling(self) -> Literal["bilinear", "nearest"]:
        """The wrapped explainer's."""
        return Traits.of(self.explainer).upsampling

    @property
    def needs_gradients(self) -> bool:
        """The wrapped explainer's."""
        return Traits.of(self.explainer).needs_gradients

    @property
    def works_with(self) -> str:
        """The wrapped explainer's."""
        return Traits.of(self.explainer).works_with

    @property
    def label(self) -> str:
        """What a study calls it, so that a control of each of its explainers can stand in it."""
        inner = self.explainer
        own = getattr(inner, "label", "") or getattr(inner, "xai_bench_name", type(inner).__name__)
        return f"{getattr(self, 'xai_bench_name', type(self).__name__)}({own})"


@dataclass(frozen=True)
class Remade(Wrapped):
    """A control that asks `explainer` for each film: it costs what that costs, and is fitted where that is."""

    @property
    def evaluations(self) -> int:
        """The wrapped explainer's."""
        return int(getattr(self.explainer, "evaluations", 1))

    @property
    def fit(self: Self) -> Callable[[Classifier, TrainingData], Self]:
        """Fits the wrapped explainer; absent, like any missing attribute, where that has nothing to fit."""
        learn = self.explainer.fit  # type: ignore[attr-defined]  # the AttributeError is what `hasattr` looks for
        return lambda classifier, training: replace(self, explainer=learn(classifier, training))
