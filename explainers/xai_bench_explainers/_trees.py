"""Binary trees of players, for Owen values: the picture halved down to its pixels, or the anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from xai_bench.errors import Unfit
from xai_bench.protocols import Batch, Player


@dataclass(frozen=True)
class Tree:
    """Nodes from the root, 0, down; players are numbered so that each node is the range from `start` to `stop`.

    The children of a node are `left` and `left + 1`; a player's own node has `left` -1.
    """

    start: list[int]
    stop: list[int]
    left: list[int]

    @property
    def players(self) -> int:
        """How many players there are; also the label of a pixel of no player."""
        return self.stop[0]


def halved(batch: Batch) -> tuple[list[Tree | None], Int[Tensor, "b h w"]]:
    """The tree of `halving` for each picture, and each pixel's player."""
    b, _, h, w = batch.images.shape
    tree, labels = halving(h, w)
    return [tree] * b, labels.expand(b, -1, -1)


@lru_cache(maxsize=4)  # of large pictures a tree is tens of megabytes
def halving(height: int, width: int) -> tuple[Tree, Int[Tensor, "h w"]]:
    """The longer side of a rectangle is halved, of a square the rows, down to single pixels.

    The tree of the package shap's image masker, which counts pixels from the last: of an odd side the smaller half, and
    of any the first, is the lower or the right one. All rectangles of one depth are cut at once.

    >>> halving(2, 3)[1].tolist()
    [[5, 4, 1], [3, 2, 0]]
    """
    box, first, nodes = np.array([[0, height, 0, width]]), np.array([0]), 1
    labels, levels = np.empty((height, width), np.int64), []
    while len(box):
        tall, wide = box[:, 1] - box[:, 0], box[:, 3] - box[:, 2]
        cut = tall * wide > 1
        levels.append((first, first + tall * wide, np.where(cut, nodes + 2 * (cut.cumsum() - 1), -1)))
        labels[box[~cut, 0], box[~cut, 2]] = first[~cut]
        nodes += 2 * int(cut.sum())
        box, first = _cut(box[cut], first[cut])
    start, stop, left = (np.concatenate(part).tolist() for part in zip(*levels, strict=True))
    return Tree(start, stop, left), torch.from_numpy(labels).flip(0, 1)


def _cut(box: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The two halves of each rectangle (top, bottom, left, right), one after the other, and their first players."""
    tall, wide = box[:, 1] - box[:, 0], box[:, 3] - box[:, 2]
    side, each = np.where(tall >= wide, 0, 2), np.arange(len(box))
    middle = box[each, side] + np.where(tall >= wide, tall, wide) // 2
    one, other = box.copy(), box.copy()
    one[each, side + 1] = other[each, side] = middle
    size = (one[:, 1] - one[:, 0]) * (one[:, 3] - one[:, 2])
    return np.stack([one, other], 1).reshape(-1, 4), np.stack([first, first + size], 1).ravel()


@dataclass(frozen=True)
class Branch:
    """A part of the anatomy on one film: its pixels, the sum of their rows, and its two parts or its own label."""

    pixels: int
    rows: float
    label: int = -1
    parts: tuple[Branch, Branch] | None = None

    def labels(self) -> list[int]:
        """The labels of its players, the first part's before the second's."""
        return [self.label] if self.parts is None else [n for part in self.parts for n in part.labels()]


def anatomical(batch: Batch) -> tuple[list[Tree | None], Int[Tensor, "b h w"]]:
    """The tree of each picture's anatomy, None where no player has a pixel, and each pixel's player.

    Raises Unfit where the batch carries no players, or where a player's parents are no tree.
    """
    if batch.players is None:
        raise Unfit("the films carry no anatomical players; use hierarchy 'halving'")
    trees, labels = [], []
    for drawn, names in zip(batch.players.labels.cpu().numpy(), batch.players.names, strict=True):
        found, inverse = np.unique(drawn, return_inverse=True)
        whole = anatomy(drawn, names)
        order = [] if whole is None else whole.labels()
        place = {label: n for n, label in enumerate(order)}
        player = np.array([place.get(int(label), len(order)) for label in found])
        trees.append(None if whole is None else planted(whole))
        labels.append(torch.from_numpy(player[inverse.reshape(drawn.shape)]))
    return trees, torch.stack(labels)


def anatomy(drawn: Int[NDArray[np.int64], "h w"], names: Mapping[int, Player]) -> Branch | None:
    """The players of one film under their parents, in two parts each, without those that have no pixel.

    A parent's own pixels are a player beside its children.
    """
    found, inverse, pixels = np.unique(drawn, return_inverse=True, return_counts=True)
    row = np.repeat(np.arange(drawn.shape[0], dtype=float), drawn.shape[1])
    rows = np.bincount(inverse.ravel(), row)
    own = {int(n): Branch(int(p), float(r), int(n)) for n, p, r in zip(found, pixels, rows, strict=True)}
    children = children_of(names)

    def grown(node: int) -> list[Branch]:
        parts = [own[node]] if node in own else []
        parts += [part for child in children.get(node, ()) for part in grown(child)]
        return [joined(parts)] if parts else []

    whole = [part for root in children[None] for part in grown(root)]
    return joined(whole) if whole else None


def children_of(names: Mapping[int, Player]) -> dict[int | None, list[int]]:
    """Who has which parent; None is the parent of those without. Raises Unfit where that is no tree."""
    children: dict[int | None, list[int]] = {None: []}
    for label in sorted(names):
        parent = names[label].parent
        children.setdefault(parent, []).append(label)
        steps = 0
        while parent is not None:
            if parent not in names:
                raise Unfit(f"player {names[label].name!r} is part of {parent}, which is no player")
            parent, steps = names[parent].parent, steps + 1
            if steps > len(names):
                raise Unfit(f"player {names[label].name!r} is part of itself")
    return children


def joined(parts: Sequence[Branch]) -> Branch:
    """Parts side by side in two: the upper half and the lower half by the height of their centers, each again in two.

    >>> a, b, c = (Branch(1, row, label) for label, row in enumerate([2.0, 0.0, 1.0]))
    >>> joined([a, b, c]).labels(), joined([a, b, c]).parts[0].labels()
    ([1, 2, 0], [1])
    """
    if len(parts) == 1:
        return parts[0]
    ordered = sorted(parts, key=lambda part: part.rows / part.pixels)
    one, other = joined(ordered[: len(ordered) // 2]), joined(ordered[len(ordered) // 2 :])
    return Branch(one.pixels + other.pixels, one.rows + other.rows, parts=(one, other))


def planted(whole: Branch) -> Tree:
    """The same as ranges of players, numbered as in `labels`."""
    nodes, tree = [(whole, 0)], Tree([], [], [])
    for branch, start in nodes:  # grows while it is walked
        tree.start.append(start)
        tree.stop.append(start + len(branch.labels()))
        tree.left.append(-1 if branch.parts is None else len(nodes))
        if branch.parts is not None:
            one, other = branch.parts
            nodes += [(one, start), (other, start + len(one.labels()))]
    return tree
