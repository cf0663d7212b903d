"""The consensus of one film and label, kept with what it was made from.

It is of first readings only, and refused while one of them is still open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from xai_bench import __version__
from xai_bench.agreement import reader_rates
from xai_bench.consensus import METHODS, Mask, soft_mean, staple
from xai_bench.errors import BadInput, did_you_mean
from xai_bench_annotations.films.raster import brush_of, encode_runs
from xai_bench_annotations.results.measuring import ITERATIONS, UNSETTLED
from xai_bench_annotations.results.readings import areas_of, film_of, find_image, schema_of
from xai_bench_annotations.server.refusals import Refusal
from xai_bench_annotations.server.tables import Consensus, Image, new_id, now

SOFT = "soft_mean"
ALL_METHODS = (*METHODS, SOFT)
Rates = dict[str, Any]


@dataclass(frozen=True)
class Agreed:
    """A consensus mask (None: nobody marked anything), and each reader's rates against it."""

    mask: dict[str, Any] | None
    rates: Rates


def consensus_of(session: Session, image: str, label: str, method: str = "majority") -> Consensus:
    """The consensus of a film's readers on a label: the kept one, or where a drawing has changed since a new one.

    A new one is not in the session yet, so that nobody waits while it is made: `keep` it in a writing one.

    Raises Refusal: 404 for an unknown film or a label that is no area, 423 before all first readings are done; BadInput
    for an unknown method, and for fewer than two readers who answered the label.
    """
    found = find_image(session, image)
    film, areas = film_of(session, found), areas_of(schema_of(found.project))
    if label not in areas:
        raise Refusal(404, f"label {label!r} is no area of this project; it has {', '.join(areas) or 'none'}")
    check_method(method)
    votes = film.votes(label)
    if len(votes) < 2:
        raise BadInput(
            f"film {film.number}, label {label!r}: a consensus needs two readers or more who answered it, there "
            f"{'is' if len(votes) == 1 else 'are'} {len(votes)}."
        )
    inputs = {i: rev for who in votes for i, rev in film.first[who].inputs(label).items()}
    kept = _kept(session, found, label, method, list(votes), inputs)
    if kept is not None:
        return kept
    agreed = agree(votes, method)
    return Consensus(
        id=new_id(), created=now(), version=__version__, image_id=found.id, label=label, method=method,
        readers=list(votes), inputs=inputs, mask=agreed.mask, rates=agreed.rates,
    )  # fmt: skip


def check_method(method: str) -> None:
    """Raises BadInput for a consensus that there is none of."""
    if method not in ALL_METHODS:
        known = list(ALL_METHODS)
        raise BadInput(f"consensus {method!r} is not known; use {', '.join(known)}.{did_you_mean(method, known)}")


def keep(session: Session, consensus: Consensus) -> None:
    """Add a consensus that is new to a writing session; what is kept is never overwritten."""
    if inspect(consensus).transient:
        session.add(consensus)
        session.flush()


def _kept(
    session: Session, image: Image, label: str, method: str, readers: list[str], inputs: Mapping[str, int]
) -> Consensus | None:
    """The newest consensus of just these readers and revisions by this version of the program."""
    same = (Consensus.image_id == image.id, Consensus.label == label, Consensus.method == method)
    rows = session.scalars(select(Consensus).where(*same).order_by(Consensus.created.desc()))
    return next((r for r in rows if (r.readers, r.inputs, r.version) == (readers, dict(inputs), __version__)), None)


def agree(votes: Mapping[str, Mask], method: str) -> Agreed:
    """The consensus of masks by reader, and their rates. Sensitivity and specificity are None where undefined.

    `staple`: STAPLE's own estimates; else each reader against this consensus, in which the own drawing has a part. The
    soft mean is kept as areas that at least 1, 2 ... readers marked. Raises BadInput where STAPLE does not converge.
    """
    masks = list(votes.values())
    if method == SOFT:
        share = soft_mean(masks)
        if not share.any():
            return Agreed(None, {})
        steps = range(1, len(masks) + 1)
        levels = [{"share": n / len(masks), "counts": encode_runs(share > (n - 0.5) / len(masks))} for n in steps]
        return Agreed({"kind": "soft", "size": list(share.shape), "levels": levels}, {})
    if method == "staple":
        found = staple(masks, ITERATIONS)
        if not found.converged:
            raise BadInput(f"{UNSETTLED}: the readers agree too little; take the majority.")
        mask, rates = found.mask, _staple_rates(list(votes), found.sensitivity, found.specificity, any_marked(masks))
    else:
        mask = METHODS[method](masks)
        rates = {who: _rates(*reader_rates(own, mask)) for who, own in votes.items()}
    return Agreed(brush_of(mask).model_dump(mode="json") if mask.any() else None, rates)


def any_marked(masks: Sequence[Mask]) -> bool:
    """Whether anybody marked anything."""
    return any(bool(mask.any()) for mask in masks)


def _staple_rates(readers: Sequence[str], sensitivity: Any, specificity: Any, marked: bool) -> Rates:
    why = None if marked else "all readers marked nothing"
    pairs = zip(readers, sensitivity.tolist(), specificity.tolist(), strict=True)
    return {who: _rates(se if marked else math.nan, sp, why) for who, se, sp in pairs}


def _rates(sensitivity: float, specificity: float, reason: str | None) -> Rates:
    known = {"sensitivity": sensitivity, "specificity": specificity}
    return {**{k: None if math.isnan(v) else v for k, v in known.items()}, "reason": reason}
