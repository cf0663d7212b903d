"""Progress: a live view on a terminal, a plain line every few seconds elsewhere, or one JSON object a line."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Advance = Callable[[int], None]

WINDOW = 60.0
"""Seconds over which the rate is measured."""
SHOWN = 4
"""Pieces of work that a plain line names."""


@dataclass
class Work:
    """A piece of work that runs now, and where: a worker's name, or nothing for this process."""

    what: str
    total: int
    where: str
    start: float
    done: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


@dataclass
class Board:
    """What is known of a run: cells wanted and finished, and what is computed now.

    Everything has a name, so that telling the same thing twice counts once: a job is run again where a worker died.
    """

    start: float = field(default_factory=lambda: time.monotonic())
    wanted: dict[str, int] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)
    running: dict[str, Work] = field(default_factory=dict)
    last_failure: str = ""
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def expect(self, _: str, part: str, cells: int, sure: bool) -> None:
        """So many cells are wanted in this part of the run; a guess does not correct what is known."""
        if sure or part not in self.wanted:
            self.wanted[part] = cells

    def cell(self, _: str, name: str, status: str, reason: str) -> None:
        """A cell is there (`ok`), or it is not (`failed`, `skipped`) and why."""
        self.finished[name] = status
        if status == "failed":
            self.last_failure = f"{name}: {reason}"
        now = time.monotonic()
        self._recent.append((now, len(self.finished)))
        while now - self._recent[0][0] > WINDOW:
            self._recent.popleft()

    def begin(self, where: str, key: str, what: str, total: int) -> None:
        """A piece of work begins."""
        self.running[f"{where} {key}"] = Work(what, total, where, time.monotonic())

    def step(self, where: str, key: str, steps: int) -> None:
        """So many of its steps are done."""
        if work := self.running.get(f"{where} {key}"):
            work.done += steps

    def end(self, where: str, key: str) -> None:
        """It is over."""
        self.running.pop(f"{where} {key}", None)

    def gone(self, where: str) -> None:
        """A worker is no longer there, and so is what it did."""
        self.running = {key: work for key, work in self.running.items() if work.where != where}

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values; times in seconds, None where nothing can be said yet."""
        now, wanted, states = time.monotonic(), sum(self.wanted.values()), list(self.finished.values())
        then, before = self._recent[0] if self._recent else (now, 0)  # the first cell: processes take long to begin
        rate = (len(states) - before) / (now - then) if now - then > 1 and len(states) > before else None
        running = [
            {"where": w.where, "what": w.what, "done": w.done, "total": w.total, "seconds": round(now - w.start, 1)}
            for w in self.running.values()
        ]
        return {
            "cells": len(states), "wanted": wanted,
            "failed": states.count("failed"), "skipped": states.count("skipped"),
            "seconds": round(now - self.start, 1), "rate": rate and round(rate, 3),
            "left": rate and round(max(0, wanted - len(states)) / rate, 1), "running": running,
            "last_failure": self.last_failure,
        }  # fmt: skip

    def line(self) -> str:
        """The same in one line."""
        works = [f"{w} {w.done}/{w.total}" for w in list(self.running.values())[:SHOWN]]
        more = [f"and {len(self.running) - SHOWN} more"] if len(self.running) > SHOWN else []
        return " | ".join([*([self.summary()] if self.wanted else []), *works, *more])

    def summary(self) -> str:
        """How far the run is."""
        now = self.state()
        parts = [f"{now['cells']}/{now['wanted']} cells in {in_words(now['seconds'])}"]
        if now["rate"] and now["cells"] < now["wanted"]:
            pace = f"{now['rate']:.1f}/s" if now["rate"] >= 1 else f"{60 * now['rate']:.1f}/min"
            parts += [pace, f"about {in_words(now['left'])} left"]
        parts += [f"{now[state]} {state}" for state in ("failed", "skipped") if now[state]]
        return ", ".join(parts)


def in_words(seconds: float) -> str:
    """A length of time for readers.

    >>> in_words(42), in_words(600), in_words(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass
class Progress:
    """Shows what runs now. `quiet` shows nothing; `every` is the pause between lines in seconds; `json`: as objects."""

    quiet: bool = False
    every: float = 5.0
    console: Console = field(default_factory=lambda: Console(stderr=True))
    json: bool = False
    _board: Board | None = field(default=None, repr=False)
    _told: float = 0.0
    _lock: Any = field(default_factory=threading.RLock, repr=False)
    _keys: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @contextlib.contextmanager
    def task(self, what: str, total: int) -> Iterator[Advance]:
        """A piece of work of `total` steps; call the yielded function with the number of steps done."""
        key = str(next(self._keys))
        with contextlib.nullcontext() if self._board else self.overview():
            self.event("begin", key, what, total)
            try:
                yield lambda steps: self.event("step", key, steps)
            finally:
                self.event("end", key)

    def expect(self, part: str, cells: int, *, sure: bool = False) -> None:
        """So many cells are wanted in this part of the run; `sure`: that is known, and no guess."""
        self.event("expect", part, cells, sure)

    def cell(self, name: str, status: str = "ok", reason: str = "") -> None:
        """A cell is there, or it is `failed` or `skipped`."""
        self.event("cell", name, status, reason)

    def event(self, kind: str, *values: Any, where: str = "") -> None:
        """Whatever happens comes through here: kind and values are a method of Board and what it takes."""
        with self._lock:
            if self._board is None:
                return
            if kind == "end" and not self._board.wanted and not self._live:  # a piece of work of its own
                self._tell(self._board.line())
            getattr(self._board, kind)(where, *values)
            if not self._live and time.monotonic() - self._told >= self.every:
                self._tell(self._board.line())

    @contextlib.contextmanager
    def overview(self) -> Iterator[None]:
        """Within the block all that happens is shown together; a block in a block changes nothing."""
        if self._board is not None:
            yield
            return
        self._board, self._told = Board(), time.monotonic()
        shown = Live(console=self.console, get_renderable=self._view, transient=False) if self._live else None
        try:
            with shown or contextlib.nullcontext():
                yield
        finally:
            if self._board.wanted and shown is None:
                self._tell(self._board.summary())
            self._board = None

    def say(self, line: str) -> None:
        """One plain line."""
        if self.json and not self.quiet:
            self._print(json.dumps({"event": "note", "text": line}))
        elif not self.quiet:
            self.console.print(line, highlight=False, markup=False, soft_wrap=not self.console.is_terminal)

    @property
    def _live(self) -> bool:
        return self.console.is_terminal and not self.quiet and not self.json

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        if self.json and not self.quiet and self._board:
            self._print(json.dumps({"event": "progress", **self._board.state()}))
        elif not self.quiet:
            self._print(line)

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _view(self) -> Table:
        with self._lock:
            board = self._board or Board()
            view = Table.grid(padding=(0, 1))
            if board.wanted:
                state = board.state()
                bar = ProgressBar(max(1, state["wanted"]), state["cells"], width=30)
                view.add_row(Text("cells"), bar, Text(board.summary()))
            for work in list(board.running.values())[: max(SHOWN, self.console.height - 4)]:
                bar = ProgressBar(max(1, work.total), work.done, width=30)
                since = in_words(time.monotonic() - work.start)
                view.add_row(Text(str(work)), bar, Text(f"{work.done}/{work.total} in {since}"))
            if board.last_failure:
                view.add_row(Text("last failure", style="red"), Text(""), Text(board.last_failure))
            return view


@dataclass
class Relay(Progress):
    """Progress of a worker: everything is sent to the process that shows it, steps at most a few times a second."""

    send: Callable[[tuple[Any, ...]], None] = lambda _: None
    pause: float = 0.2
    _waiting: dict[str, int] = field(default_factory=dict, repr=False)
    _sent: float = 0.0

    @contextlib.contextmanager
    def overview(self) -> Iterator[None]:
        """Nothing is shown here."""
        yield

    def event(self, kind: str, *values: Any, where: str = "") -> None:
        """Send it on."""
        if kind == "step":
            key, steps = values
            self._waiting[key] = self._waiting.get(key, 0) + steps
            if time.monotonic() - self._sent < self.pause:
                return
        for key, steps in self._waiting.items():
            self.send(("step", key, steps))
        self._waiting.clear()
        self._sent = time.monotonic()
        if kind != "step":
            self.send((kind, *values))


@dataclass
class Meter:
    """Tells the progress of a method that asks the engine: `each` answers a picture, though fewer may be new."""

    advance: Advance
    each: int
    done: int = 0

    def answers(self, count: int) -> None:
        """Answers came in."""
        self.done += count
        self.advance(count)

    def pictures(self, count: int) -> None:
        """Pictures are finished: what was known before counts as done."""
        self.advance(max(0, count * self.each - self.done))
        self.done = 0
