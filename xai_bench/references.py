"""The references that a study asks for: readers, `derived`, or a consensus, computed from a film's own readers.

`consensus:<method>` is made of all readers of a film, `consensus:<method>:without:<reader>` of all but one, and
`consensus:<method>:without:*` stands for the latter with each of the film's readers left out in turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_bench.code_version import code_version
from xai_bench.consensus import METHODS, PREFIX, Mask, references
from xai_bench.errors import BadInput, did_you_mean
from xai_bench.samples import Region, RegionKey, Sample

if TYPE_CHECKING:
    import pandas as pd

WITHOUT, EACH = ":without:", "*"
LEAVE_ONE_OUT = ", leave one out"
"""What follows `consensus:<method>` where scores against the references without each reader are one number."""

CEILING, HUMAN, CHANCE = "human_ceiling", "human", "chance"
"""A summary of how well readers do, and its rows beside the explainers': readers (`human: <reader>`), constant maps."""

NORMALIZED, DECREASE = "_ceiling_normalized", "_decrease_percent"
"""What follows a score's name there: where it lies between chance (0) and human (1); how far below human in percent."""


@dataclass(frozen=True)
class Consensus:
    """A consensus reference taken apart; `without` is the reader who is left out ("*": each in turn), or None."""

    method: str
    without: str | None = None

    @staticmethod
    def of(reference: str) -> Consensus | None:
        """None where the reference is no consensus. Raises BadInput for an unknown method, or for leaving out nobody.

        >>> Consensus.of("consensus:staple:without:anna")
        Consensus(method='staple', without='anna')
        """
        if not reference.startswith(PREFIX):
            return None
        method, found, reader = reference.removeprefix(PREFIX).partition(WITHOUT)
        if method not in METHODS:
            known = list(METHODS)
            raise BadInput(
                f"reference {reference!r}: consensus {method!r} is not known; use {', '.join(known)}."
                f"{did_you_mean(method, known)}"
            )
        if found and not reader:
            raise BadInput(f"reference {reference!r} leaves out nobody; name a reader, or '*' for each in turn.")
        return Consensus(method, reader if found else None)

    @property
    def reference(self) -> str:
        """As it stands in a study and in rows."""
        return f"{PREFIX}{self.method}" + (f"{WITHOUT}{self.without}" if self.without else "")


def is_reader(reference: str) -> bool:
    """Whether a reference is a reader's first read: who has a vote.

    >>> [is_reader(r) for r in ("anna", "anna#2", "derived", "consensus:majority")]
    [True, False, False, False]
    """
    return reference not in ("", "derived", EACH) and "#" not in reference and not reference.startswith(PREFIX)


def is_wanted(reference: str, wanted: Sequence[str]) -> bool:
    """Whether a study that wants these references scores against this one; without any it wants all there are.

    >>> is_wanted("consensus:majority:without:anna", ["consensus:majority:without:*"])
    True
    """
    each = (w.removesuffix(EACH) for w in wanted if w.startswith(PREFIX) and w.endswith(WITHOUT + EACH))
    return not wanted or reference in wanted or any(reference.startswith(start) for start in each)


def check_readers(wanted: Sequence[str], samples: Iterable[Sample]) -> None:
    """Raises BadInput for a wanted reference whose reader has no region on any film. Reads few films unless it must."""
    asked = {r: c.without if (c := Consensus.of(r)) else r for r in wanted}
    missing = {reader: reference for reference, reader in asked.items() if reader not in (None, EACH)}
    known: set[str] = set()
    for sample in samples:
        if not missing:
            return
        with contextlib.suppress(BadInput):  # a film that cannot be read is said where it is scored
            found = {key.reference for key in sample.read_regions()}
            known |= found
            missing = {reader: reference for reader, reference in missing.items() if reader not in found}
    for reader, reference in missing.items():
        hint = did_you_mean(str(reader), [*sorted(known), *(f"{PREFIX}{m}" for m in METHODS)])
        there = f"they have {', '.join(map(repr, sorted(known)))}" if known else "they have no regions"
        raise BadInput(f"reference {reference!r}: no film has a region by {reader!r}; {there}.{hint}")


