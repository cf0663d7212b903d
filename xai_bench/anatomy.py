"""The anatomy of a film as players: vertebral bodies and the discs between them; and who asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from skimage.draw import polygon

from xai_bench.code_version import code_version
from xai_bench.errors import BadInput
from xai_bench.geometry import BL, BR, TL, TR, Corners
from xai_bench.protocols import Anatomy, Player, Reason, Result

SPINE = "spine"
PARTS = {"C": "cervical spine", "T": "thoracic spine", "L": "lumbar spine", "S": "sacral spine"}
T1_TO_L5 = (*(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)))
NO_PLAYERS = Reason("excluded", "vertebrae not marked on the film")


def anatomy_of(corners: Corners, levels: Sequence[str], shape: tuple[int, int]) -> Anatomy:
    """Bodies and discs of a film of `shape` (height, width), from corners in native pixels and the vertebrae's names.

    Player 1 is the first body, 2 the disc below it, and so on; a body lies over a disc, and of two bodies that overlap
    the lower one. A disc is called after both its vertebrae (`T12-L1`) and is of the level of the upper one, whose
    spine part holds it too: so every pixel of the spine has one level. Parts of the spine, and the spine that holds
    them, have no pixels of their own. Raises BadInput for a level that is not C, T, L or S and a number.

    >>> corners = np.array([[[1, 0], [3, 0], [1, 1], [3, 1]], [[1, 2], [3, 2], [1, 3], [3, 3]]], dtype=float)
    >>> found = anatomy_of(corners, ["L5", "S1"], (3, 4))
    >>> found.labels.tolist()
    [[0, 1, 1, 0], [0, 2, 2, 0], [0, 3, 3, 0]]
    >>> found.players[2]
    Player(name='L5-S1', level='L5', parent=4)
    """
    if len(levels) != len(corners):
        raise BadInput(f"{len(levels)} levels for {len(corners)} vertebrae; give each vertebra its name.")
    for level in levels:
        if level[:1] not in PARTS or not level[1:].isdecimal():
            raise BadInput(f"level {level!r} is not known; expected C, T, L or S and a number, such as 'L3'.")
    last = 2 * len(levels) - 1
    parts = {name: last + n for n, name in enumerate(dict.fromkeys(PARTS[level[0]] for level in levels), 1)}
    spine = last + len(parts) + 1
    labels, players = np.zeros(shape, np.int16), dict[int, Player]()
    bodies, discs = corners[:, [TL, TR, BR, BL]], np.concatenate([corners[:-1, [BL, BR]], corners[1:, [TR, TL]]], 1)
    for label, outline in [
        *zip(range(2, last, 2), discs, strict=True),
        *zip(range(1, last + 1, 2), bodies, strict=True),
    ]:
        labels[polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, shape)] = label
        first, end = (label - 1) // 2, label // 2 + 1
        players[label] = Player("-".join(levels[first:end]), levels[first], parts[PARTS[levels[first][0]]])
    players |= {label: Player(name, parent=spine) for name, label in parts.items()}
    return Anatomy(labels, dict(sorted(players.items())) | {spine: Player(SPINE)})


def needs_players(plugin: Any) -> bool:
    """Whether a plugin, or one in its fields, says that its batches must carry anatomical players."""
    made = dataclasses.is_dataclass(plugin) and not isinstance(plugin, type)
    inner = [getattr(plugin, f.name) for f in dataclasses.fields(plugin)] if made else []
    return bool(getattr(plugin, "needs_players", False)) or any(map(needs_players, inner))


def players_key(plugin: Any) -> dict[str, str]:
    """What of the players belongs into the key of a plugin's cells: how they are drawn, if it asks for them."""
    return {"players": code_version(anatomy_of)} if needs_players(plugin) else {}


def without_players(result: Result, missing: Sequence[bool]) -> Result:
    """The result, where the films whose anatomy is `missing` were explained by a map of NaN: they get that reason."""
    if not any(missing):
        return result

    def told(reasons: Sequence[Reason | None]) -> tuple[Reason | None, ...]:
        rest = [False] * (len(reasons) - len(missing))  # a padded batch repeats its last picture
        return tuple(NO_PLAYERS if gone else r for r, gone in zip(reasons, [*missing, *rest], strict=True))

    own = {name: told(reasons) for name, reasons in result.own_reasons.items()}
    return dataclasses.replace(result, reasons=told(result.reasons), own_reasons=own)
