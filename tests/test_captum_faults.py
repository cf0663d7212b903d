"""What captum's sensitivity does with segmented methods, and that ours segments every noisy copy."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from xai_bench_explainers.lime import Lime
from xai_bench_metrics.sensitivity import Sensitivity

from xai_bench.classifiers.classifier import Classifier
from xai_bench.protocols import Batch, Case, Player, Players
from xai_bench.testing import box_classifier, tiny_batch

COPIES = 3


def segmented() -> tuple[Batch, Tensor]:
    """Two films, each with segments of its own: bands and columns."""
    batch = tiny_batch(box_classifier(slice(4, 20), slice(8, 32)), count=2)
    rows, columns = torch.arange(32)[:, None] // 8, torch.arange(48) // 12
    masks = torch.stack([rows.expand(32, 48), columns.expand(32, 48)])
    names = {n: Player(str(n)) for n in range(4)}
    return replace(batch, players=Players(masks, (names, names))), masks


@pytest.mark.parametrize("method", ["Lime", "KernelShap"])
def test_f9_captum_does_not_give_noisy_copies_the_segments_of_their_picture(method: str) -> None:
    """With two masks for six copies every copy becomes two pictures, and its errors speak of sizes and outputs."""
    attr = pytest.importorskip("captum.attr", reason="the peer captum is not installed")
    metrics = pytest.importorskip("captum.metrics")
    classifier = box_classifier(slice(4, 20), slice(8, 32))
    batch, masks = segmented()
    explain = getattr(attr, method)(lambda x: classifier(x)[:, 1]).attribute
    with (
        warnings.catch_warnings(),
        pytest.raises((AssertionError, RuntimeError), match=r"must return one output|must match"),
    ):
        warnings.simplefilter("ignore")
        metrics.sensitivity_max(
            explain, batch.images, n_perturb_samples=COPIES, feature_mask=masks[:, None], n_samples=8
        )


def test_f9_our_sensitivity_explains_every_copy_by_the_segments_of_its_picture() -> None:
    classifier, method = box_classifier(slice(4, 20), slice(8, 32)), Lime(samples=40, segmentation="anatomy")
    batch, masks = segmented()
    seen: list[Tensor] = []

    def explain(classifier: Classifier, batch: Batch) -> Tensor:
        seen.append(method(classifier, batch))
        return seen[-1]

    maps = method(classifier, batch)
    case = Case(classifier, batch, explain, maps, None, ("not_read",) * 2)
    found = Sensitivity(samples=COPIES)(case).scores["max_sensitivity"]
    assert ((found > 0) & (found < 0.2)).all()
    copies = torch.cat(seen)
    flat = [all(len(one[mask == n].unique()) == 1 for n in range(4)) for one in copies for mask in masks]
    assert torch.tensor(flat).view(-1, 2).sum(0).ge(COPIES).all()  # of each picture's segments, all its copies
    assert torch.tensor(flat).view(-1, 2).any(1).all()
