"""Stopping in order: SIGTERM or the end of a time limit lets the cell in hand be finished, or drops it after a while.

What is stopped raises `Stopped`, between two cells or, when the grace is over, wherever the computation is. Committed
cells stay, a half-written one vanishes, and the same command goes on later. Ctrl-C is Python's own KeyboardInterrupt.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from xai_bench.errors import BadInput

GRACE = 20.0
"""Seconds in which the cell in hand may be finished."""

TIME_LIMIT, TERMINATED = 75, 143
"""What the process exits with: 75 is `EX_TEMPFAIL` (try again), 143 is what a shell says of SIGTERM."""


class Stopped(BaseException):
    """The run was asked to stop. No Exception, so that nobody takes it for the failure of a plugin."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


class _Request:
    """What was asked of this process: signals belong to a process, and so does this."""

    stop: Stopped | None = None

    def ask(self, why: str, code: int) -> None:
        """Stop soon; asking again changes nothing."""
        if self.stop is None:
            self.stop = Stopped(why, code)
            signal.setitimer(signal.ITIMER_REAL, GRACE)

    def obey(self) -> None:
        """Raise what was asked for."""
        if self.stop is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise self.stop


_request = _Request()

watched: ContextVar[Callable[[], None]] = ContextVar("watched", default=_request.obey)
"""What looks between two cells whether to go on; a scheduler that cancels by other means than signals puts its own."""


def between_cells() -> None:
    """A good moment to stop. Raises Stopped where that was asked for."""
    watched.get()()


@contextmanager
def stoppable(limit: float | None = None) -> Iterator[None]:
    """Within the block SIGTERM, and the end of `limit` seconds, stop what runs. Only in a process's main thread."""

    def terminated(*_: Any) -> None:
        _request.ask("stopped by SIGTERM", TERMINATED)

    def alarm(*_: Any) -> None:
        if _request.stop is None:
            _request.ask(f"stopped after its time limit of {limit:g} s", TIME_LIMIT)
        else:
            _request.obey()

    handlers = {signal.SIGTERM: terminated, signal.SIGALRM: alarm}
    old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.setitimer(signal.ITIMER_REAL, limit or 0)
    try:
        yield
    except SystemExit:  # Lightning's answer to a SIGTERM that it saw too
        _request.obey()
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _request.stop = None
        for number, handler in old.items():
            signal.signal(number, handler)


def seconds_of(text: str) -> float:
    """A length of time in seconds. Raises BadInput for what is none.

    >>> seconds_of("55m"), seconds_of("1h30m"), seconds_of("90")
    (3300.0, 5400.0, 90.0)
    """
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    parts = [int(n or 0) for n in found.groups()] if found else []
    if not sum(parts):
        raise BadInput(f"time limit {text!r} is no length of time; write 90s, 55m or 1h30m.")
    return float(parts[0] * 3600 + parts[1] * 60 + parts[2])
