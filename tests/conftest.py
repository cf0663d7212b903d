"""Shapes in signatures are checked by the machine while tests run; small films and a small classifier for all tests."""

import importlib
import os
import random
import warnings
from pathlib import Path

from beartype._check.code import codemain
from jaxtyping import install_import_hook

# beartype looks at one random item of a sequence: with a generator of its own, contract tests can watch the global one.
codemain.getrandbits = random.Random(0).getrandbits

CHECKED = ["xai_bench.perturbation", "xai_bench.running.fidelity", "xai_bench.imputers", "xai_bench.saliency",
           "xai_bench.score_cache", "xai_bench.similarity", "xai_bench_metrics", "xai_bench_explainers"]  # fmt: skip

with install_import_hook(CHECKED, "beartype.beartype"):
    for name in CHECKED[:6]:
        importlib.import_module(name)

import numpy as np  # noqa: E402 - after the hook
import pytest  # noqa: E402 - after the hook
import torch  # noqa: E402 - after the hook
from hypothesis import settings  # noqa: E402 - after the hook
from torch import nn  # noqa: E402 - after the hook

from xai_bench.classifiers.classifier import Classifier  # noqa: E402 - after the hook
from xai_bench.errors import PluginWarning  # noqa: E402 - after the hook
from xai_bench.inputs import Input, Resize  # noqa: E402 - after the hook
from xai_bench.registry import load_plugins  # noqa: E402 - after the hook
from xai_bench.samples import Fixed, Head, Region, RegionKey, Sample  # noqa: E402 - after the hook

settings.register_profile("tests", deadline=None)  # a busy machine is no failure
settings.load_profile("tests")

HEADS = (Head("side", ("left", "right")),)

with install_import_hook(CHECKED, "beartype.beartype"), warnings.catch_warnings():
    warnings.simplefilter("error", PluginWarning)  # else it would be missing from the contract tests
    load_plugins()


def data_folder() -> Path:
    """The private radiographs, beside the repository or where XAI_BENCH_DATA says."""
    return Path(os.environ.get("XAI_BENCH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")).resolve()


def small_film(number: int, size: int = 32, spacing: tuple[float, float] | None = (1.0, 1.0)) -> Sample:
    """A noisy film with a bright square on the left or the right; the square is the region."""
    rng = np.random.default_rng(number)
    right = number % 2
    row, column = int(rng.integers(4, size - 12)), size // 2 * right + int(rng.integers(2, size // 2 - 10))
    image = (rng.random((size, size)) * 60).astype(np.uint8)
    mask = np.zeros((size, size), bool)
    mask[row : row + 8, column : column + 8] = True
    image[mask] += 150
    return Sample(
        id=f"film-{number:03d}", patient=f"patient-{number // 2:03d}", labels={"side": HEADS[0].classes[right]},
        read_image=lambda: image, digest=f"digest-{number}-{size}",
        read_regions=lambda: {RegionKey("square", "derived"): Region("drawn", mask)},
        spacing_mm=spacing, meta={"view": "AP"},
    )  # fmt: skip


class SideModel(nn.Module):
    """Knows the answer by construction: mean brightness of the right half minus the left, through one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 3, padding=1)
        with torch.no_grad():
            self.features.weight.copy_(torch.full((2, 1, 3, 3), 1 / 9))
            self.features.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.relu(self.features(x) - 0.3).mean(1)
        half = found.shape[-1] // 2
        left, right = found[..., :half].mean((1, 2)), found[..., half:].mean((1, 2))
        return 40 * torch.stack([left - right, right - left], 1)


@pytest.fixture
def side_classifier() -> Classifier:
    """A classifier of `side`, right by construction."""
    return Classifier(SideModel(), HEADS, reader=Input(Resize(32, 32)), cam_layer="features").eval()


@pytest.fixture
def side_films() -> Fixed:
    """Films in three splits, two a patient."""
    parts = {"train": range(24), "validation": range(24, 32), "test": range(32, 48)}
    return Fixed(
        {k: tuple(small_film(n) for n in v) for k, v in parts.items()}, HEADS, {"side": ("left", "right")}, ("square",)
    )


@pytest.fixture
def aasce_folder() -> Path:
    """The AASCE films, or a skip."""
    folder = data_folder() / "aasce"
    if not folder.is_dir():
        pytest.skip("the private AASCE radiographs are not on this machine; set XAI_BENCH_DATA to their folder")
    return folder
