"""Transformers whose attention is known because it was put in by hand."""

import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import ShiftedWindowAttention, SwinTransformer

from xai_bench.classifiers.classifier import Classifier
from xai_bench.inputs import Input, Resize
from xai_bench.protocols import Batch
from xai_bench.samples import Head
from xai_bench.testing import tiny_batch

HEADS = (Head("finding", ("a", "b", "c")),)


def to_brightness() -> nn.Conv2d:
    """Patches of 8 x 8, each as its brightness."""
    patches = nn.Conv2d(1, 1, 8, stride=8)
    with torch.no_grad():
        patches.weight.fill_(1 / 64)
        patches.bias.zero_()
    return patches


class LooksAtBrightest(nn.Module):
    """Tokens are (1, brightness); every token attends to the brightest patch; logits are what the read tokens see.

    `prefix` tokens of brightness 0 come first: 0, 1 (class token) or 2 (class and distillation token).
    """

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.patches = to_brightness()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True, bias=False)
        self.prefix = prefix
        with torch.no_grad():
            query, key, value = torch.tensor([[30.0, 30], [0, 0]]), torch.tensor([[0.0, 1], [0, 0]]), torch.eye(2)
            self.attention.in_proj_weight.copy_(torch.cat([query, key, value]))
            self.attention.out_proj.weight.copy_(torch.eye(2))

    def forward(self, x: Tensor) -> Tensor:
        brightness = self.patches(x).flatten(1)
        tokens = torch.stack([torch.zeros_like(brightness) + 1, brightness], 2)
        first = torch.tensor([[[1.0, 0.0]]]).expand(len(x), self.prefix, -1)
        tokens = torch.cat([first, tokens], 1)
        seen = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return seen[:, : self.prefix].mean(1) if self.prefix else seen.mean(1)


class WindowsLookAtBrightest(nn.Module):
    """The same within torchvision's windows of 2 x 2 patches, shifted or not; logits are the mean over all patches."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.patches = to_brightness()
        self.attention = ShiftedWindowAttention(2, [2, 2], [shift, shift], 1)
        with torch.no_grad():
            query, key, value = torch.tensor([[0.0, 0], [0, 0]]), torch.tensor([[0.0, 1], [0, 0]]), torch.eye(2)
            self.attention.qkv.weight.copy_(torch.cat([query, key, value]))
            self.attention.qkv.bias.copy_(torch.tensor([30.0, 0, 0, 0, 0, 0]))
            self.attention.proj.weight.copy_(torch.eye(2))
            self.attention.relative_position_bias_table.zero_()

    def forward(self, x: Tensor) -> Tensor:
        brightness = self.patches(x)[:, 0]
        tokens = torch.stack([torch.ones_like(brightness), brightness], 3)
        return self.attention(tokens).mean((1, 2))


def looking(model: nn.Module) -> tuple[Classifier, Batch]:
    """The model as a classifier, and two dark pictures of 4 x 6 patches: (1, 4) is bright in one, (2, 1) in the other.

    The target is the logit that rises with the brightness of what is looked at.
    """
    classifier = Classifier(model, [Head("finding", ("a", "b"))], reader=Input(Resize(32, 48))).eval()
    batch = tiny_batch(classifier, count=2)
    batch.images[:] = 0.1
    batch.images[0, :, 8:16, 32:40] = 0.9
    batch.images[1, :, 16:24, 8:16] = 0.9
    batch.targets[:] = 1
    return classifier, batch


BRIGHT = [(1, 4), (2, 1)]


def peaks(maps: Tensor) -> list[tuple[int, int]]:
    """Row and column of each map's largest value."""
    return [divmod(int(m.argmax()), m.shape[1]) for m in maps]


def small_swin() -> Classifier:
    """Two stages of torchvision's Swin; the second has 4 x 6 cells in windows of 2 x 2, the second block shifted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SwinTransformer([4, 4], 8, [2, 2], [1, 2], [2, 2], mlp_ratio=2, stochastic_depth_prob=0, num_classes=3)
    return Classifier(model, HEADS, reader=Input(Resize(32, 48))).eval()
