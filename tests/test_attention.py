"""Attention weights are read, add up, and reading them changes nothing."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xai_bench.classifiers._recorder import Recorder
from xai_bench.classifiers.attention import read_attention, read_last_attention
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.small_attention import SmallAttention
from xai_bench.classifiers.small_cnn import SmallCNN
from xai_bench.classifiers.timm_zoo import TimmModel
from xai_bench.classifiers.torchvision_zoo import TorchvisionModel
from xai_bench.errors import Unfit
from xai_bench.inputs import Input, Resize
from xai_bench.samples import Head

HEADS = (Head("finding", ("no", "yes")),)


@pytest.mark.parametrize(
    ("architecture", "size", "blocks", "heads", "prefix", "grid"),
    [
        (SmallAttention(width=8), (40, 24), 2, 4, 1, (5, 3)),
        (TorchvisionModel("vit_b_16"), (32, 32), 12, 12, 1, (2, 2)),
        (TimmModel("vit_tiny_patch16_224"), (48, 32), 12, 3, 1, (3, 2)),
        (TimmModel("deit_tiny_distilled_patch16_224"), (32, 32), 12, 3, 2, (2, 2)),
    ],
)
def test_weights_of_every_block(
    architecture: object, size: tuple[int, int], blocks: int, heads: int, prefix: int, grid: tuple[int, int]
) -> None:
    classifier = architecture.build(HEADS, Input(Resize(*size)), seed=0).train()
    images = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    fused = [getattr(m, "fused_attn", None) for m in classifier.modules()]
    found = read_attention(classifier, images)
    tokens = prefix + grid[0] * grid[1]
    assert (len(found.weights), found.n_prefix_tokens, found.grid) == (blocks, prefix, grid)
    for weights in found.weights:
        assert weights.shape == (2, heads, tokens, tokens)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, heads, tokens), atol=1e-5, rtol=0)
        assert (weights >= 0).all()
    assert all(m.training for m in classifier.modules())
    assert [getattr(m, "fused_attn", None) for m in classifier.modules()] == fused
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in classifier.modules())
    torch.testing.assert_close(classifier.eval()(images), found.logits, atol=1e-4, rtol=0)


def test_weights_are_the_softmax_of_queries_and_keys() -> None:
    """A slow twin of the first block's attention, word for word after Vaswani et al. 2017."""
    classifier = SmallAttention(width=8).build(HEADS, Input(Resize(16, 16)), seed=0).eval()
    images = torch.rand(1, 1, 16, 16)
    found = read_attention(classifier, images).weights[0][0]
    net = classifier.model
    maps = net.stem(classifier.normalize(images))[0]
    tokens = (
        torch.stack([net.class_token[0, 0], *(maps[:, r, c] for r in range(2) for c in range(2))]) + net.position[0]
    )
    block = net.blocks[0]
    query, key, _ = (block.norm1(tokens) @ block.attention.in_proj_weight.T + block.attention.in_proj_bias).split(
        32, dim=1
    )
    for head in range(4):
        q, k = query[:, head * 8 : head * 8 + 8], key[:, head * 8 : head * 8 + 8]
        torch.testing.assert_close(found[head], (q @ k.T / math.sqrt(8)).softmax(1), atol=1e-5, rtol=1e-4)


class Encoder(nn.Module):
    """A user's transformer on torch's own encoder, which has a fused path that hides the weights."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 2)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2)
        order = (0, 2, 1) if self.batch_first else (2, 0, 1)
        return self.head(self.encoder(tokens.permute(order)).mean(1 if self.batch_first else 0))


@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_own_encoder_layers_can_be_read(batch_first: bool) -> None:
    classifier = Classifier(Encoder(batch_first), HEADS).eval()
    images = torch.rand(3, 1, 8, 12)
    found = read_attention(classifier, images)
    assert [tuple(w.shape) for w in found.weights] == [(3, 2, 6, 6)] * 2
    assert (found.n_prefix_tokens, found.grid) == (0, (2, 3))
    with torch.inference_mode():
        torch.testing.assert_close(classifier(images), found.logits, atol=1e-4, rtol=0)


class Positional(nn.Module):
    """Calls attention with positional arguments only."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens, None, False)[0].mean(1)[:, :2]


def test_positional_arguments_are_understood() -> None:
    found = read_attention(Classifier(Positional(), HEADS), torch.rand(1, 1, 8, 8))
    assert found.weights[0].shape == (1, 2, 4, 4)


@pytest.mark.parametrize(
    ("architecture", "read_out"),
    [
        (TimmModel("deit_tiny_distilled_patch16_224"), (0, 1)),  # both heads are averaged
        (TimmModel("vit_tiny_patch16_224"), (0,)),
        (TimmModel("eva02_tiny_patch14_224"), (1, 2, 3, 4)),  # it has a class token, and pools the patches
    ],
)
def test_tokens_that_the_logits_are_made_from(architecture: TimmModel, read_out: tuple[int, ...]) -> None:
    size = 28 if "patch14" in architecture.model else 32
    classifier = architecture.build(HEADS, Input(Resize(size, size)), seed=0)
    assert read_attention(classifier, torch.rand(2, 1, size, size)).read_out == read_out


