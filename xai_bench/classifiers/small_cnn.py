"""A small convolutional network that trains from scratch in seconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers._weights import drawn_by
from xai_bench.classifiers.classifier import Classifier
from xai_bench.errors import BadInput
from xai_bench.inputs import Input
from xai_bench.registry import classifier
from xai_bench.samples import Head

MEAN, STD = (0.5,), (0.25,)


class GeneralizedMean(nn.Module):
    """Pooling (mean x^p)^(1/p) over the map (Radenovic et al. 2018).

    With p = 2 a peak counts more than a haze, and CAMs point *at* small evidence, where plain averaging lets them lie
    beside it.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        """Pool maps of non-negative values."""
        return maps.clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)


def convolutions(width: int) -> nn.Sequential:
    """Gray pictures to maps of 4 x width channels at an eighth of the size; the last convolution is 1 x 1."""
    plan = [
        (1, width // 2, 5, 2),
        (width // 2, width, 3, 2),
        (width, 2 * width, 3, 2),
        (2 * width, 2 * width, 3, 1),
        (2 * width, 2 * width, 3, 1),
    ]
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, stride in [*plan, (2 * width, 4 * width, 1, 1)]:
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


@classifier("small_cnn", cite="pooling: Radenovic et al. 2018")
@dataclass(frozen=True)
class SmallCNN:
    """A gray CNN of about 106,000 parameters (width 32), stride 8, generalized-mean pooling; for 96 to 128 px.

    `p` is the pooling's power.
    """

    width: int = 32
    p: float = 2.0

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2 or self.p < 1:
            raise BadInput(
                f"small_cnn(width={self.width}, p={self.p}): expected an even width of at least 2 and p of at least 1."
            )

    def build(self, heads: Sequence[Head], reader: Input, seed: int) -> Classifier:
        """With weights drawn by `seed`."""
        with drawn_by(seed):
            parts = OrderedDict(
                features=convolutions(self.width),
                pool=GeneralizedMean(self.p),
                head=nn.Linear(4 * self.width, sum(len(h.classes) for h in heads)),
            )
        built = Classifier(nn.Sequential(parts), heads, reader=reader, mean=MEAN, std=STD, cam_layer="features")
        built.architecture = "small_cnn"
        return built
