"""Attention blocks on a small CNN: a transformer that learns from few films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from xai_bench.classifiers._weights import drawn_by
from xai_bench.classifiers.checkpoint import load_checkpoint
from xai_bench.classifiers.classifier import Classifier
from xai_bench.classifiers.small_cnn import MEAN, STD, convolutions
from xai_bench.errors import BadInput
from xai_bench.inputs import Input
from xai_bench.registry import classifier
from xai_bench.samples import Head


class Block(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int, attention_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, attention_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Attention, then an MLP, each added to what came in."""
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        return tokens + self.mlp(self.norm2(tokens))  # type: ignore[no-any-return]  # modules return Any


class StemAndBlocks(nn.Module):
    """CNN maps as tokens behind a class token, attention blocks, and a linear layer on the class token."""

    def __init__(self, stem: nn.Sequential, grid: tuple[int, int], design: SmallAttention, outputs: int) -> None:
        super().__init__()
        width = 4 * design.width
        self.stem = stem
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + grid[0] * grid[1], width))
        self.blocks = nn.Sequential(*(Block(width, design.attention_heads) for _ in range(design.blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b outputs"]:
        """Logits of normalized gray pictures."""
        patches = rearrange(self.stem(images), "b c h w -> b (h w) c")
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)
        return self.head(self.norm(self.blocks(tokens + self.position))[:, 0])  # type: ignore[no-any-return]  # modules return Any


@classifier("small_attention")
@dataclass(frozen=True)
class SmallAttention:
    """Attention blocks on a small CNN's maps; `stem` is a trained small_cnn's checkpoint folder, which stays frozen.

    Without a stem the convolutions are trained along. `width` must be the stem's.
    """

    stem: str | None = None
    width: int = 32
    blocks: int = 2
    attention_heads: int = 4

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.attention_heads < 1 or (4 * self.width) % self.attention_heads:
            raise BadInput(
                f"small_attention(width={self.width}, blocks={self.blocks}, attention_heads={self.attention_heads}): "
                "expected at least one block and a number of heads that divides 4 x width."
            )

    def bare(self) -> SmallAttention:
        """The same structure without a trained stem, for a checkpoint that brings all weights."""
        return replace(self, stem=None)

    def build(self, heads: Sequence[Head], reader: Input, seed: int) -> Classifier:
        """With weights drawn by `seed`; those of the stem are loaded and frozen. Raises BadInput for an unfit stem."""
        with drawn_by(seed):
            stem = convolutions(self.width)
            with torch.no_grad():
                shape = stem.eval()(torch.zeros(1, 1, reader.resize.height, reader.resize.width)).shape
            stem.train()
            model = StemAndBlocks(stem, (shape[2], shape[3]), self, sum(len(h.classes) for h in heads))
        if self.stem is not None:
            self._load_stem(stem)
        built = Classifier(model, heads, reader=reader, mean=MEAN, std=STD)
        built.architecture = "small_attention"
        return built

    def _load_stem(self, stem: nn.Sequential) -> None:
        trained, card = load_checkpoint(Path(str(self.stem)))
        design = card["architecture"]
        if design["name"] != "small_cnn" or design["fields"]["width"] != self.width:
            raise BadInput(
                f"stem {self.stem!r} holds {design['name']} {design['fields']}; expected a small_cnn of width "
                f"{self.width}, trained and saved before."
            )
        stem.load_state_dict(trained.model.get_submodule("features").state_dict())
        stem.requires_grad_(False)
