"""How often somebody may try to log in: 5 times a minute for a name from one address, 50 times from one address."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from xai_bench_annotations.server.refusals import Refusal

SECONDS = 60.0
OF_NAME, OF_ADDRESS = 5, 50
MANY = 10_000
Key = tuple[str, str | None]


class Throttle:
    """Counts attempts that have not succeeded, in memory; an attempt counts from its start, so that many at once do."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried: dict[Key, list[float]] = {}
        self._lock = threading.Lock()

    def attempt(self, address: str, name: str) -> None:
        """Count an attempt. Raises Refusal (429) when there were too many."""
        limits: dict[Key, int] = {(address, name.casefold()): OF_NAME, (address, None): OF_ADDRESS}
        with self._lock:
            now = self._clock()
            self._forget(now, everything=len(self._tried) > MANY)
            recent = {key: self._recent(key, now) for key in limits}
            for key, limit in limits.items():
                if len(recent[key]) >= limit:
                    wait = math.ceil(SECONDS - (now - recent[key][0]))
                    raise Refusal(429, f"too many attempts; try again in {wait} seconds", retry_after=wait)
            for key in limits:
                self._tried[key] = [*recent[key], now]

    def succeeded(self, address: str, name: str) -> None:
        """Take the last attempt back, and the name's earlier ones."""
        with self._lock:
            self._tried.pop((address, name.casefold()), None)
            self._tried[address, None] = self._tried.get((address, None), [])[:-1]

    def _recent(self, key: Key, now: float) -> list[float]:
        return [t for t in self._tried.get(key, ()) if now - t < SECONDS]

    def _forget(self, now: float, *, everything: bool) -> None:
        if everything:
            self._tried = {key: times for key in self._tried if (times := self._recent(key, now))}
