"""Progress: silent, plain lines at a pause, a bar on a terminal; nothing is read as markup."""

import io
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from rich.console import Console

from xai_bench.progress import Meter, Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A clock that stands still until the test moves it."""
    found = SimpleNamespace(now=0.0)
    monkeypatch.setattr("xai_bench.progress.time", SimpleNamespace(monotonic=lambda: found.now))
    yield found


def terminal() -> tuple[Progress, io.StringIO]:
    file = io.StringIO()
    return Progress(console=Console(file=file, force_terminal=True, width=100)), file


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Progress(quiet=True)
    quiet.say("hello")
    with quiet.task("work", 2) as advance:
        advance(2)
    with quiet.live() as live:
        live("a", "work", 2, 0)
        live("a", "work", 2, 2)
    assert capsys.readouterr() == ("", "")


def test_plain_lines_come_after_a_pause_and_at_the_end(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(every=5).task("maps", 10) as advance:
        for second in range(10):
            clock.now = float(second + 1)
            advance(1)
    assert capsys.readouterr().err.splitlines() == ["maps: 5/10, 5 s", "maps: 10/10, 10 s"]


def test_several_tasks_keep_their_own_counts(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().live() as live:
        live("1 maps", "maps", 2, 0)
        live("2 maps", "maps", 3, 0)
        live("1 maps", "maps", 2, 1)
        live("2 maps", "maps", 3, 3)
        live("1 maps", "maps", 2, 1)
        live("1 maps", "maps", 2, 0)  # begins again
        live("1 maps", "maps", 2, 2)
    assert capsys.readouterr().err.splitlines() == ["maps: 3/3, 0 s", "maps: 2/2, 0 s", "maps: 2/2, 0 s"]


def test_a_terminal_gets_a_bar() -> None:
    progress, file = terminal()
    with progress.task("reading [b]films[/b]", 4) as advance:
        advance(3)
    shown = file.getvalue()
    assert "reading [b]films[/b]" in shown and "3/4" in shown


def test_a_terminal_hides_what_is_done_among_several() -> None:
    progress, file = terminal()
    with progress.live() as live:
        live("1 a", "first", 1, 0)
        live("2 b", "second", 2, 0)
        live("1 a", "first", 1, 1)
        file.truncate(0)
    last = file.getvalue()
    assert "second" in last and "first" not in last


def test_lines_are_not_wrapped_and_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    line = "note: 3 films of [red]class[/red] have no patient, " + "and so on " * 20 + "end."
    Progress().say(line)
    assert capsys.readouterr().err == line + "\n"


def test_a_meter_ends_where_it_should_whatever_was_known_before() -> None:
    seen: list[int] = []
    meter = Meter(seen.append, 10)
    meter.answers(7)
    meter.answers(8)
    meter.pictures(2)  # five were known
    meter.pictures(3)  # all were known
    meter.answers(10)
    meter.pictures(1)
    assert sum(seen) == 60
