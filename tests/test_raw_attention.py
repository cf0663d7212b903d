"""Raw attention: the last block's weights, and for windows and strided patches put back where they belong."""

import pytest
import torch
from attention_cases import BRIGHT, HEADS, LooksAtBrightest, WindowsLookAtBrightest, looking, peaks, small_swin
from torch import Tensor
from xai_bench_explainers.raw_attention import RawAttention

from xai_bench.classifiers.attention import LastAttention, read_attention
from xai_bench.classifiers.small_attention import SmallAttention
from xai_bench.classifiers.timm_zoo import TimmModel
from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.testing import check_explainer, tiny_batch, tiny_classifier


def test_is_the_class_tokens_row_of_the_last_block() -> None:
    classifier = SmallAttention(width=4, attention_heads=2).build(HEADS, Input(Resize(32, 48)), seed=0).eval()
    batch = tiny_batch(classifier)
    last = read_attention(classifier, batch.images).weights[-1]
    maps = RawAttention()(classifier, batch)
    for i in range(4):
        expected = (last[i, 0, 0, 1:] + last[i, 1, 0, 1:]) / 2
        torch.testing.assert_close(maps[i].flatten(), expected)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_points_at_the_patch_that_the_model_looks_at(prefix: int) -> None:
    maps = RawAttention()(*looking(LooksAtBrightest(prefix)))
    assert peaks(maps) == BRIGHT
    assert maps.amax((1, 2)).min() > 0.99


@pytest.mark.parametrize("shift", [0, 1])
def test_points_at_the_patch_that_a_window_looks_at(shift: int) -> None:
    maps = RawAttention()(*looking(WindowsLookAtBrightest(shift)))
    assert peaks(maps) == BRIGHT
    dark = maps[0, 3, :2]  # in a window of equal patches
    torch.testing.assert_close(dark, torch.full((2,), 0.25), atol=1e-3, rtol=0)


def plain_twin(last: LastAttention) -> Tensor:
    """One number at a time."""
    b, groups, heads, queries, tokens = last.weights.shape
    found = torch.zeros(b, *last.grid)
    for i in range(b):
        for g in range(groups):
            rows = [q for q in range(queries) if last.queries[g, q]]
            for t in range(tokens):
                if last.cells[g, t] >= 0:
                    values = [float(last.weights[i, g, h, q, t]) for h in range(heads) for q in rows]
                    r, c = divmod(int(last.cells[g, t]), last.grid[1])
                    found[i, r, c] = sum(values) / len(values)
    return found


def test_scattering_equals_the_plain_twin() -> None:
    make = torch.Generator().manual_seed(0)
    cells = torch.tensor([[0, 5, -1], [4, 1, 2]])  # cell 3 is in no group
    queries = torch.tensor([[True, False], [True, True]])
    last = LastAttention(torch.rand(2, 2, 3, 2, 3, generator=make), cells, queries, (2, 3))
    torch.testing.assert_close(last.on_grid(), plain_twin(last))
    assert not last.on_grid()[:, 1, 0].any()


def test_keeps_the_contract_on_shifted_windows() -> None:
    classifier = small_swin()
    check_explainer(RawAttention(), classifier)
    maps = RawAttention()(classifier, tiny_batch(classifier))
    assert maps.shape == (4, 4, 6)
    torch.testing.assert_close(maps.sum((1, 2)), torch.full((4,), 6.0))  # each of 6 windows of either block has 1


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        ("swin_s3_tiny_224", (64, 96), (2, 3)),
        ("tiny_vit_5m_224", (64, 96), (2, 3)),
        ("mobilevit_xxs", (96, 64), (4, 2)),  # its map of 3 x 2 is resized to whole patches
        ("mobilevitv2_050", (96, 64), (4, 2)),
    ],
)
def test_light_and_windowed_transformers_have_a_map(name: str, size: tuple[int, int], grid: tuple[int, int]) -> None:
    classifier = TimmModel(name).build(HEADS, Input(Resize(*size)), seed=0).eval()
    maps = RawAttention()(classifier, tiny_batch(classifier, count=2))
    assert maps.shape == (2, *grid)
    assert (maps > 0).all()


def test_a_cnn_is_unfit() -> None:
    classifier = tiny_classifier()
    with pytest.raises(Unfit, match="no attention weights"):
        RawAttention()(classifier, tiny_batch(classifier))
