"""Reading the attention weights of a transformer classifier, without changing what it computes.

Nothing is patched (see `_recorder`); hooks tell where tokens are, and are removed also after an exception. Threads may
read different classifiers at once; one classifier is read by one thread at a time, as with all that puts hooks on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from xai_bench.classifiers._places import Places, placed
from xai_bench.classifiers._recorder import Recorder, Seen
from xai_bench.classifiers.classifier import Classifier, untouched
from xai_bench.errors import Unfit

_MOST_PREFIX_TOKENS = 8
"""More than class, distillation and register tokens: then the tokens are something else, such as channels."""


class Attention(NamedTuple):
    """What one forward pass looked at: a row of `weights` sums to 1 and says what a token reads from.

    The last rows x columns tokens are the picture's patches, row by row; the `n_prefix_tokens` before them are class,
    distillation and register tokens. `read_out` are the tokens that the logits are made from: the class token, class
    and distillation token, or all patches. `gradients` are those of the targets' logits with respect to the weights.
    """

    logits: Float[Tensor, "b logits"]
    weights: tuple[Float[Tensor, "b heads tokens tokens"], ...]
    n_prefix_tokens: int
    grid: tuple[int, int]
    read_out: tuple[int, ...]
    gradients: tuple[Float[Tensor, "b heads tokens tokens"], ...] = ()

    def to_patches(self, joint: Float[Tensor, "b tokens tokens"]) -> Float[Tensor, "b rows columns"]:
        """What the tokens that make the logits have of each patch, on average, from what each token has of each."""
        reached = joint[:, list(self.read_out)].mean(1)[:, self.n_prefix_tokens :]
        return reached.reshape(-1, *self.grid)


class LastAttention(NamedTuple):
    """An attention of a block near the end, with the cell of `grid` of each token (-1: none) in each of its groups.

    `weights` are weighted by the positive gradient of the target's logit where targets were given. `queries` are the
    rows that count: those of the tokens that make the logits, or all that are no padding.
    """

    weights: Float[Tensor, "b groups heads queries tokens"]
    cells: Int[Tensor, "groups tokens"]
    queries: Bool[Tensor, "groups queries"]
    grid: tuple[int, int]

    def on_grid(self) -> Float[Tensor, "b rows columns"]:
        """The mean over heads and over the rows that count, put where the tokens are."""
        rows = self.queries[:, :, None] / self.queries.sum(1)[:, None, None]
        received = (self.weights.mean(2) * rows).sum(2).flatten(1)
        inside = self.cells.flatten() >= 0
        found = received.new_zeros(len(received), self.grid[0] * self.grid[1])
        found[:, self.cells.flatten()[inside]] = received[:, inside]
        return found.reshape(-1, *self.grid)


def read_attention(
    classifier: Classifier, images: Float[Tensor, "b c h w"], targets: Int[Tensor, "b"] | None = None
) -> Attention:
    """The logits and every block's attention weights, first block first, with the classifier left as it was.

    With `targets` (indices of logits) also the gradients of those logits. Raises Unfit where there is no attention,
    where it stays within windows (Swin, TinyViT, MobileViT), where a block reads from other tokens than the picture's,
    and where targets are given to a classifier without gradients.
    """
    run = _run(classifier, images, targets)
    if any(seen.places for seen in run.seen):
        raise Unfit(
            f"{classifier.architecture} attends within windows or strided patches, not from every token to "
            "every token; use raw_attention or gradient_attention, or a plain vision transformer."
        )
    return _global(classifier, images, run)


def read_last_attention(
    classifier: Classifier, images: Float[Tensor, "b c h w"], targets: Int[Tensor, "b"] | None = None
) -> tuple[LastAttention, ...]:
    """The last block's attention; where blocks cut the last grid up in several ways, the last block of each way.

    So Swin gives its last windows and its last shifted windows. With `targets`, weights times the positive gradient of
    those logits. Raises Unfit as `read_attention`, but not for the windows of Swin (1 and 2) and TinyViT and the
    patches of MobileViT (1 and 2), of torchvision, timm or Hugging Face.
    """
    run = _run(classifier, images, targets)
    if not any(seen.places for seen in run.seen):
        return (_whole(_global(classifier, images, run)),)
    ways: dict[tuple[int, ...], LastAttention] = {}
    last = run.seen[-1].places
    for seen, gradient in zip(run.seen, run.gradients or [None] * len(run.seen), strict=True):
        if last is not None and seen.places is not None and seen.places.grid == last.grid:
            weights = _weighted(seen.weights.detach(), gradient)
            ways[tuple(seen.places.cells.flatten().tolist())] = _local(classifier, images, weights, seen.places)
    if not ways:
        raise Unfit(
            f"the last attention of {classifier.architecture} has no place in the picture; "
            "use a plain vision transformer."
        )
    return tuple(ways.values())


def _weighted(weights: Tensor, gradient: Tensor | None) -> Tensor:
    return weights if gradient is None else weights * gradient.relu()


def _whole(found: Attention) -> LastAttention:
    weights = _weighted(found.weights[-1], found.gradients[-1] if found.gradients else None)
    patches = torch.arange(found.grid[0] * found.grid[1], device=weights.device)
    cells = torch.cat([patches.new_full((found.n_prefix_tokens,), -1), patches])[None]
    queries = torch.zeros_like(cells, dtype=torch.bool)
    queries[:, list(found.read_out)] = True
    return LastAttention(weights[:, None], cells, queries, found.grid)


def _local(classifier: Classifier, images: Tensor, weights: Tensor, places: Places) -> LastAttention:
    cells = places.cells.to(images.device)
    groups, tokens = cells.shape
    expected = (len(images), groups, tokens) if places.one_row else (len(images) * groups, tokens, tokens)
    if (weights.shape[0], *weights.shape[2:]) != expected:
        raise Unfit(
            f"{classifier.architecture} has attention weights of shape {tuple(weights.shape)} for {groups} groups "
            f"of {tokens} tokens; use a plain vision transformer."
        )
    if places.one_row:
        rows = torch.ones_like(cells[:, :1], dtype=torch.bool)
        return LastAttention(weights.transpose(1, 2)[:, :, :, None], cells, rows, places.grid)
    return LastAttention(weights.reshape(-1, groups, *weights.shape[1:]), cells, cells >= 0, places.grid)


class _Run(NamedTuple):
    """One forward pass: everything that was seen of it."""

    logits: Tensor
    seen: list[Seen]
    gradients: tuple[Tensor, ...]
    grid: tuple[int, int]  # of the last convolution's map before the first attention; (0, 0) without one


def _run(classifier: Classifier, images: Tensor, targets: Tensor | None) -> _Run:
    if targets is not None and not classifier.differentiable:
        raise Unfit(f"attention is to be weighted by gradients, and {classifier.architecture} has none; use rollout.")
    with untouched(classifier), torch.set_grad_enabled(targets is not None):
        recorder, maps = Recorder(), [(0, 0)]
        with placed(classifier.model, recorder), _watching_maps(classifier.model, recorder, maps), recorder:
            logits = classifier(images.detach())
        if not recorder.seen:
            raise Unfit(
                f"{classifier.architecture} has no attention weights that can be read; use a vision transformer."
            )
        gradients: tuple[Tensor, ...] = ()
        if targets is not None:
            score = logits.gather(1, targets[:, None]).sum()
            gradients = _gradients(score, recorder.seen)
    return _Run(logits.detach(), recorder.seen, gradients, maps[-1])


def _gradients(score: Tensor, seen: Sequence[Seen]) -> tuple[Tensor, ...]:
    """With respect to the weights and nothing else; zero for those that do not reach the score."""
    if not score.requires_grad:
        return tuple(torch.zeros_like(s.weights) for s in seen)
    return torch.autograd.grad(score, [s.weights for s in seen], materialize_grads=True)


@contextmanager
def _watching_maps(model: nn.Module, recorder: Recorder, maps: list[tuple[int, int]]) -> Iterator[None]:
    def see(_module: nn.Module, _args: object, output: Tensor) -> None:
        if not recorder.seen and output.ndim == 4:  # the last one before the first attention is cut into tokens
            maps.append((output.shape[2], output.shape[3]))

    handles = [m.register_forward_hook(see) for m in model.modules() if isinstance(m, nn.Conv2d)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _global(classifier: Classifier, images: Tensor, run: _Run) -> Attention:
    """Raises Unfit unless every block attends from all tokens to all tokens of each picture, and they have places."""
    shapes = {(s.weights.shape[0], *s.weights.shape[2:]) for s in run.seen}
    tokens = run.seen[0].weights.shape[-1]
    if shapes != {(len(images), tokens, tokens)}:
        raise Unfit(
            f"{classifier.architecture} does not attend from every token to every token in each block; "
            "use a plain vision transformer."
        )
    prefix = tokens - run.grid[0] * run.grid[1]
    if run.grid == (0, 0) or not 0 <= prefix <= _MOST_PREFIX_TOKENS:
        raise Unfit(
            f"{classifier.architecture} has {tokens} tokens, not the cells of its last convolution's map, so its "
            "attention has no place in the picture; use a plain vision transformer."
        )
    weights = tuple(s.weights.detach() for s in run.seen)
    return Attention(run.logits, weights, prefix, run.grid, _read_out(classifier, images, prefix), run.gradients)


def _read_out(classifier: Classifier, images: Tensor, prefix: int) -> tuple[int, ...]:
    """The tokens whose row of the last attention the logits of a picture depend on, found by a gradient.

    Without gradients: the class token, and where there is none, all patches.
    """
    recorder = Recorder()
    with untouched(classifier), torch.enable_grad(), recorder:
        logits = classifier(images[:1].detach())
    weights = torch.linspace(1, 2, logits.shape[1], device=logits.device)  # equal ones would cancel out
    last = recorder.seen[-1:]
    found = _gradients((logits * weights).sum(), last)[0][0].abs().amax((0, 2)).nonzero().flatten().tolist()
    tokens = last[0].weights.shape[-1]
    return tuple(found) or ((0,) if prefix else tuple(range(tokens)))