def test_gradients_are_differences_of_the_logit() -> None:
    """Central differences: one weight of one block is changed by hand, in double precision."""
    classifier = SmallAttention(width=4, attention_heads=2).build(HEADS, Input(Resize(16, 16)), seed=0).eval().double()
    images, targets = torch.rand(1, 1, 16, 16).double(), torch.tensor([1])
    found = read_attention(classifier, images, targets)
    for block, place in [(0, (0, 1, 2, 3)), (0, (0, 0, 0, 4)), (1, (0, 1, 0, 2))]:
        logits = [changed(classifier, images, block, place, step) for step in (1e-4, -1e-4)]
        slope = (logits[0] - logits[1]) / 2e-4
        torch.testing.assert_close(found.gradients[block][place], slope, atol=1e-9, rtol=1e-5)
    unread = found.gradients[1][0, :, 1:]
    assert not unread.any(), "the logits are made from the class token alone"


def changed(classifier: Classifier, images: Tensor, block: int, place: tuple[int, ...], step: float) -> Tensor:
    """The second logit with one attention weight changed."""

    class Changing(Recorder):
        def _keep(self, weights: Tensor) -> None:
            super()._keep(weights)
            if len(self.seen) == block + 1:
                weights[place] += step

    with torch.no_grad(), Changing():
        return classifier(images)[0, 1]


def test_reading_with_gradients_leaves_nothing() -> None:
    classifier = SmallAttention(width=4, attention_heads=2).build(HEADS, Input(Resize(16, 16)), seed=0).train()
    kept = torch.ones_like(classifier.model.class_token)
    classifier.model.class_token.grad = kept
    read_attention(classifier, torch.rand(2, 1, 16, 16), torch.tensor([0, 1]))
    assert classifier.model.class_token.grad is kept
    assert all(p.grad is None for n, p in classifier.named_parameters() if n != "model.class_token")
    assert all(m.training for m in classifier.modules())
    assert all(p.requires_grad for p in classifier.parameters())


@pytest.mark.parametrize("reader", [read_attention, read_last_attention])
def test_everything_is_restored_after_an_exception(reader: Callable[..., object]) -> None:
    class Broken(Encoder):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise RuntimeError("broken")

    classifier = Classifier(Broken(True), HEADS).train()
    with pytest.raises(RuntimeError, match="broken"):
        reader(classifier, torch.rand(1, 1, 8, 8), torch.tensor([0]))
    assert all(m.training for m in classifier.modules())
    assert all(p.requires_grad and p.grad is None for p in classifier.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in classifier.modules())
    assert not torch.overrides._get_current_function_mode_stack()


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        (TimmModel("swin_s3_tiny_224"), 64),
        (TimmModel("swinv2_cr_tiny_ns_224"), 64),
        (TimmModel("tiny_vit_5m_224"), 64),
        (TimmModel("mobilevit_xxs"), 64),
        (TimmModel("mobilevitv2_050"), 64),
    ],
)
def test_logits_are_those_of_the_untouched_model(architecture: TimmModel, size: int) -> None:
    classifier = architecture.build(HEADS, Input(Resize(size, size)), seed=0).eval()
    images = torch.rand(2, 1, size, size)
    with torch.no_grad():
        before = classifier(images)
        with Recorder():
            torch.testing.assert_close(classifier(images), before, atol=1e-4, rtol=0)
        assert torch.equal(classifier(images), before)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (SmallCNN(width=8), "no attention weights"),
        (TorchvisionModel("swin_t"), "within windows"),
        (TimmModel("mobilevit_xxs"), "from every token to every token"),
        (TimmModel("pvt_v2_b0"), "from every token to every token"),
    ],
)
def test_what_has_no_readable_attention_is_unfit(architecture: object, message: str) -> None:
    classifier = architecture.build(HEADS, Input(Resize(64, 64)), seed=0)
    with pytest.raises(Unfit, match=message):
        read_attention(classifier, torch.rand(2, 1, 64, 64))


def test_hierarchical_transformers_have_no_last_grid_either() -> None:
    classifier = TimmModel("pvt_v2_b0").build(HEADS, Input(Resize(64, 64)), seed=0)
    with pytest.raises(Unfit, match="from every token to every token"):
        read_last_attention(classifier, torch.rand(2, 1, 64, 64))


def test_tokens_without_a_place_are_unfit() -> None:
    class Pooled(Encoder):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(torch.max_pool2d(self.patch(x), 2).flatten(2).transpose(1, 2)).mean(1))

    with pytest.raises(Unfit, match="has no place"):
        read_attention(Classifier(Pooled(True), HEADS), torch.rand(1, 1, 16, 16))