def check_regions(wanted: Sequence[str], samples: Iterable[Sample]) -> None:
    """Raises BadInput for a wanted region that no film has. Reads few films unless it must."""
    missing, known = list(wanted), set[str]()
    for sample in samples:
        if not missing:
            return
        with contextlib.suppress(BadInput):  # a film that cannot be read is said where it is scored
            known |= {key.name for key in sample.read_regions()}
            missing = [name for name in missing if name not in known]
    if missing:
        there = f"they have {', '.join(map(repr, sorted(known)))}" if known else "they have no regions"
        raise BadInput(f"no film has a region {missing[0]!r}; {there}.{did_you_mean(missing[0], sorted(known))}")


def with_consensus(regions: Mapping[RegionKey, Region], wanted: Sequence[str]) -> dict[RegionKey, Region]:
    """A film's regions and, of every region that readers were asked for, the wanted consensus.

    Voters are the first reads; `marked_nothing` is an empty vote, `not_read` none. A consensus of fewer than two
    voters, or of nobody after one is left out, is `not_read`; one without any pixel is `marked_nothing`.
    """
    asked = [c for c in map(Consensus.of, wanted) if c]
    found = dict(regions)
    for name in dict.fromkeys(k.name for k in regions if is_reader(k.reference)) if asked else ():
        votes = {k.reference: r for k, r in regions.items() if k.name == name and is_reader(k.reference)}
        masks = _masks({reader: r for reader, r in votes.items() if r.state != "not_read"})
        for consensus in asked:
            found |= {RegionKey(name, reference): r for reference, r in _voted(masks, consensus).items()}
    return found


def _masks(votes: Mapping[str, Region]) -> dict[str, Mask]:
    shape = next((r.mask.shape for r in votes.values() if r.mask is not None), (1, 1))
    return {reader: np.zeros(shape, np.bool_) if r.mask is None else r.mask for reader, r in votes.items()}


def _voted(masks: Mapping[str, Mask], asked: Consensus) -> dict[str, Region]:
    """The consensus regions that one wanted reference stands for."""
    if asked.without is None:
        return {asked.reference: _region(list(masks.values()) if len(masks) > 1 else [], asked.method)}
    left_out = list(masks) if asked.without == EACH else [asked.without]
    return {
        Consensus(asked.method, out).reference: _region([m for r, m in masks.items() if r != out], asked.method)
        for out in left_out
    }


def _region(votes: Sequence[Mask], method: str) -> Region:
    if not votes:
        return Region("not_read")
    mask = METHODS[method](votes)
    return Region("drawn", mask) if mask.any() else Region("marked_nothing")


def completed(sample: Sample, wanted: Sequence[str]) -> dict[RegionKey, Region]:
    """A film's regions with the wanted consensus. Raises BadInput where the readers' masks have several sizes."""
    regions = sample.read_regions()
    try:
        return with_consensus(regions, wanted)
    except BadInput as error:
        raise BadInput(f"picture {sample.id!r}, {', '.join(wanted)}: {error}") from None


def consensus_key(wanted: Sequence[str]) -> dict[str, str]:
    """What the key of scores must hold beside the references' names: the code that makes a consensus, where one is."""
    return {"consensus": code_version(references)} if any(map(Consensus.of, wanted)) else {}


def left_out_reader(reference: Any) -> tuple[str, str] | None:
    """(`consensus:<method>`, the reader left out) of a row's reference, or None.

    >>> left_out_reader("consensus:majority:without:anna")
    ('consensus:majority', 'anna')
    """
    consensus, found, reader = str(reference).partition(WITHOUT)
    return (consensus, reader) if found and PREFIX in consensus else None


def leave_one_out_together(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in which the references without each reader are one: a film's score is the mean over those it has.

    `consensus:<m>:without:<reader>` becomes `consensus:<m>, leave one out`; a film is missing where all of them are.
    """
    import pandas as pd

    names = {r: f"{found[0]}{LEAVE_ONE_OUT}" for r in rows.reference.unique() if (found := left_out_reader(r))}
    own = rows.reference.isin(list(names))
    if not own.any():
        return rows
    each = rows[own].assign(reference=rows.reference[own].map(names))
    each = each.iloc[np.argsort(each.status.to_numpy() != "ok", kind="stable")]  # a reason counts if all are missing
    keys = [c for c in each.columns if c not in ("status", "reason", "score")]
    mean = each.groupby(keys, sort=False, dropna=False).score.transform("mean")
    together = each.assign(score=mean).drop_duplicates(keys)
    return pd.concat([rows[~own], together]).sort_index(kind="stable")
