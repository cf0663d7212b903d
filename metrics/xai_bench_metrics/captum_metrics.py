"""captum's infidelity and sensitivity, as they are; `infidelity` and `sensitivity` are ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.classifiers.classifier import untouched
from xai_bench.errors import BadInput
from xai_bench.protocols import Case, Result, ScoreInfo
from xai_bench.registry import metric
from xai_bench.seeding import generator
from xai_bench_metrics._contract import Polarity, check
from xai_bench_metrics._one_by_one import copies_of, maps_of, one_by_one

AT_ONCE = 16  # noisy copies of a picture in one call


@metric("captum_infidelity", cite="Yeh et al. 2019; Kokhlikyan et al. 2020")
@dataclass(frozen=True)
class CaptumInfidelity:
    """`captum.metrics.infidelity` with Gaussian noise: E[(beta I.a - (f(x) - f(x - I)))^2], in squared logits.

    I is noise of standard deviation `noise` in intensity on every pixel of content, the same in all channels, `samples`
    times, by (seed, picture id); beta is the map's best scale (Yeh et al. 2019), so that doubling a map changes
    nothing. A map says what a small change of intensity does, as a gradient does; `infidelity` hides squares instead,
    which suits maps of presence. Pictures are scored one by one.
    """

    samples: int = 100
    noise: float = 0.05
    seed: int = 0
    family: ClassVar[str] = "faithfulness"
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"

    def __post_init__(self) -> None:
        _positive(self, self.samples, "noise", self.noise)

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The mean squared gap."""
        return {"captum_infidelity": ScoreInfo("lower", 0.0, float("inf"), headline=True)}

    @property
    def evaluations(self) -> int:
        """Model evaluations a picture; captum asks for the picture itself once a call."""
        return self.samples + -(-self.samples // AT_ONCE)

    def __call__(self, case: Case) -> Result:
        """One value a picture."""
        from captum.metrics import infidelity

        found, images = check(case, self.polarity, needs_region=False), case.batch.images

        def score(i: int) -> float:
            image, attribution = images[i : i + 1].double(), found.saliency[i : i + 1, None].double()
            add = noisy(self.seed, case.batch.ids[i], found.content[i], self.noise, torch.randn)

            def change(rows: Float[Tensor, "n c h w"]) -> tuple[Tensor, Tensor]:
                changed = add(rows)
                return rows - changed, changed

            value = infidelity(
                lambda rows: case.classifier(rows.to(images)).double(),
                change,
                image,
                (attribution / image.shape[1]).expand_as(image),
                target=int(case.batch.targets[i]),
                n_perturb_samples=self.samples,
                max_examples_per_batch=min(AT_ONCE, self.samples),
                normalize=True,
            )
            return max(0.0, float(value))  # captum's sum of squares can round below 0

        with untouched(case.classifier):
            return one_by_one("captum_infidelity", case, found, self.seed, score)


@metric("captum_sensitivity", cite="Yeh et al. 2019; Kokhlikyan et al. 2020")
@dataclass(frozen=True)
class CaptumSensitivity:
    """`captum.metrics.sensitivity_max`: the largest change of the map under small noise, in shares of the map's norm.

    Uniform noise in [-`radius`, `radius`] on every pixel of content, the same in all channels and not cut to [0, 1],
    `samples` times, by (seed, picture id); every copy is explained under its picture's id. Where a map is 0, captum
    divides by 1. Maps are compared at the picture's size; `sensitivity` draws for each channel, cuts, and compares maps
    on the explainer's own grid. Pictures are scored one by one.
    """

    samples: int = 10
    radius: float = 0.02
    seed: int = 0
    family: ClassVar[str] = "stability"
    needs_region: ClassVar[bool] = False
    polarity: ClassVar[Polarity] = "signed"

    def __post_init__(self) -> None:
        _positive(self, self.samples, "radius", self.radius)

    @property
    def scores(self) -> Mapping[str, ScoreInfo]:
        """The largest change."""
        return {"captum_sensitivity": ScoreInfo("lower", 0.0, float("inf"), headline=True)}

    @property
    def evaluations(self) -> int:
        """Runs of the explainer; how often it asks the model is its own."""
        return self.samples + 1

    def __call__(self, case: Case) -> Result:
        """One value a picture."""
        from captum.metrics import sensitivity_max

        found = check(case, self.polarity, needs_region=False)

        def score(i: int) -> float:
            add = noisy(self.seed, case.batch.ids[i], found.content[i], self.radius, uniform)

            def explain(rows: Tensor | tuple[Tensor, ...]) -> tuple[Float[Tensor, "n h w"], ...]:
                pictures = rows[0] if isinstance(rows, tuple) else rows  # captum hands over both
                return (maps_of(case, copies_of(case, i, pictures)).double(),)

            value = sensitivity_max(
                explain,
                case.batch.images[i : i + 1],
                perturb_func=add,
                n_perturb_samples=self.samples,
                max_examples_per_batch=min(AT_ONCE, self.samples),
            )
            return float(value)

        return one_by_one("captum_sensitivity", case, found, self.seed, score)


def uniform(*size: int, generator: torch.Generator) -> Tensor:
    """Uniform in [-1, 1)."""
    return 2 * torch.rand(*size, generator=generator) - 1


def noisy(
    seed: int, name: str, content: Bool[Tensor, "h w"], scale: float, draw: Callable[..., Tensor]
) -> Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]]:
    """Adds the next noise of a picture's own generator to copies of it, alike in all channels and inside content."""
    source = generator(seed, name)

    def add(rows: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        drawn = torch.stack([draw(1, *content.shape, generator=source) for _ in rows])
        return rows + scale * drawn.to(rows) * content

    return add


def _positive(method: object, samples: int, name: str, value: float) -> None:
    if samples < 1 or not 0 < value <= 1:
        raise BadInput(
            f"{type(method).__name__}(samples={samples}, {name}={value}): use 1 sample or more and a {name} in (0, 1]."
        )
