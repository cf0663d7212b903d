"""What every metric does alike: region states, unusable and constant maps, content, polarity, and reasons.

A metric calls `check` first, computes its scores for the whole batch as if nothing were wrong, and ends with
`conclude`, which takes back the scores that must not be there and says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from xai_bench.errors import BadInput
from xai_bench.protocols import Case, Reason, Result, Saliency
from xai_bench.saliency import constant, invalid, positive_part

Polarity = Literal["positive", "absolute", "signed"]
Mark = tuple[Bool[Tensor, "b"], Reason]

NOT_READ = Reason("excluded", "region not read")
MARKED_NOTHING = Reason("excluded", "region marked nothing")
NO_PIXEL = Reason("excluded", "region has no pixel at this size")
BAD_MAP = Reason("invalid", "map holds NaN or infinite values")
BAD_SCORE = Reason("invalid", "score is NaN or infinite")
NO_SPACING = Reason("excluded", "no spacing")
BAD_MODEL = Reason("invalid", "model returned NaN or infinite values")
CONSTANT = Reason("note", "constant map")
FOLLOWED = Reason("note", "region resized to the picture")


@dataclass(frozen=True)
class Checked:
    """A case made safe to compute with: maps finite and 0 outside content, region inside content; and what to say."""

    saliency: Saliency
    content: Bool[Tensor, "b h w"]
    region: Bool[Tensor, "b h w"]
    constant: Bool[Tensor, "b"]
    marks: tuple[Mark, ...]


def check(case: Case, polarity: Polarity, *, needs_region: bool = True) -> Checked:
    """Apply METRICS' contract to a case. Raises BadInput where the case has no region, or a map of another size."""
    content = case.batch.content
    if case.saliency.shape != content.shape:
        raise BadInput(
            f"the maps are {tuple(case.saliency.shape)}, the pictures {tuple(content.shape)}; upsample the maps first."
        )
    bad = invalid(case.saliency)
    maps = case.saliency.masked_fill(~content | bad[:, None, None], 0)
    maps = positive_part(maps) if polarity == "positive" else maps.abs() if polarity == "absolute" else maps
    flat = constant(maps, content)
    region, marks = _region(case) if needs_region else (torch.zeros_like(content), ())
    return Checked(maps, content, region, flat, (*marks, (bad, BAD_MAP), (flat & ~bad, CONSTANT)))


def _region(case: Case) -> tuple[Bool[Tensor, "b h w"], tuple[Mark, ...]]:
    if case.region is None:
        raise BadInput(
            "this metric needs a region and the case has none; give the case a region, or use a metric without regions."
        )
    size, mask = case.batch.content.shape[1:], as_mask(case.region)
    followed = torch.full_like(mask[:, 0, 0], mask.shape[1:] != size)
    if mask.shape[1:] != size:
        mask = F.interpolate(mask[:, None].float(), size, mode="nearest-exact")[:, 0] > 0.5
    mask = mask & case.batch.content
    is_state = {
        s: torch.tensor([found == s for found in case.region_state], device=mask.device)
        for s in ("not_read", "marked_nothing")
    }
    empty = ~mask.flatten(1).any(1)
    marks = (
        (is_state["not_read"], NOT_READ),
        (is_state["marked_nothing"], MARKED_NOTHING),
        (empty, NO_PIXEL),
        (followed, FOLLOWED),
    )
    return mask, marks


def as_mask(region: Tensor) -> Bool[Tensor, "b h w"]:
    """A region of any number type (0/1, 0/255, bool) and channel layout (none, first, last): where a channel is not 0.

    >>> as_mask(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist()
    [[[False, True]]]
    """
    mask = region != 0
    if mask.ndim == 4:
        mask = mask.any(1 if mask.shape[1] <= mask.shape[3] else 3)  # channels are the shorter of the two
    if mask.ndim != 3:
        raise BadInput(f"regions have shape {tuple(region.shape)}; expected (b, h, w), (b, c, h, w) or (b, h, w, c).")
    return mask


def conclude(
    checked: Checked,
    scores: Mapping[str, Float[Tensor, "b"]],
    own: Mapping[str, Sequence[Mark]] | None = None,
    curves: Mapping[str, Float[Tensor, "b steps"]] | None = None,
    x: Float[Tensor, "steps"] | None = None,
) -> Result:
    """The result: scores that a mark excludes or invalidates become NaN, and every NaN has a reason.

    `own` holds marks of single scores. The first mark that removes a score counts, else the first note. A picture's
    reason is that of its scores; where only some are missing it is a note, and the scores have reasons of their own.
    """
    given = own or {}
    reasons = {}
    for name, values in scores.items():
        marks = [*checked.marks, *given.get(name, ()), (~values.isfinite(), BAD_SCORE)]
        reasons[name] = _first(marks)
    kept = {name: values.masked_fill(_missing(reasons[name], values), torch.nan) for name, values in scores.items()}
    whole = tuple(map(_of_picture, zip(*reasons.values(), strict=True)))
    shown = {name: y.masked_fill(_missing(whole, y)[:, None], torch.nan) for name, y in (curves or {}).items()}
    return Result(kept, whole, shown, x, {name: found for name, found in reasons.items() if found != whole})


def _first(marks: Sequence[Mark]) -> tuple[Reason | None, ...]:
    ordered = sorted(marks, key=lambda mark: mark[1].state == "note")
    table = torch.stack([mask for mask, _ in ordered], 1).tolist()
    return tuple(next((ordered[n][1] for n, hit in enumerate(row) if hit), None) for row in table)


def _missing(reasons: Sequence[Reason | None], like: Tensor) -> Bool[Tensor, "b"]:
    return torch.tensor([r is not None and r.state != "note" for r in reasons], device=like.device)


def _of_picture(reasons: tuple[Reason | None, ...]) -> Reason | None:
    missing = [r for r in reasons if r is not None and r.state != "note"]
    if len(missing) == len(reasons):
        return missing[0]
    said = dict.fromkeys(r.text for r in reasons if r is not None)
    return Reason("note", "; ".join(said)) if said else None


def millimeters(spacing_mm: Float[Tensor, "b 2"]) -> tuple[Float[Tensor, "b 2"], Bool[Tensor, "b"]]:
    """A pixel's height and width in mm, 1 where they are unknown; and where they are known.

    >>> millimeters(torch.tensor([[0.5, 0.75], [0.0, 1.0]]))[0].tolist()
    [[0.5, 0.75], [1.0, 1.0]]
    """
    spacing = spacing_mm.double()
    known = (spacing.isfinite() & (spacing > 0)).all(1)
    return spacing.where(known[:, None], 1), known
