"""Progress: a live bar on a terminal, one plain line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

Advance = Callable[[int], None]


@dataclass
class Progress:
    """Shows what runs now. `quiet` shows nothing; `every` is the pause between plain lines in seconds."""

    quiet: bool = False
    every: float = 5.0
    console: Console = field(default_factory=lambda: Console(stderr=True))

    @contextlib.contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        """A piece of work of `total` steps; call the yielded function with the number of steps done."""
        if self.quiet:
            yield lambda _: None
        elif self.console.is_terminal:
            with self._bar() as bar:
                number = bar.add_task(description, total=total)
                yield lambda steps: bar.advance(number, steps)
        else:
            yield self._plain(description, total)

    @contextlib.contextmanager
    def live(self) -> Iterator[Callable[[str, str, int, int], None]]:
        """Several pieces of work at once: call with (key, description, total, steps done since the last call)."""
        tasks: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(self._bar()) if self.console.is_terminal and not self.quiet else None

            def advance(key: str, description: str, total: int, steps: int) -> None:
                if key not in tasks or steps == 0:
                    tasks[key] = bar.add_task(description, total=total) if bar else self._plain(description, total)
                if bar:
                    bar.advance(tasks[key], steps)
                    bar.update(tasks[key], visible=not bar.tasks[tasks[key]].finished)
                elif not self.quiet and steps:
                    tasks[key](steps)

            yield advance

    def say(self, line: str) -> None:
        """One plain line."""
        if not self.quiet:
            self.console.print(line, highlight=False, markup=False, soft_wrap=not self.console.is_terminal)

    def _bar(self) -> RichProgress:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        return RichProgress(*columns, console=self.console, transient=False)

    def _plain(self, description: str, total: int) -> Advance:
        start = last = time.monotonic()
        done = 0

        def advance(steps: int) -> None:
            nonlocal last, done
            done += steps
            now = time.monotonic()
            if now - last >= self.every or done >= total:
                last = now
                print(f"{description}: {done}/{total}, {now - start:.0f} s", file=sys.stderr, flush=True)

        return advance


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
