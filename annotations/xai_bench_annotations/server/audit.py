"""Who changed what and when: a chain of events, each with a hash over itself and the hash before it.

The chain shows that an event was edited, removed from the middle or slipped in. Who may write the file could compute
the whole chain anew; so note the newest hash elsewhere from time to time, and `verify` that it is still in the chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import xai_bench
from xai_bench_annotations.server.tables import Annotation, Assignment, Event, now

START = "0" * 64
KEPT = ("assignment_id", "label", "geometry", "confidence", "note", "rev", "deleted", "view_state")
READING = ("state", "nothing_in", "flag_reason")
"""What the chain keeps of a reading."""
_UNTOUCHED = {"state": "not_started", "nothing_in": [], "flag_reason": ""}
_Told = dict[tuple[str, str], bytes]


def kept(annotation: Annotation) -> dict[str, Any]:
    """What the chain keeps of a drawing."""
    return {name: getattr(annotation, name) for name in KEPT}


def record(
    session: Session,
    by: str | None,
    action: str,
    subject: str,
    *,
    rev: int | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> Event:
    """Add an event to the chain, in a writing session; `by` is a reader's id, None on the command line."""
    session.flush()
    last = session.scalars(select(Event).order_by(Event.seq.desc()).limit(1)).first()
    event = Event(
        seq=last.seq + 1 if last else 1, subject=subject, action=action, reader_id=by, rev=rev, before=before,
        after=after, at=now(), version=xai_bench.__version__, prev_hash=last.hash if last else START,
    )  # fmt: skip
    event.hash = _hash(event)
    session.add(event)
    session.flush()
    return event


def _hash(event: Event) -> str:
    fields = {c.key: getattr(event, c.key) for c in Event.__table__.columns if c.key != "hash"}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), default=datetime.isoformat)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """Of a chain: how many events it has, its newest hash, and what is wrong with it, one sentence each."""

    events: int
    head: str
    problems: tuple[str, ...]


def verify(session: Session, head: str | None = None) -> Verdict:
    """Compute the chain anew; hold every drawing and reading against its last event. `head`: a hash noted earlier."""
    problems, told = list[str](), _Told()
    before, count, noted = START, 0, head in (None, START)
    for event in session.scalars(select(Event).order_by(Event.seq).execution_options(yield_per=500)):
        count += 1
        problems += _broken(event, count, before)
        count, before = event.seq, event.hash
        noted = noted or event.hash == head
        told[event.action.partition(".")[0], event.subject] = _digest(event.after)
    if not noted:
        problems.append(
            f"the hash {head} that was noted earlier is not in the chain: it ends too early or was rewritten"
        )
    problems += _differing(session, told)
    return Verdict(count, before, tuple(problems))


def _differing(session: Session, told: _Told) -> Iterator[str]:
    """Drawings and readings that are not what their last event says, and those that are gone."""
    for drawing in session.scalars(select(Annotation).execution_options(yield_per=500)):
        if told.pop(("drawing", drawing.id), None) != _digest(kept(drawing)):
            yield f"drawing {drawing.id} is not what its last event says"
    for reading in session.scalars(select(Assignment).execution_options(yield_per=500)):
        said = {name: getattr(reading, name) for name in READING}
        if told.pop(("reading", reading.id), _digest(_UNTOUCHED)) != _digest(said):
            yield f"reading {reading.id} is not what its last event says"
    yield from (f"{what} {name} is gone" for what, name in told if what in ("drawing", "reading"))


def _broken(event: Event, number: int, before: str) -> list[str]:
    """What is wrong with one event, whose place in the chain is `number`, after the hash `before`."""
    if event.seq != number:
        return [f"event {number} is missing; after it comes event {event.seq}"]
    if event.prev_hash != before or event.hash != _hash(event):
        return [f"event {event.seq} ({event.action}) was changed, or stands after one that was"]
    return []


def _digest(value: dict[str, Any] | None) -> bytes:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
